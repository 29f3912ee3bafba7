"""The known data sets: their files, the head that each trains, and their dev rows."""

import csv
import os
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from worker.errors import TrainingError, one_line
from worker.lab.data import own_posts, readers, tweet_labels, written
from worker.lab.data.labels import EMOJI, EMOTION, SENTIMENT, SIX_EMOTIONS, TOXIC_SPANS, TOXICITY
from worker.lab.data.readers import Row, text_key

Split = Literal["train", "dev"]
Labels = list[tuple[int, ...]]
"""The label indices of each text."""


@dataclass(frozen=True, slots=True)
class Source:
    """A known data set: the head that it trains, and how it is read."""

    head: str
    binary: bool
    """It has no neutral label: only negative against positive is learnt from it."""
    train: tuple[str, ...]
    dev: tuple[str, ...]
    read: Callable[[list[Path]], Iterator[Row]]
    from_files: bool = True
    """False: `read` makes the rows itself."""
    read_dev: Callable[[list[Path]], Iterator[Row]] | None = None
    """The reader of the dev split where `read` does not read it."""
    held: int = 0
    """N above 0: the dev split is every N-th row of each train file, since the source has no dev split."""
    group_size: int = 1
    """The number of consecutive rows that should get the same answer: the mean of a teacher's scores."""
    first_leads: bool = False
    """The first row of each group is the original: the whole group learns the teacher's scores for it."""
    own_files: Callable[[Path], Iterable[Path]] = lambda _root: ()
    """The files of ours that `read` reads too, given the folder with the data sets."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One split of one data set."""

    name: str
    head: str
    binary: bool
    texts: list[str]
    labels: list[tuple[int, ...]]
    group_size: int = 1
    """The number of consecutive rows that should get the same answer; it divides the number of rows."""
    first_leads: bool = False
    """The group's answer is that of its first row; otherwise the mean."""

    def __len__(self) -> int:
        return len(self.texts)


class Licence(NamedTuple):
    """A data set's title, its makers, and what its source says about its use."""

    title: str
    source: str
    licence: str


def licences() -> dict[str, Licence]:
    """Return the licence of each known data set, as the README of its folder gives it."""
    text = Path(__file__).with_name("licences.toml").read_text(encoding="utf-8")
    return {name: Licence(**entry) for name, entry in tomllib.loads(text).items()}


def data_root(argument: str | None, recipe: str = "") -> Path:
    """Return the folder with the data sets: the argument, the recipe, MOODSTREAM_DATA, or `../shared/data`.

    Raises TrainingError if it does not exist.
    """
    given = argument or recipe or os.environ.get("MOODSTREAM_DATA") or ""
    root = Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "data"
    if not root.is_dir():
        raise TrainingError(f"no data folder {root}: name it with --data or MOODSTREAM_DATA")
    return root


def load(name: str, split: Split, root: Path, rows: int = 0) -> Labelled:
    """Read one split of a data set, its first `rows` rows or all of them; only whole groups.

    A train split leaves out every text that is held out: see `held_out_from`. Raises TrainingError for an
    unknown set, a missing file, or a malformed row.
    """
    source = _source(name)
    held_out = held_out_from(name, root) if split == "train" else []
    texts: list[str] = []
    labels: list[tuple[int, ...]] = []
    rows = rows and max(source.group_size, rows - rows % source.group_size)
    for text, indexes in _rows(source, split, _files(name, split, root)):
        if not text or _held_out(text, held_out):
            continue
        texts.append(text)
        labels.append(indexes)
        if rows and len(texts) == rows:
            break
    if not texts:
        raise TrainingError(f"data set {name}: no rows in its {split} split")
    return Labelled(name, source.head, source.binary, texts, labels, source.group_size, source.first_leads)


def _held_out(text: str, held_out: Sequence[frozenset[str]]) -> bool:
    key = text_key(text) if held_out else ""
    return any(key in keys for keys in held_out)


def held_out_from(name: str, root: Path) -> list[frozenset[str]]:
    """Return the keys of the texts that a set must not train on (`text_key`: no case, spaces, punctuation).

    These are the dev splits of the set itself and of all sets that train the same head, and the public dev
    splits, whatever their head: one label gives another away. The fifth of the tweets and comments that has
    held-out labels of our own may train the heads that people have labelled. Emoji alone are no text that
    another set holds out, and groups without labels stay whole. Another set whose files are missing holds out
    nothing. Raises TrainingError.
    """
    own = _source(name)
    if own.group_size > 1:
        return []
    held = [_dev_keys(name, root)] if own.dev or own.read_dev else []
    for other, source in SOURCES.items():
        public = bool(source.dev) and source.read_dev is None
        asked = public or (source.head == own.head and source.read_dev is not None)
        if other != name and asked and all((root / file).is_file() for file in source.dev):
            held.append(frozenset(filter(str.isalnum, _dev_keys(other, root))))
    return held


def _dev_keys(name: str, root: Path) -> frozenset[str]:
    paths = _files(name, "dev", root)
    read = [*paths, *_source(name).own_files(root)]
    stamp = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in read)
    return _read_dev_keys(name, tuple(paths), stamp)


@lru_cache(maxsize=64)
def _read_dev_keys(name: str, paths: tuple[Path, ...], _stamp: object) -> frozenset[str]:
    """Read a dev split's keys; the files' times and sizes are part of what the cache knows them by."""
    return frozenset(text_key(text) for text, _ in _rows(_source(name), "dev", list(paths)))


def load_also(task: str, names: Sequence[str], texts: Iterable[str], root: Path) -> dict[str, Labels]:
    """Return the labels that other data sets give the same texts, by head, in the order of the texts.

    A text that a set does not have gets no label there. Raises TrainingError as `load` does, for a set of a
    token head or of a head that the task trains already, for a set that shares no text with the task, and
    for a task of a token head.
    """
    if names and _source(task).head == TOXIC_SPANS.name:
        raise TrainingError(f"{task}: also does not go with a head by token")
    wanted = list(texts)
    heads = {_source(task).head}
    found: dict[str, Labels] = {}
    for name in names:
        split = load(name, "train", root)
        if split.head == TOXIC_SPANS.name or split.binary or split.head in heads:
            why = "trained already" if split.head in heads else "of a head by token, or binary"
            raise TrainingError(f"{task}: also cannot name {name}, it is {why}")
        known = dict(zip(split.texts, split.labels, strict=True))
        labels = [known.get(text, ()) for text in wanted]
        if not any(labels):
            raise TrainingError(f"{task}: also names {name}, which has none of its texts with labels")
        heads.add(split.head)
        found[split.head] = labels
    return found


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise TrainingError(f"unknown data set {name!r}: there is {', '.join(SOURCES)}")
    return SOURCES[name]


def _files(name: str, split: Split, root: Path) -> list[Path]:
    source = _source(name)
    names = source.train if split == "train" else source.dev
    if not source.from_files and (split == "train" or source.read_dev):
        return []
    if not names:
        raise TrainingError(f"data set {name} has no {split} split")
    paths = [root / file for file in names]
    for path in paths:
        if not path.is_file():
            raise TrainingError(f"data set {name}: no file {path}")
    return paths


def _rows(source: Source, split: Split, paths: list[Path]) -> Iterator[Row]:
    """Yield the rows of one split. Raises TrainingError, also for a file that is damaged."""
    try:
        yield from _read(source, split, paths)
    except (UnicodeDecodeError, OSError, EOFError, zlib.error, csv.Error) as error:
        names = ", ".join(str(path) for path in paths)
        raise TrainingError(f"{names}: cannot be read: {one_line(error)}") from error


def _read(source: Source, split: Split, paths: list[Path]) -> Iterable[Row]:
    if split == "dev" and source.read_dev:
        return source.read_dev(paths)
    if split == "train" or not source.held:
        return source.read(paths)
    return (
        row for path in paths for number, row in enumerate(source.read([path])) if number % source.held == 0
    )


_DOMAINS = ("airline", "books", "dvd", "electronics", "kitchen")
_REVIEWS = tuple(f"reviews_multidomain/{name}_train.tsv" for name in _DOMAINS)
_HELD = 10
"""Every tenth product and airline review is kept for dev: their source has no dev split."""
_HELD_TWEETS = 5
"""Every fifth airline tweet is kept for dev."""


def _tweets(task: str, *parts: str, labels: bool = False) -> tuple[str, ...]:
    """Return the files of some parts of a TweetEval task: texts, each followed by its labels if asked for."""
    kinds = ("text", "labels") if labels else ("text",)
    return tuple(f"tweeteval/{task}/{part}_{kind}.txt" for part in parts for kind in kinds)


def _posts(head: str) -> Source:
    """Return the posts of our own as a source for one head."""
    return Source(
        head,
        False,
        (),
        (),
        lambda _: own_posts.rows(head, "train"),
        from_files=False,
        read_dev=lambda _: own_posts.rows(head, "dev"),
        own_files=lambda _: sorted(own_posts.FOLDER.glob("*.jsonl")),
    )


def _written(
    head: str, rows: Callable[[], Iterator[Row]], group_size: int = 1, *, first_leads: bool = False
) -> Source:
    """Return rows that are made from our own phrases as a source for one head."""
    return Source(
        head,
        False,
        (),
        (),
        lambda _: rows(),
        from_files=False,
        group_size=group_size,
        first_leads=first_leads,
        own_files=lambda _: (written.FILE,),
    )


def _alone(groups: Iterable[Iterable[str]]) -> Iterator[Row]:
    """Yield the texts of all groups, without labels."""
    return ((text, ()) for group in groups for text in group)


def _labelled(head: str, files: tuple[str, ...], texts: Callable[[list[Path]], Iterator[str]]) -> Source:
    """Return those texts of some files that have labels of our own, as a source for one head."""

    def read(split: Split, paths: list[Path]) -> Iterator[Row]:
        root = paths[0].parents[len(Path(files[0]).parts) - 1]
        return tweet_labels.rows(head, split, texts(paths), tweet_labels.file_for(root))

    return Source(
        head,
        False,
        files,
        files,
        partial(read, "train"),
        read_dev=partial(read, "dev"),
        own_files=lambda root: (tweet_labels.file_for(root),),
    )


def _labelled_tweets(head: str) -> Source:
    """Return the tweets that have labels of our own as a source for one head."""

    def texts(paths: list[Path]) -> Iterator[str]:
        tweets, airline, *lines = paths
        by_people = (
            text for text, _ in chain(readers.read_tweets([tweets]), readers.read_airline([airline]))
        )
        others = (text for text, _ in readers.read_only_texts(lines))
        if head != SENTIMENT.name:
            return chain(by_people, others)
        known = frozenset(map(text_key, by_people))  # people have labelled that of their two sets
        return (text for text in others if text_key(text) not in known)

    files = (
        "tweeteval/sentiment/train_reconstructed.tsv",
        "airline_tweets/train.tsv",
        *_tweets("emoji", "train", "test"),
        *_tweets("irony", "train"),
        *_tweets("hate", "train"),
        *_tweets("emotion", "train"),
        *_tweets("offensive", "train"),
    )
    return _labelled(head, files, texts)


def _comments(paths: list[Path]) -> Iterator[str]:
    return (text for text, _ in readers.read_goemotions(paths))


SOURCES = {
    "sst2": Source(SENTIMENT.name, True, ("sst2/train.tsv",), ("sst2/dev.tsv",), readers.read_sst2),
    "tweeteval_sentiment": Source(
        SENTIMENT.name,
        False,
        ("tweeteval/sentiment/train_reconstructed.tsv",),
        ("tweeteval/sentiment/val_text.txt", "tweeteval/sentiment/val_labels.txt"),
        readers.read_tweets,
    ),
    "goemotions": Source(
        EMOTION.name, False, ("goemotions/train.tsv",), ("goemotions/dev.tsv",), readers.read_goemotions
    ),
    "reviews": Source(SENTIMENT.name, True, _REVIEWS, _REVIEWS, readers.read_reviews, held=_HELD),
    **{
        f"reviews_{name}": Source(SENTIMENT.name, True, (path,), (path,), readers.read_reviews, held=_HELD)
        for name, path in zip(_DOMAINS, _REVIEWS, strict=True)
    },
    "imdb": Source(SENTIMENT.name, True, ("imdb/train.jsonl.gz",), ("imdb/val.jsonl.gz",), readers.read_imdb),
    "imdb_sentences": Source(SENTIMENT.name, True, ("imdb/train.jsonl.gz",), (), readers.read_sentences),
    "toxic_spans": Source(
        TOXIC_SPANS.name,
        False,
        ("toxic_spans/tsd_train.csv",),
        ("toxic_spans/tsd_trial.csv",),
        readers.read_spans,
    ),
    "toxic_posts": Source(
        TOXICITY.name,
        False,
        ("toxic_spans/tsd_train.csv",),
        ("toxic_spans/tsd_trial.csv",),
        readers.read_toxic_posts,
    ),
    "offensive": Source(
        TOXICITY.name,
        False,
        ("tweeteval/offensive/train_text.txt", "tweeteval/offensive/train_labels.txt"),
        ("tweeteval/offensive/val_text.txt", "tweeteval/offensive/val_labels.txt"),
        readers.read_offensive,
    ),
    "airline_tweets": Source(
        SENTIMENT.name,
        False,
        ("airline_tweets/train.tsv",),
        ("airline_tweets/train.tsv",),
        readers.read_airline,
        held=_HELD_TWEETS,
    ),
    # The emoji set's own test part is free to train on; its dev part measures.
    "emoji": Source(
        EMOJI.name,
        False,
        _tweets("emoji", "train", "test", labels=True),
        _tweets("emoji", "val", labels=True),
        readers.read_emoji,
    ),
    # Texts without labels, for teachers and for guessing words.
    "tweets_unlabelled": Source(
        SENTIMENT.name,
        False,
        (
            *_tweets("irony", "train"),
            *_tweets("hate", "train"),
            *_tweets("emotion", "train"),
        ),
        (),
        readers.read_only_texts,
    ),
    "tweets_emoji": Source(
        SENTIMENT.name, False, _tweets("emoji", "train", "test"), (), readers.read_only_texts
    ),
    **{f"posts_{head}": _posts(head) for head in own_posts.TRAINS},
    **{f"tweets_{head}": _labelled_tweets(head) for head in tweet_labels.TRAINS},
    # The emotions of these comments are GoEmotions' own.
    **{
        f"comments_{head}": _labelled(head, ("goemotions/train.tsv",), _comments)
        for head in (SENTIMENT.name, TOXICITY.name)
    },
    "goemotions_calm": Source(TOXICITY.name, False, ("goemotions/train.tsv",), (), readers.read_calm),
    "sst2_calm": Source(
        TOXICITY.name, False, ("sst2/train.tsv",), ("sst2/dev.tsv",), readers.read_calm_phrases
    ),
    "imdb_calm": Source(
        TOXICITY.name, False, ("imdb/train.jsonl.gz",), ("imdb/val.jsonl.gz",), readers.read_calm_films
    ),
    "reviews_calm": Source(TOXICITY.name, False, _REVIEWS, _REVIEWS, readers.read_calm_reviews, held=_HELD),
    "six_emotions": Source(
        SIX_EMOTIONS.name, False, ("emotion/train.txt",), ("emotion/val.txt",), readers.read_six
    ),
    "written_sentiment": _written(SENTIMENT.name, written.sentiment),
    "written_toxicity": _written(TOXICITY.name, written.toxicity),
    "written_spans": _written(TOXIC_SPANS.name, written.spans),
    "written_swaps": _written(SENTIMENT.name, lambda: _alone(written.swaps()), written.FILLS),
    "written_slips": _written(
        SENTIMENT.name, lambda: _alone(written.slips()), written.SLIPS + 1, first_leads=True
    ),
    "written_emotion": _written(EMOTION.name, written.emotion),
}
