"""Labels of our own for tweets and comments of the public sets: sentiment, emotions, toxicity.

A language model read and labelled them. `tweet_labels.tsv` holds no text: a text is found by the digest of
its letters and digits. A fifth is held out; the digest alone says which.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from worker.errors import TrainingError
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXICITY, check_labels, indexes_of
from worker.lab.data.readers import Row, text_key

TRAINS = (SENTIMENT.name, EMOTION.name, TOXICITY.name)
"""The heads that these labels train."""

FILE = Path(__file__).with_name("tweet_labels.tsv")

_HELD = 5
"""One tweet of so many is held out."""


class Labels(NamedTuple):
    """One tweet's labels; emotions the strongest first."""

    sentiment: str
    emotions: tuple[str, ...]
    toxic: bool
    held_out: bool


def digest_of(text: str) -> str:
    """Return the digest by which a tweet is found: 16 hexadecimal digits."""
    return hashlib.blake2b(text_key(text).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def file_for(data: Path) -> Path:
    """Return the file of labels: one of this name in the folder with the data sets, or the one that ships."""
    return data / FILE.name if (data / FILE.name).is_file() else FILE


def rows(head: str, split: str, texts: Iterator[str], path: Path = FILE) -> Iterator[Row]:
    """Yield those of the texts that are labelled, each once, for one head and one split (`train` or `dev`).

    Raises TrainingError for a bad line in the file of labels.
    """
    known = read_labels(path)
    seen: set[str] = set()
    for text in texts:
        digest = digest_of(text)
        labels = known.get(digest)
        if labels is not None and labels.held_out == (split == "dev") and digest not in seen:
            seen.add(digest)
            yield text, indexes_of(head, labels.sentiment, labels.emotions, labels.toxic)


@cache
def read_labels(path: Path = FILE) -> dict[str, Labels]:
    """Return all labels by digest. Raises TrainingError for a line that is not valid."""
    found: dict[str, Labels] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                digest, labels = parsed(line.rstrip("\n"))
            except ValueError as error:
                raise TrainingError(f"{path}, line {number}: not valid labels: {error}") from error
            found[digest] = labels
    return found


def parsed(line: str) -> tuple[str, Labels]:
    """Return the digest and the labels of one line. Raises ValueError."""
    parts = line.split("\t")
    if len(parts) != 4:
        raise ValueError(f"expected 4 columns, found {len(parts)}")
    digest, sentiment, listed, toxic = parts
    emotions = tuple(listed.split(","))
    if not re.fullmatch("[0-9a-f]+", digest):
        raise ValueError(f"no digest {digest[:20]!r}")
    held = int(digest, 16) % _HELD == 0
    check_labels(sentiment, emotions)
    if toxic not in ("toxic", "not_toxic"):
        raise ValueError(f"toxic or not_toxic, not {toxic[:20]!r}")
    return digest, Labels(sentiment, emotions, toxic == "toxic", held)
