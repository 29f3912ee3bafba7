"""The graph against transformers: a tiny random DistilBERT is saved, converted and compared."""

from pathlib import Path

import numpy as np
import pytest

from worker.errors import CheckpointError
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.train

WORDS = [
    "the",
    "film",
    "was",
    "great",
    "broken",
    "late",
    "##ly",
    "##s",
    "and",
    "i",
    "love",
    "it",
    "!",
    ".",
    "'",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
TEXTS = ["", "great!", "The film was great and I love it.", "it was late, broken and late", "love " * 40]


def saved(folder: Path, **changes: object) -> Path:
    """Save a DistilBertForSequenceClassification with random weights and its tokenizer."""
    settings = {
        "vocab_size": len(VOCABULARY),
        "dim": 48,
        "n_heads": 4,
        "hidden_dim": 96,
        "n_layers": 3,
        "max_position_embeddings": 32,
        "id2label": {0: "sad", 1: "glad", 2: "mad"},
        "label2id": {"sad": 0, "glad": 1, "mad": 2},
    }
    torch.manual_seed(11)
    config = transformers.DistilBertConfig(**(settings | changes))
    model = transformers.DistilBertForSequenceClassification(config)
    with torch.no_grad():  # a new model has zero biases and unit norms: one left out would pass
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return folder


def expected_scores(folder: Path, text: str, *, multi: bool) -> list[float]:
    """The scores of transformers with its own tokenizer for vocab.txt."""
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32)
    model = transformers.DistilBertForSequenceClassification.from_pretrained(folder).eval()
    inputs = tokenizer(text, return_tensors="pt", truncation=True, return_token_type_ids=False)
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    return list((logits.sigmoid() if multi else logits.softmax(-1)).tolist())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "relu"},
        {"sinusoidal_pos_embds": True},
        {"problem_type": "multi_label_classification"},
        {"n_layers": 1, "n_heads": 1},
    ],
)
def test_scores_equal_transformers(tmp_path: Path, changes: dict[str, object]) -> None:
    folder = saved(tmp_path / "checkpoint", **changes)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    model = Classifier.load(tmp_path / "pack")
    multi = "problem_type" in changes
    for text, prediction in zip(TEXTS, model.predict(model.tokenize(TEXTS)), strict=True):
        found = list(prediction.heads["label"].scores.values())
        np.testing.assert_allclose(found, expected_scores(folder, text, multi=multi), atol=1e-4)


def test_int8_scores_are_close_to_transformers(tmp_path: Path) -> None:
    folder = saved(tmp_path / "checkpoint")
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    model = Classifier.load(tmp_path / "pack")
    for text, prediction in zip(TEXTS, model.predict(model.tokenize(TEXTS)), strict=True):
        found = list(prediction.heads["label"].scores.values())
        np.testing.assert_allclose(found, expected_scores(folder, text, multi=False), atol=0.03)


def test_bfloat16_weights_are_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "checkpoint")
    model = transformers.DistilBertForSequenceClassification.from_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    converted = Classifier.load(tmp_path / "pack")
    (prediction,) = converted.predict(converted.tokenize(["great!"]))
    reference = transformers.DistilBertForSequenceClassification.from_pretrained(folder).float()
    reference.save_pretrained(tmp_path / "wide", safe_serialization=True)
    (tmp_path / "wide" / "vocab.txt").write_text("\n".join(VOCABULARY))
    found = list(prediction.heads["label"].scores.values())
    np.testing.assert_allclose(found, expected_scores(tmp_path / "wide", "great!", multi=False), atol=1e-4)


def test_a_bert_is_refused_by_name(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(CheckpointError, match="'bert'"):
        convert_checkpoint(tmp_path / "bert", tmp_path / "pack", name="tiny")
