"""The posts of our own in `posts/`, a file a family: rows for each head, and the fifth that is held out.

A fifth of each family is the dev split. Which rows are in it depends only on their own words (or on their
pair's name), so adding rows moves none, and rows with the same `pair` are on the same side.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import TrainingError
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXIC_SPANS, TOXICITY, check_labels, indexes_of
from worker.lab.data.readers import Row, text_key

TRAINS = (SENTIMENT.name, EMOTION.name, TOXICITY.name, TOXIC_SPANS.name)
"""The heads that these posts train."""

FOLDER = Path(__file__).with_name("posts")

_HELD = 5
"""One row or pair of so many is held out."""


@dataclass(frozen=True, slots=True)
class Post:
    """One post with its labels; emotions the strongest first, `marked` the places of its toxic characters.

    `emotions` is empty where the two labellings of a post agree in all else: it says nothing about emotions.
    `marked` is None where the post is an insult or a threat as a whole: it says nothing about single words.
    """

    family: str
    text: str
    sentiment: str
    emotions: tuple[str, ...]
    toxic: bool
    marked: tuple[int, ...] | None
    held_out: bool


def rows(head: str, split: str, folder: Path = FOLDER) -> Iterator[Row]:
    """Yield the rows of one split (`train` or `dev`) for one head. Raises TrainingError for a bad line."""
    for post in read_posts(folder):
        labels = _labels(post, head)
        if post.held_out == (split == "dev") and labels is not None:
            yield post.text, labels


def read_posts(folder: Path = FOLDER) -> Iterator[Post]:
    """Yield every post, family by family. Raises TrainingError for a line that is not a valid post."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield _post(path.stem, json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise TrainingError(f"{path}, line {number}: not a valid post: {error}") from error


def _post(family: str, row: dict[str, Any]) -> Post:
    """Return a checked post. Raises ValueError, KeyError, TypeError or AttributeError."""
    text, sentiment, emotions = row["text"], row["sentiment"], tuple(row["emotions"])
    if not text.strip():
        raise ValueError("no text")
    check_labels(sentiment, emotions)
    spans = row.get("spans", ())
    marked: set[int] = set()
    for span in spans or ():
        start = text.find(span)
        if not span or start < 0:
            raise ValueError(f"{span!r} is not in the text")
        marked.update(range(start, start + len(span)))
    key = f"{family}/{row.get('pair') or text_key(text)}"
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    held = int.from_bytes(digest) % _HELD == 0
    return Post(
        family,
        text,
        sentiment,
        emotions,
        bool(row["toxic"]),
        None if spans is None else tuple(sorted(marked)),
        held,
    )


def _labels(post: Post, head: str) -> tuple[int, ...] | None:
    """Return a post's labels for one head; None where it says nothing about it."""
    if head == TOXIC_SPANS.name:
        return post.marked
    return indexes_of(head, post.sentiment, post.emotions, post.toxic) or None
