"""Vocabularies of other languages: the pack's tokens and scores equal those of transformers."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.vocabularies import ALL, Vocabulary
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.train


def saved(folder: Path, vocabulary: Vocabulary, *, fast: bool) -> Path:
    """A DistilBERT with random weights; its vocabulary as `vocab.txt`, or as transformers saves it now."""
    torch.manual_seed(5)
    config = transformers.DistilBertConfig(
        vocab_size=len(vocabulary.all),
        dim=32,
        n_heads=4,
        hidden_dim=64,
        n_layers=2,
        max_position_embeddings=32,
    )
    transformers.DistilBertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary.all) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "DistilBertTokenizer", **(vocabulary.settings or {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if fast:
        transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
        assert (folder / "tokenizer.json").is_file()
        (folder / "vocab.txt").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("fast", [False, True], ids=["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("name", [name for name, vocabulary in ALL.items() if vocabulary.settings])
def test_tokens_and_scores_are_those_of_transformers(name: str, fast: bool, tmp_path: Path) -> None:
    vocabulary = ALL[name]
    folder = saved(tmp_path / "checkpoint", vocabulary, fast=fast)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.DistilBertForSequenceClassification.from_pretrained(folder).eval()
    model = Classifier.load(tmp_path / "pack", threads=1)
    texts = [*vocabulary.texts, "Ω ✓ 😀 e\u0301 \u200d ß"]
    rows = model.tokenize(texts)
    for text, row, answer in zip(texts, rows, model.predict(rows), strict=True):
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        assert row.ids == inputs["input_ids"][0].tolist(), text
        with torch.no_grad():
            expected = network(**inputs).logits[0].softmax(-1).tolist()
        np.testing.assert_allclose(list(answer.heads["label"].scores.values()), expected, atol=1e-4)
