"""A pack's scores equal the service's; cut texts; token heads with the gate open and closed."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints import MARKING, SIZES, write_checkpoint
from worker.errors import TrainingError
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.evaluate.score import by_length, pack_scorer
from worker.lab.evaluate.spans import marked_ranges
from worker.model.classifier import Classifier
from worker.types import Prediction

TEXTS = ["great!", "the film was great 😀 and the phone is lovely", "late, broken and awful on time", "it is"]


def make_pack(tmp_path: Path, gate: dict[str, Any] | None) -> Path:
    spans = {key: value for key, value in MARKING["toxic_spans"].items() if key != "gate"}
    heads = {**MARKING, "toxic_spans": {**spans, "gate": gate} if gate else spans}
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": heads})
    return convert_checkpoint(folder, tmp_path / "pack", name="tiny").path


def gate(threshold: float) -> dict[str, Any]:
    return {"head": "toxicity", "label": "toxic", "threshold": threshold}


def test_scores_are_those_of_the_service(tmp_path: Path) -> None:
    pack = make_pack(tmp_path, gate(0.3))
    done: list[int] = []
    scorer = pack_scorer(pack, done.append)
    for head in ("sentiment", "emotion", "toxicity"):
        given = scorer(TEXTS, 512, head)
        for row, answer in zip(given, Classifier.load(pack).classify(TEXTS), strict=True):
            assert isinstance(answer, Prediction)
            assert np.abs(row - list(answer.heads[head].scores.values())).max() < 1e-6
    assert sum(done) == 3 * len(TEXTS)
    cut = scorer(TEXTS, 5, "sentiment")
    assert np.abs(cut[1] - scorer(["the film was"], 5, "sentiment")[0]).max() < 1e-6


def test_texts_longer_than_the_pack_are_read_as_the_service_reads_them(tmp_path: Path) -> None:
    pack = make_pack(tmp_path, gate(0.3))
    model = Classifier.load(pack)
    longest = model.pack.max_tokens
    texts = ["late and broken. " * longest + "the end was great", "great!", "the film was late " * longest]
    scorer = pack_scorer(pack)
    for head in ("sentiment", "emotion", "toxicity"):
        for row, answer in zip(scorer(texts, 512, head), model.classify(texts), strict=True):
            assert isinstance(answer, Prediction)
            assert np.abs(row - list(answer.heads[head].scores.values())).max() < 1e-6
    cut = scorer(texts, longest - 1, "sentiment")
    beginning = texts[0][: len(texts[0]) // 2]
    assert np.abs(cut[0] - scorer([beginning], longest - 1, "sentiment")[0]).max() < 1e-6


def test_a_shut_gate_keeps_ranges_away_and_not_token_scores(tmp_path: Path) -> None:
    shut = pack_scorer(make_pack(tmp_path / "shut", gate(1.0)))
    assert shut.ranges(TEXTS, 512, "toxic_spans") == [()] * len(TEXTS)
    without = pack_scorer(make_pack(tmp_path / "without", None))
    for text, one, other, found in zip(
        TEXTS,
        shut.tokens(TEXTS, 512, "toxic_spans"),
        without.tokens(TEXTS, 512, "toxic_spans"),
        without.ranges(TEXTS, 512, "toxic_spans"),
        strict=True,
    ):
        assert np.abs(one.scores - other.scores).max() < 1e-6
        assert len(one.scores) == len(one.ranges)
        assert marked_ranges(text, one.ranges, one.scores, 0.5) == found


def test_tokens_need_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = pack_scorer(make_pack(tmp_path, gate(0.3)))
    real = builtins.__import__

    def without_onnx(name: str, *rest: Any) -> Any:
        if name == "onnx":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(TrainingError, match=r"needs: pip install 'moodstream\[import\]'"):
        scorer.tokens(TEXTS, 512, "toxic_spans")


def test_batches_hold_every_row_once_and_no_more_tokens_than_allowed() -> None:
    lengths = [3, 50, 7, 7, 100, 1, 30]
    batches = by_length(lengths, 60)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= 60
