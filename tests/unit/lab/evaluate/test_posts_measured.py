"""Measuring on our own posts: each share counts the right rows, as a whole and by family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from worker.errors import TrainingError
from worker.heads import Head
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXIC_SPANS, TOXICITY
from worker.lab.data.own_posts import Post
from worker.lab.evaluate.posts import COLUMNS, measure_posts, posts_table
from worker.lab.evaluate.score import TokenScores


def _post(
    family: str, sentiment: str, emotions: tuple[str, ...] = ("neutral",), *, toxic: bool = False
) -> Post:
    return Post(family, "text", sentiment, emotions, toxic, (), held_out=True)


POSTS = [
    _post("facts", "positive", ("joy", "love")),
    _post("facts", "negative", ("anger",), toxic=True),
    _post("plain", "neutral"),
    _post("plain", "negative", ("sadness",)),
]
ANSWERS = {
    "sentiment": ("positive", "positive", "neutral", "neutral"),
    "emotion": ("love", "neutral", "neutral", "joy"),
    "toxicity": ("toxic", "not_toxic", "not_toxic", "not_toxic"),
}
MARKED = [((0, 2),), ((1, 3),), (), ()]


@dataclass
class Fixed:
    """A model with these answers."""

    heads: Mapping[str, Head]
    title: str = "fixed"

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
        assert list(texts) == [post.text for post in POSTS]
        labels = self.heads[head].labels
        return np.array([[float(label == given) for label in labels] for given in ANSWERS[head]])

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        raise AssertionError("only the ranges are measured")

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[tuple[int, int], ...]]:
        return list(MARKED)


def _heads(*heads: Head) -> dict[str, Head]:
    return {head.name: head for head in heads}


EVERY = _heads(SENTIMENT, EMOTION, TOXICITY, TOXIC_SPANS)


def test_each_share_counts_its_rows() -> None:
    result = measure_posts(Fixed(EVERY), POSTS)
    assert list(result.figures) == list(COLUMNS)
    assert {name: figure.value for name, figure in result.figures.items()} == {
        "sentiment": 2 / 4,
        "opposite": pytest.approx(1 / 3),
        "emotion": 2 / 4,
        "neutral": pytest.approx(1 / 3),
        "false_emotion": 0.0,
        "alarm": pytest.approx(1 / 3),
        "missed": 1.0,
        "marked": pytest.approx(1 / 3),
    }
    rows, facts = result.families["facts"]
    assert rows == 2
    assert facts == {
        "sentiment": 0.5, "opposite": 0.5, "emotion": 0.5, "neutral": 0.5, "false_emotion": None,
        "alarm": 1.0, "missed": 1.0, "marked": 1.0,
    }  # fmt: skip
    assert result.families["plain"][1]["missed"] is None


def test_the_table_has_a_line_for_all_and_for_each_family() -> None:
    lines = posts_table(measure_posts(Fixed(EVERY), POSTS)).splitlines()
    assert lines[2].startswith("| all | 4 | 50.0 | 33.3 |")
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["facts", "plain"]
    assert lines[-1] == "| plain | 2 | 50 | 0 | 50 | 0 | 0 | 0 |  | 0 |"


def test_the_strongest_emotion_is_the_one_that_the_service_names() -> None:
    # Where "neutral" is lowered by more than any logit, what comes first is named instead.
    lowered = (0.0,) * (len(EMOTION.labels) - 1) + (100.0,)
    heads = {**EVERY, "emotion": replace(EMOTION, logit_adjustment=lowered)}

    class Unsure(Fixed):
        def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
            return np.asarray(np.clip(super().__call__(texts, max_tokens, head), 0.01, 0.99))

    figures = measure_posts(Unsure(heads), POSTS).figures
    assert figures["neutral"].value == 0
    assert figures["false_emotion"].value == 1


def test_only_heads_with_the_same_labels_are_measured() -> None:
    other = replace(SENTIMENT, labels=("bad", "neutral", "good"))
    assert list(measure_posts(Fixed(_heads(other, TOXICITY)), POSTS).figures) == ["alarm", "missed"]
    with pytest.raises(TrainingError, match="fixed has no head"):
        measure_posts(Fixed(_heads(other)), POSTS)
