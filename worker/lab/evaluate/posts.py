"""Measuring models on the held-out fifth of our own posts, by family: what fits, and what is called toxic.

It is a development figure on rows of our own, which one language model wrote and labelled. It says whether a
change helps where it was meant to help, and nothing about other people's posts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.errors import TrainingError
from worker.heads import Head
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXIC, TOXIC_SPANS, TOXICITY
from worker.lab.data.own_posts import Post, read_posts
from worker.lab.evaluate.examples import LONGEST
from worker.lab.evaluate.metrics import Bools, Figure, Floats, with_intervals
from worker.lab.evaluate.result import figure_json
from worker.lab.evaluate.score import Scorer
from worker.model.heads import strengths

_NEUTRAL = "neutral"
_SENTIMENTS = {name: number for number, name in enumerate(("negative", _NEUTRAL, "positive"), start=-1)}

COLUMNS = {
    "sentiment": "sentiment is right",
    "opposite": "positive for negative or the reverse, of the posts with a sentiment",
    "emotion": "the strongest emotion is one that the post has",
    "neutral": "the strongest emotion is neutral, of the posts with an emotion",
    "false_emotion": "the strongest emotion is not neutral, of the posts without an emotion",
    "alarm": "called toxic, of the posts that are not",
    "missed": "not called toxic, of the posts that are",
    "marked": "a word is marked as toxic, of the posts that are not",
}
"""The figures and what each is the share of."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which rows count for a figure and which of them it counts, (rows,) both."""

    of: Bools
    hit: Bools

    def value(self, rows: Bools) -> float | None:
        """Return the share over some of the rows, or None if none of them counts."""
        of = rows & self.of
        return float((self.hit & of).sum() / of.sum()) if of.any() else None


@dataclass(frozen=True, slots=True)
class PostsResult:
    """One model's shares: over all posts with their intervals, and by family without."""

    model: str
    rows: int
    figures: dict[str, Figure]
    families: dict[str, tuple[int, dict[str, float | None]]]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        families = {name: {"rows": rows, **shares} for name, (rows, shares) in self.families.items()}
        figures = {name: figure_json(figure) for name, figure in self.figures.items()}
        return {"model": self.model, "rows": self.rows, "figures": figures, "families": families}


def measure_posts(scorer: Scorer, posts: Sequence[Post] | None = None) -> PostsResult:
    """Measure a model on posts, by default on our own held-out ones.

    Raises TrainingError for a model with none of the heads, or a line that is not a valid post.
    """
    if posts is None:
        posts = [post for post in read_posts() if post.held_out]
    shares = _shares(scorer, posts)
    if not shares:
        raise TrainingError(f"{scorer.title} has no head that our own posts are labelled for")
    families = np.array([post.family for post in posts])
    by_family = {}
    for family in sorted(set(families.tolist())):
        rows = np.asarray(families == family)
        by_family[family] = (int(rows.sum()), {name: share.value(rows) for name, share in shares.items()})

    def all_rows(weights: Floats) -> dict[str, float]:
        return {
            name: float(weights @ (share.of & share.hit)) / max(1.0, float(weights @ share.of))
            for name, share in shares.items()
            if share.of.any()
        }

    return PostsResult(scorer.title, len(posts), with_intervals(all_rows, len(posts)), by_family)


def _shares(scorer: Scorer, posts: Sequence[Post]) -> dict[str, Share]:
    """Return the figures that a model's heads allow, in the order of COLUMNS."""
    texts = [post.text for post in posts]

    def has(head: Head) -> bool:
        return head.name in scorer.heads and scorer.heads[head.name].labels == head.labels

    def chosen(head: Head) -> list[str]:
        ranked = strengths(scorer.heads[head.name], scorer(texts, LONGEST, head.name))
        return [head.labels[number] for number in ranked.argmax(axis=1)]

    found: dict[str, Share] = {}
    if has(SENTIMENT):
        wanted = np.array([_SENTIMENTS[post.sentiment] for post in posts])
        said = np.array([_SENTIMENTS[label] for label in chosen(SENTIMENT)])
        found["sentiment"] = Share(np.ones(len(posts), np.bool_), wanted == said)
        found["opposite"] = Share(wanted != 0, wanted * said < 0)
    if has(EMOTION):
        pairs = list(zip(chosen(EMOTION), posts, strict=True))
        known = np.array([bool(post.emotions) for post in posts])
        feels = known & np.array([post.emotions != (_NEUTRAL,) for post in posts])
        fits = np.array([label in post.emotions for label, post in pairs])
        found["emotion"] = Share(known, fits)
        neutral = np.array([label == _NEUTRAL for label, _ in pairs])
        found["neutral"], found["false_emotion"] = Share(feels, neutral), Share(known & ~feels, ~neutral)
    toxic = np.array([post.toxic for post in posts])
    if has(TOXICITY):
        called = np.array([label == TOXICITY.labels[TOXIC] for label in chosen(TOXICITY)])
        found["alarm"], found["missed"] = Share(~toxic, called), Share(toxic, ~called)
    if TOXIC_SPANS.name in scorer.heads:
        marks = scorer.ranges(texts, LONGEST, TOXIC_SPANS.name)
        found["marked"] = Share(~toxic, np.array([bool(ranges) for ranges in marks]))
    return found


def posts_table(result: PostsResult) -> str:
    """Return a Markdown table in per cent: all posts, their intervals, then a line for each family."""
    names = [name for name in COLUMNS if name in result.figures]
    lines = [
        f"| {result.model}, our own held-out posts | rows | " + " | ".join(names) + " |",
        "| --- | ---: |" + " ---: |" * len(names),
    ]
    figures = [result.figures[name] for name in names]
    everything = [f"{figure.value:.1%}".rstrip("%") for figure in figures]
    spans = [f"{100 * figure.low:.1f} to {100 * figure.high:.1f}" for figure in figures]
    lines.append(f"| all | {result.rows} | " + " | ".join(everything) + " |")
    lines.append("| 95 % interval | | " + " | ".join(spans) + " |")
    for family, (rows, shares) in result.families.items():
        cells = ["" if (share := shares[name]) is None else f"{100 * share:.0f}" for name in names]
        lines.append(f"| {family} | {rows} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
