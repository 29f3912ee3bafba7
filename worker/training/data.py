"""Labelled text from the files of the data sets, one reader a set.

A reader only undoes what the file format did to a text (escapes, markup of a web page). Nothing else is
changed: the service gives raw text to the tokenizer, so training does too.
"""

import ast
import csv
import gzip
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.training import written
from worker.training.errors import TrainingError
from worker.training.labels import (
    EMOTION,
    NEGATIVE,
    NEUTRAL,
    NOT_TOXIC,
    POSITIVE,
    SENTIMENT,
    SIX_EMOTIONS,
    TOXIC,
    TOXIC_SPANS,
    TOXICITY,
)

Split = Literal["train", "dev"]
Row = tuple[str, tuple[int, ...]]
"""A text and the indexes of its labels in its head; one index, unless the head takes many labels.

For a token head: the places of the marked characters in the text. Texts without labels have none.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set: the head that it trains, and how it is read."""

    head: str
    binary: bool
    """It knows no neutral: only negative against positive is learnt from it."""
    train: tuple[str, ...]
    dev: tuple[str, ...]
    read: Callable[[list[Path]], Iterator[Row]]
    from_files: bool = True
    """False: `read` makes the rows itself."""
    held: int = 0
    """Above 0: the dev split is every so-manieth row of each train file, since there are no others."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One split of one data set."""

    name: str
    head: str
    binary: bool
    texts: list[str]
    labels: list[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.texts)


def data_root(argument: str | None, recipe: str = "") -> Path:
    """Return the folder with the data sets: the argument, the recipe, MOODSTREAM_DATA, or `../shared/data`.

    Raises TrainingError where it does not exist.
    """
    given = argument or recipe or os.environ.get("MOODSTREAM_DATA") or ""
    root = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not root.is_dir():
        raise TrainingError(f"no data folder {root}: name it with --data or MOODSTREAM_DATA")
    return root


def load(name: str, split: Split, root: Path, rows: int = 0) -> Labelled:
    """Read one split of a data set, its first `rows` rows or all of them.

    A train split leaves out every text that the dev split holds too (compared without case, spaces and
    marks). Raises TrainingError for an unknown set, a missing file, or a row that makes no sense.
    """
    source = _source(name)
    known = (
        frozenset(map(text_key, _texts(name, "dev", root)))
        if split == "train" and source.dev
        else frozenset()
    )
    texts: list[str] = []
    labels: list[tuple[int, ...]] = []
    for text, indexes in _rows(source, split, _files(name, split, root)):
        if not text or text_key(text) in known:
            continue
        texts.append(text)
        labels.append(indexes)
        if rows and len(texts) == rows:
            break
    if not texts:
        raise TrainingError(f"data set {name}: no rows in its {split} split")
    return Labelled(name, source.head, source.binary, texts, labels)


def text_key(text: str) -> str:
    """Return what two copies of a text share: letters and digits in order, without case."""
    return "".join(filter(str.isalnum, text.casefold())) or text.strip()


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise TrainingError(f"unknown data set {name!r}: there is {', '.join(SOURCES)}")
    return SOURCES[name]


def _files(name: str, split: Split, root: Path) -> list[Path]:
    source = _source(name)
    names = source.train if split == "train" else source.dev
    if split == "train" and not source.from_files:
        return []
    if not names:
        raise TrainingError(f"data set {name} has no {split} split")
    paths = [root / file for file in names]
    for path in paths:
        if not path.is_file():
            raise TrainingError(f"data set {name}: no file {path}")
    return paths


def _texts(name: str, split: Split, root: Path) -> Iterable[str]:
    return (text for text, _ in _rows(_source(name), split, _files(name, split, root)))


def _rows(source: Source, split: Split, paths: list[Path]) -> Iterable[Row]:
    if split == "train" or not source.held:
        return source.read(paths)
    return (
        row for path in paths for number, row in enumerate(source.read([path])) if number % source.held == 0
    )


def _lines(path: Path) -> Iterator[str]:
    """Yield lines without their ends; only the line feed ends one (tweets hold other breaks)."""
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


def _read_sst2(paths: list[Path]) -> Iterator[Row]:
    """Header line, then two columns: `label`, and the text under whatever name (the two files differ)."""
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


def _read_reviews(paths: list[Path]) -> Iterator[Row]:
    """Quoted tab-separated `sentence, label`; a field may span lines."""
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            for number, row in enumerate(reader, start=2):
                if row.get("sentence") is None or row.get("label") is None:
                    raise _bad(path, number, "expected the columns sentence and label")
                yield row["sentence"].strip(), (_polarity(row["label"], path, number),)


def _read_imdb(paths: list[Path]) -> Iterator[Row]:
    """Gzipped JSON lines; line breaks stand as HTML."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                    text, label = re.sub(r"(?:<br\s*/?>\s*)+", "\n", row["text"]), str(row["label"])
                except (ValueError, KeyError, TypeError) as error:
                    raise _bad(path, number, f"not a review: {error}") from error
                yield text.strip(), (_polarity(label, path, number),)


def _read_goemotions(paths: list[Path]) -> Iterator[Row]:
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


def _read_tweets(paths: list[Path]) -> Iterator[Row]:
    """One file: a table `id label source text`. Two files: texts, and their labels line by line."""
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


def _read_spans(paths: list[Path]) -> Iterator[Row]:
    """CSV `spans, text`: a list of the toxic characters' places."""
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    places = tuple(sorted({int(place) for place in ast.literal_eval(row["spans"])}))
                    text = row["text"]
                except (KeyError, ValueError, SyntaxError, TypeError) as error:
                    raise _bad(path, number, "expected the columns spans and text") from error
                if places and not 0 <= places[0] <= places[-1] < len(text):
                    raise _bad(path, number, "a span lies outside its text")
                yield text, places


def _read_toxic_posts(paths: list[Path]) -> Iterator[Row]:
    """The same posts as a whole, those in which somebody marked a character, as toxic.

    All were taken from posts judged toxic. Of the others nobody can tell them by their words: a head that was
    taught that they are not toxic ranked them no better than by chance (AUROC 0.49).
    """
    return ((text, (TOXIC,)) for text, places in _read_spans(paths) if places)


def _read_offensive(paths: list[Path]) -> Iterator[Row]:
    """Two files: texts, and 0 or 1 line by line."""
    texts, labels = (list(_lines(path)) for path in paths)
    if len(texts) != len(labels):
        raise TrainingError(f"{paths[0]} has {len(texts)} lines, {paths[1]} has {len(labels)}")
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if label.strip() not in ("0", "1"):
            raise _bad(paths[1], number, f"label must be 0 or 1, not {label[:20]!r}")
        yield unescape(text).strip(), (TOXIC if label.strip() == "1" else NOT_TOXIC,)


_CALM = frozenset(
    EMOTION.labels.index(name)
    for name in ("admiration", "approval", "caring", "curiosity", "excitement", "gratitude", "joy", "love",
                 "optimism", "pride", "realization", "relief", "neutral")
)  # fmt: skip


def _read_calm(paths: list[Path]) -> Iterator[Row]:
    """GoEmotions' kind and plain comments as not toxic. A weak label: nobody judged it."""
    return ((text, (NOT_TOXIC,)) for text, labels in _read_goemotions(paths) if _CALM.issuperset(labels))


def _read_sentences(paths: list[Path]) -> Iterator[Row]:
    """Sentences of the IMDB reviews, without labels: a review's own label does not hold for each of them."""
    for text, _ in _read_imdb(paths):
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            words = len(sentence.split())
            if 3 <= words <= 40:
                yield sentence.strip(), ()


def _read_six(paths: list[Path]) -> Iterator[Row]:
    """`text;label`."""
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            text, _, label = line.rpartition(";")
            if label not in SIX_EMOTIONS.labels:
                raise _bad(path, number, f"label must be one of {', '.join(SIX_EMOTIONS.labels)}")
            yield text.strip(), (SIX_EMOTIONS.labels.index(label),)


_DOMAINS = ("airline", "books", "dvd", "electronics", "kitchen")
_REVIEWS = tuple(f"reviews_multidomain/{name}_train.tsv" for name in _DOMAINS)
_HELD = 10
"""Of the product and airline reviews every tenth is kept for dev: their source has no dev split."""

SOURCES = {
    "sst2": Source(SENTIMENT.name, True, ("sst2/train.tsv",), ("sst2/dev.tsv",), _read_sst2),
    "tweeteval_sentiment": Source(
        SENTIMENT.name,
        False,
        ("tweeteval/sentiment/train_reconstructed.tsv",),
        ("tweeteval/sentiment/val_text.txt", "tweeteval/sentiment/val_labels.txt"),
        _read_tweets,
    ),
    "goemotions": Source(
        EMOTION.name, False, ("goemotions/train.tsv",), ("goemotions/dev.tsv",), _read_goemotions
    ),
    "reviews": Source(SENTIMENT.name, True, _REVIEWS, _REVIEWS, _read_reviews, held=_HELD),
    **{
        f"reviews_{name}": Source(SENTIMENT.name, True, (path,), (path,), _read_reviews, held=_HELD)
        for name, path in zip(_DOMAINS, _REVIEWS, strict=True)
    },
    "imdb": Source(SENTIMENT.name, True, ("imdb/train.jsonl.gz",), ("imdb/val.jsonl.gz",), _read_imdb),
    "imdb_sentences": Source(SENTIMENT.name, True, ("imdb/train.jsonl.gz",), (), _read_sentences),
    "toxic_spans": Source(
        TOXIC_SPANS.name, False, ("toxic_spans/tsd_train.csv",), ("toxic_spans/tsd_trial.csv",), _read_spans
    ),
    "toxic_posts": Source(
        TOXICITY.name,
        False,
        ("toxic_spans/tsd_train.csv",),
        ("toxic_spans/tsd_trial.csv",),
        _read_toxic_posts,
    ),
    "offensive": Source(
        TOXICITY.name,
        False,
        ("tweeteval/offensive/train_text.txt", "tweeteval/offensive/train_labels.txt"),
        ("tweeteval/offensive/val_text.txt", "tweeteval/offensive/val_labels.txt"),
        _read_offensive,
    ),
    "goemotions_calm": Source(TOXICITY.name, False, ("goemotions/train.tsv",), (), _read_calm),
    "six_emotions": Source(SIX_EMOTIONS.name, False, ("emotion/train.txt",), ("emotion/val.txt",), _read_six),
    "written_sentiment": Source(
        SENTIMENT.name, False, (), (), lambda _: written.sentiment(), from_files=False
    ),
    "written_toxicity": Source(TOXICITY.name, False, (), (), lambda _: written.toxicity(), from_files=False),
    "written_emotion": Source(EMOTION.name, False, (), (), lambda _: written.emotion(), from_files=False),
}
