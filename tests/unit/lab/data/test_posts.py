"""The posts of our own: each line is complete, its labels are known, and no text stands there twice."""

import json
from pathlib import Path
from unicodedata import category

import pytest

from worker.lab.data import sets
from worker.lab.data.labels import EMOTION, SENTIMENT

FILES = sorted((Path(sets.__file__).parent / "posts").glob("*.jsonl"))


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def bare(text: str) -> str:
    """Letters, digits and emoji: the same words with another emoji are another post."""
    return "".join(char for char in text.casefold() if char.isalnum() or category(char) == "So")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_has_known_labels(path: Path) -> None:
    found = rows(path)
    assert len(found) >= 150
    for row in found:
        assert set(row) - {"pair"} == {"text", "sentiment", "emotions", "toxic", "spans"}
        text, emotions, spans = row["text"], row["emotions"], row["spans"]
        assert isinstance(text, str)
        assert isinstance(emotions, list)
        assert isinstance(spans, list) or (spans is None and row["toxic"])
        assert text.strip()
        assert row["sentiment"] in SENTIMENT.labels
        assert set(emotions) <= set(EMOTION.labels)
        assert emotions == ["neutral"] or "neutral" not in emotions
        assert all(span in text for span in spans or ())
        assert row["toxic"] is True or not spans


def test_no_text_stands_there_twice() -> None:
    texts = [bare(str(row["text"])) for path in FILES for row in rows(path)]
    worded = [text for text in texts if text]
    assert len(worded) == len(set(worded))
