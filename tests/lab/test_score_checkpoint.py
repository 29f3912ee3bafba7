"""A checkpoint's scores with torch equal those of its float32 pack: labels, tokens, marked ranges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints import MARKING, ONE_HEAD, SIZES, write_checkpoint
from worker.errors import TrainingError
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.evaluate.examples import Examples
from worker.lab.evaluate.measure import measure
from worker.lab.evaluate.score import checkpoint_scorer, pack_scorer, scorer_of

pytest.importorskip("torch")

pytestmark = pytest.mark.train

TEXTS = [
    "great!",
    "The film was great 😀😀, it is lovely",
    "@someone is late, broken and awful",
    "on time " * 6,
]
OPEN = {**MARKING["toxic_spans"], "gate": {**MARKING["toxic_spans"]["gate"], "threshold": 0.3}}
HEADS: dict[str, Any] = {
    **MARKING,
    "sentiment": {**MARKING["sentiment"], "temperature": 2.0},
    "toxic_spans": {**OPEN, "temperature": 0.5},
}


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint with four heads and a text handling, and its pack in float32."""
    config = {**SIZES, "heads": HEADS, "text": {"name": "social", "version": 1}}
    folder = write_checkpoint(tmp_path / "checkpoint", config)
    return folder, convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False).path


@pytest.mark.parametrize("max_tokens", [512, 9])
def test_scores_are_those_of_the_pack(both: tuple[Path, Path], max_tokens: int) -> None:
    checkpoint, pack = (scorer_of(folder) for folder in both)
    assert checkpoint.heads == pack.heads
    for head in ("sentiment", "emotion", "toxicity"):
        ours, theirs = (scorer(TEXTS, max_tokens, head) for scorer in (checkpoint, pack))
        assert np.abs(ours - theirs).max() < 1e-5


def test_tokens_and_ranges_are_those_of_the_pack(both: tuple[Path, Path]) -> None:
    checkpoint, pack = checkpoint_scorer(both[0]), pack_scorer(both[1])
    ours, theirs = (scorer.tokens(TEXTS, 512, "toxic_spans") for scorer in (checkpoint, pack))
    for one, other in zip(ours, theirs, strict=True):
        assert one.ranges == other.ranges
        assert np.abs(one.scores - other.scores).max() < 1e-5
    ranges = checkpoint.ranges(TEXTS, 512, "toxic_spans")
    assert ranges == pack.ranges(TEXTS, 512, "toxic_spans")
    assert any(ranges)  # one at least is called toxic
    marked = [frozenset(range(4)) for _ in TEXTS]
    examples = Examples("set", "Set", "toxic_spans", TEXTS, ("toxic",), marked=marked)
    mine, its = (measure(scorer, examples) for scorer in (checkpoint, pack))
    assert mine.figures == its.figures
    assert mine.figures["span_f1_no_gate"].value > 0


def test_a_checkpoint_of_transformers_with_one_head(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "plain", {**SIZES, **ONE_HEAD})
    pack = convert_checkpoint(folder, tmp_path / "pack", name="plain", quantise=False).path
    ours, theirs = (scorer_of(path)(TEXTS, 512, "sentiment") for path in (folder, pack))
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_type": "bert"}, "only distilbert checkpoints can be converted, this one is 'bert'"),
        ({"activation": "relu"}, "only gelu is supported for training and measuring, not relu"),
        ({"dim": 48}, "has shape (55, 32), config.json says (55, 48)"),
        ({"n_layers": 4}, "has no tensor distilbert.transformer.layer.3"),
    ],
)
def test_other_checkpoints_are_refused_with_one_line(
    tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    folder = write_checkpoint(tmp_path / "plain", {**SIZES, **ONE_HEAD})
    (folder / "config.json").write_text(json.dumps({**SIZES, **ONE_HEAD, **change}))
    with pytest.raises(TrainingError) as caught:
        checkpoint_scorer(folder)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such folder"):
        scorer_of(tmp_path / "none")
    with pytest.raises(TrainingError, match="holds neither a pack"):
        scorer_of(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TrainingError, match=r"config\.json cannot be read"):
        scorer_of(tmp_path)
