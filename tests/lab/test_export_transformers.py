"""transformers loads an exported folder and gives the pack's scores."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import MARKING, SIZES, write_checkpoint
from worker.lab.convert.export import export_model
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.train

TEXTS = ["", "great!", "The film was great, it is lovely.", "late, broken [SEP] and awful", "on time " * 20]
TEXT = {"name": "social", "version": 1}
HEADS = {**MARKING, "sentiment": {**MARKING["sentiment"], "temperature": 2.0}}


@pytest.mark.parametrize("head", ["sentiment", "emotion"])
@pytest.mark.parametrize("quantise", [False, True])
def test_transformers_gives_the_scores_of_the_pack(tmp_path: Path, head: str, quantise: bool) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": HEADS})
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=quantise).path
    export_model(pack, tmp_path / "out", head)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert list(theirs.config.id2label.values()) == list(MARKING[head]["id2label"].values())
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True, truncation=True)
    with torch.inference_mode():
        logits = theirs(**inputs).logits
    given = (logits.softmax(-1) if head == "sentiment" else logits.sigmoid()).numpy()
    model = Classifier.load(pack)
    rows = model.tokenize(TEXTS)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    assert [row.ids for row in rows] == [
        ids[:length] for ids, length in zip(inputs["input_ids"].tolist(), lengths, strict=True)
    ]
    expected = np.array([list(answer.heads[head].scores.values()) for answer in model.predict(rows)])
    assert np.abs(given - expected).max() < (0.05 if quantise else 1e-4)


def test_the_trunk_alone_and_a_pipeline(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": HEADS})
    export_model(folder, tmp_path / "out", "sentiment")
    trunk = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([[2, 8, 9, 3]])
    with torch.inference_mode():
        states = (net(input_ids=ids).last_hidden_state for net in (trunk, whole.distilbert))
        first, second = states
    assert torch.equal(first, second)
    ask = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    (answer,) = ask("the film was great")
    assert answer["label"] in {"negative", "neutral", "positive"}


def test_what_transformers_saves_again_becomes_the_same_pack(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": HEADS, "text": TEXT})
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    export_model(pack.path, tmp_path / "out", "emotion")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    theirs.save_pretrained(tmp_path / "saved")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "saved")
    again = convert_checkpoint(tmp_path / "saved", tmp_path / "again", name="again", quantise=False)
    (head,) = again.heads
    assert head == next(entry for entry in pack.heads if entry.name == "emotion")
    assert again.text == pack.text
    both = [Classifier.load(path) for path in (pack.path, again.path)]
    first, second = (model.predict(model.tokenize(TEXTS)) for model in both)
    for one, other in zip(first, second, strict=True):
        assert one.heads["emotion"].scores == pytest.approx(other.heads["emotion"].scores, abs=1e-5)
