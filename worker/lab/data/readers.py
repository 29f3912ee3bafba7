"""Readers for the known data sets, one per set.

A reader only undoes what the file format did to a text (escapes, HTML markup). All other preparation of texts
is shared with the service.
"""

import ast
import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.data.labels import (
    EMOJI,
    EMOTION,
    NEGATIVE,
    NEUTRAL,
    NOT_TOXIC,
    POSITIVE,
    SENTIMENT,
    SIX_EMOTIONS,
    TOXIC,
)

Row = tuple[str, tuple[int, ...]]
"""A text and the indices of its labels in its head; exactly one for a single-label head.

For a token head: the positions of the marked characters in the text. Unlabelled texts have none.
"""


def text_key(text: str) -> str:
    """Return the key by which duplicate texts are found: letters and digits in order, without case."""
    return "".join(filter(str.isalnum, text.casefold())) or text.strip()


def _lines(path: Path) -> Iterator[str]:
    """Yield lines without their ends; only a line feed ends a line (tweets contain other breaks)."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _bad(path: Path, number: int, why: str) -> TrainingError:
    return TrainingError(f"{path}, line {number}: {why}")


def _polarity(value: str, path: Path, number: int) -> int:
    """Return the class of a binary label: 0 is negative, 1 positive."""
    if value not in ("0", "1"):
        raise _bad(path, number, f"label must be 0 or 1, not {value[:20]!r}")
    return POSITIVE if value == "1" else NEGATIVE


def read_sst2(paths: list[Path]) -> Iterator[Row]:
    """Read a header line, then two columns: `label`, and the text under any name (the two files differ)."""
    for path in paths:
        label_at = 0
        for number, line in enumerate(_lines(path), start=1):
            parts = line.split("\t")
            if len(parts) != 2:
                raise _bad(path, number, f"expected 2 columns, found {len(parts)}")
            if number > 1:
                yield parts[1 - label_at].strip(), (_polarity(parts[label_at], path, number),)
            elif "label" in parts:
                label_at = parts.index("label")
            else:
                raise _bad(path, 1, "expected a column named label")


def read_reviews(paths: list[Path]) -> Iterator[Row]:
    """Read quoted, tab-separated `sentence, label`; a field may span lines."""
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            for number, row in enumerate(reader, start=2):
                if row.get("sentence") is None or row.get("label") is None:
                    raise _bad(path, number, "expected the columns sentence and label")
                yield row["sentence"].strip(), (_polarity(row["label"], path, number),)


def read_imdb(paths: list[Path]) -> Iterator[Row]:
    """Read gzipped JSON lines, in which line breaks are HTML."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                    text, label = re.sub(r"(?:<br\s*/?>\s*)+", "\n", row["text"]), str(row["label"])
                except (ValueError, KeyError, TypeError) as error:
                    raise _bad(path, number, f"not a review: {error}") from error
                yield text.strip(), (_polarity(label, path, number),)


def read_goemotions(paths: list[Path]) -> Iterator[Row]:
    """`text <tab> comma-separated label numbers <tab> id`."""
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            parts = line.split("\t")
            if len(parts) != 3:
                raise _bad(path, number, f"expected 3 columns, found {len(parts)}")
            try:
                labels = tuple(sorted({int(part) for part in parts[1].split(",")}))
            except ValueError as error:
                raise _bad(path, number, "labels must be whole numbers") from error
            if labels[0] < 0 or labels[-1] >= len(EMOTION.labels):
                raise _bad(path, number, f"label numbers go from 0 to {len(EMOTION.labels) - 1}")
            yield parts[0].strip(), labels


def _tweet_class(value: str, path: Path, number: int) -> tuple[int]:
    if value not in ("0", "1", "2"):
        raise _bad(path, number, f"label must be 0, 1 or 2, not {value[:20]!r}")
    return ((NEGATIVE, NEUTRAL, POSITIVE)[int(value)],)


def read_tweets(paths: list[Path]) -> Iterator[Row]:
    """Read one file with `id label source text`, or two files with texts and labels line by line."""
    if len(paths) == 1:
        for number, line in enumerate(_lines(paths[0]), start=1):
            parts = line.split("\t")
            if len(parts) != 4:
                raise _bad(paths[0], number, f"expected 4 columns, found {len(parts)}")
            if number > 1:
                yield unescape(parts[3]).strip(), _tweet_class(parts[1], paths[0], number)
        return
    texts, labels = (list(_lines(path)) for path in paths)
    if len(texts) != len(labels):
        raise TrainingError(f"{paths[0]} has {len(texts)} lines, {paths[1]} has {len(labels)}")
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        yield unescape(text).strip(), _tweet_class(label.strip(), paths[1], number)


def unescape(text: str) -> str:
    r"""Undo the escapes of the tweet files: `\u2019`, surrogate pairs of them, `\"` and doubled quotes."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub(r'\\?"+', '"', text)


def read_spans(paths: list[Path]) -> Iterator[Row]:
    """Read the CSV columns `spans, text`, where spans is a list of the toxic characters' positions."""
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    places = tuple(sorted({int(place) for place in ast.literal_eval(row["spans"])}))
                    text = str(row["text"] or "")
                except (KeyError, ValueError, SyntaxError, TypeError) as error:
                    raise _bad(path, number, "expected the columns spans and text") from error
                if places and not 0 <= places[0] <= places[-1] < len(text):
                    raise _bad(path, number, "a span lies outside its text")
                yield text, places


def read_toxic_posts(paths: list[Path]) -> Iterator[Row]:
    """Read the same posts as toxic texts, if they have at least one marked character.

    All posts had been judged toxic. The unmarked ones cannot be told apart by their words: a head trained to
    call them not toxic ranked them no better than chance (AUROC 0.49).
    """
    return ((text, (TOXIC,)) for text, places in read_spans(paths) if places)


def read_offensive(paths: list[Path]) -> Iterator[Row]:
    """Read two files: texts, and 0 or 1 line by line."""
    texts, labels = (list(_lines(path)) for path in paths)
    if len(texts) != len(labels):
        raise TrainingError(f"{paths[0]} has {len(texts)} lines, {paths[1]} has {len(labels)}")
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if label.strip() not in ("0", "1"):
            raise _bad(paths[1], number, f"label must be 0 or 1, not {label[:20]!r}")
        yield unescape(text).strip(), (TOXIC if label.strip() == "1" else NOT_TOXIC,)


def read_emoji(paths: list[Path]) -> Iterator[Row]:
    """Read pairs of files, texts and the number of the emoji that stood in each of them."""
    for texts, labels in _pairs(paths):
        for number, (text, label) in enumerate(zip(_lines(texts), _lines(labels), strict=True), start=1):
            if not label.isdecimal() or int(label) >= len(EMOJI.labels):
                raise _bad(labels, number, f"label must be 0 to {len(EMOJI.labels) - 1}, not {label[:20]!r}")
            yield unescape(text).strip(), (int(label),)


def read_only_texts(paths: list[Path]) -> Iterator[Row]:
    """Read files of texts, a line each, without labels."""
    for path in paths:
        for text in _lines(path):
            yield unescape(text).strip(), ()


def read_airline(paths: list[Path]) -> Iterator[Row]:
    """Read a header line, then tab-separated lines: text, sentiment, and the annotators' confidence."""
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            parts = line.split("\t")
            if len(parts) != 3:
                raise _bad(path, number, f"expected 3 columns, found {len(parts)}")
            if number == 1:
                continue
            if parts[1] not in SENTIMENT.labels:
                raise _bad(path, number, f"label must be one of {', '.join(SENTIMENT.labels)}")
            yield unescape(parts[0]).strip(), (SENTIMENT.labels.index(parts[1]),)


def _pairs(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the files of texts with their files of labels, and refuse files of other lengths."""
    for texts, labels in zip(paths[::2], paths[1::2], strict=True):
        lengths = [sum(1 for _ in _lines(path)) for path in (texts, labels)]
        if lengths[0] != lengths[1]:
            raise TrainingError(f"{texts} has {lengths[0]} lines, {labels} has {lengths[1]}")
        yield texts, labels


_CALM = frozenset(
    EMOTION.labels.index(name)
    for name in ("admiration", "approval", "caring", "curiosity", "excitement", "gratitude", "joy", "love",
                 "optimism", "pride", "realization", "relief", "neutral")
)  # fmt: skip


def read_calm(paths: list[Path]) -> Iterator[Row]:
    """Read GoEmotions' kind and neutral comments as not toxic: a weak label, since nobody judged that."""
    return ((text, (NOT_TOXIC,)) for text, labels in read_goemotions(paths) if _CALM.issuperset(labels))


def read_calm_reviews(paths: list[Path]) -> Iterator[Row]:
    """Read product and airline reviews as not toxic: they curse things, not people. A weak label, too."""
    return ((text, (NOT_TOXIC,)) for text, _ in read_reviews(paths))


def read_calm_films(paths: list[Path]) -> Iterator[Row]:
    """Read IMDB reviews as not toxic: they judge films, and seldom people. A weak label, too."""
    return ((text, (NOT_TOXIC,)) for text, _ in read_imdb(paths))


def read_calm_phrases(paths: list[Path]) -> Iterator[Row]:
    """Read SST-2's phrases about films as not toxic: a weak label, too."""
    return ((text, (NOT_TOXIC,)) for text, _ in read_sst2(paths))


def read_sentences(paths: list[Path]) -> Iterator[Row]:
    """Read the sentences of IMDB reviews without labels: a review's label need not fit each of them."""
    for text, _ in read_imdb(paths):
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            words = len(sentence.split())
            if 3 <= words <= 40:
                yield sentence.strip(), ()


def read_six(paths: list[Path]) -> Iterator[Row]:
    """Read `text;label`, with or without a header line, which only some copies have."""
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            text, _, label = line.rpartition(";")
            if number == 1 and line == "text;label_name":
                continue
            if label not in SIX_EMOTIONS.labels:
                raise _bad(path, number, f"label must be one of {', '.join(SIX_EMOTIONS.labels)}")
            yield text.strip(), (SIX_EMOTIONS.labels.index(label),)
