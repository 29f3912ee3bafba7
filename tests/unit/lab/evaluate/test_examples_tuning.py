"""Finding the known sets that fit a model's heads, and fitting on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.scorers import TextScorer
from worker.errors import TrainingError
from worker.heads import MULTI, SINGLE, Head
from worker.lab.data import sets as data
from worker.lab.data.labels import EMOTION
from worker.lab.evaluate.examples import BENCHMARKS, fitting
from worker.lab.evaluate.tuning import tune

SENTIMENT = Head("sentiment", SINGLE, ("negative", "neutral", "positive"))
EMOTIONS = Head("emotion", MULTI, EMOTION.labels, (0.5,) * len(EMOTION.labels))


class Sure(TextScorer):
    """Reads the label from the text and is four times too confident."""

    title = "sure"

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
        logits = np.zeros((len(texts), len(self.heads[head].labels)))
        for row, text in enumerate(texts):
            logits[row, int(text.split()[1])] = 8.0
        powers = np.exp(logits)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Tweets whose text names the right class in seven of ten cases, and a binary set."""
    folder = tmp_path / "tweeteval" / "sentiment"
    folder.mkdir(parents=True)
    labels = [number % 3 for number in range(300)]
    said = [label if number % 10 < 7 else (label + 1) % 3 for number, label in enumerate(labels)]
    lines = [f"tweet {label} number {number}" for number, label in enumerate(said)]
    (folder / "val_text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "val_labels.txt").write_text("\n".join(map(str, labels)) + "\n", encoding="utf-8")
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "dev.tsv").write_text("label\tsentence\n1\tgood one\n0\tbad one\n", encoding="utf-8")
    return tmp_path


def test_every_benchmark_is_a_known_set_with_a_dev_split() -> None:
    for benchmark in BENCHMARKS:
        assert data.SOURCES[benchmark.data].dev, benchmark.data


def test_a_binary_set_knows_two_of_the_labels(root: Path) -> None:
    (found,) = fitting({"sentiment": SENTIMENT}, root, ["sst2"])
    assert found.labels == ("negative", "positive")
    assert found.classes is not None
    assert found.classes.tolist() == [1, 0]


def test_what_is_missing_is_passed_over_unless_it_is_named(root: Path) -> None:
    told: list[str] = []
    found = fitting({"sentiment": SENTIMENT, "emotion": EMOTIONS}, root, say=told.append)
    assert [examples.name for examples in found] == ["sst2", "tweeteval_sentiment"]
    assert any("goemotions" in line for line in told)
    assert not any("six_emotions" in line for line in told)  # it fits no head of this model
    with pytest.raises(TrainingError, match="data set goemotions: no file"):
        fitting({"emotion": EMOTIONS}, root, ["goemotions"])


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (Head("mood", SINGLE, ("a", "b")), "judges no head of mood"),
        (
            Head("sentiment", SINGLE, ("negative", "positive")),
            "its head sentiment has no label 'neutral'",
        ),
        (Head("sentiment", MULTI, SENTIMENT.labels, (0.5,) * 3), "cannot judge its head sentiment"),
    ],
)
def test_a_set_that_does_not_fit_is_named(root: Path, head: Head, line: str) -> None:
    with pytest.raises(TrainingError, match=line):
        fitting({head.name: head}, root, ["tweeteval_sentiment"])
    assert "tweeteval_sentiment" not in [found.name for found in fitting({head.name: head}, root)]


def test_rows_from_the_front(root: Path) -> None:
    (found,) = fitting({"sentiment": SENTIMENT}, root, ["tweeteval_sentiment"], rows=7)
    assert len(found) == 7


def test_tuning_cools_what_is_too_sure_and_tells_what_it_left(root: Path) -> None:
    told: list[str] = []
    fitted = tune(Sure(SENTIMENT, EMOTIONS), root, told.append)
    assert fitted.keys() == {"sentiment"}
    # Seven of ten are right: a logit of log(0.7 / 0.15) is, where 8 is given.
    assert fitted["sentiment"] == {"temperature": pytest.approx(8 / np.log(0.7 / 0.15), rel=0.01)}
    (line,) = told
    assert line.startswith("head emotion is not tuned: data set goemotions: no file ")


def test_a_second_tuning_gives_the_same_temperature(root: Path) -> None:
    class Cooled(Sure):
        def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
            powers = super().__call__(texts, max_tokens, head) ** (1 / 2.5)
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    head = Head("sentiment", SINGLE, SENTIMENT.labels, temperature=2.5)
    first, second = tune(Sure(SENTIMENT), root), tune(Cooled(head), root)
    assert second["sentiment"]["temperature"] == pytest.approx(first["sentiment"]["temperature"], rel=1e-3)
