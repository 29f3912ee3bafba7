"""A few made-up rows of every known data set, in the set's own file format."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from worker.lab.data.labels import EMOJI, EMOTION, SENTIMENT, SIX_EMOTIONS
from worker.lab.data.tweet_labels import FILE as TWEET_LABELS
from worker.lab.data.tweet_labels import digest_of

_WORDS = (
    "lovely",
    "great",
    "awful",
    "broken",
    "train",
    "film",
    "phone",
    "the",
    "is",
    "was",
    "it",
    "on",
    "monday",
)
_COUNT = 24
_TWEETS = (
    ("sentiment", ("val",), 3),
    ("emoji", ("train", "test", "val"), len(EMOJI.labels)),
    ("offensive", ("train", "val"), 2),
    ("irony", ("train",), 2),
    ("hate", ("train",), 2),
    ("emotion", ("train",), 4),
)
"""TweetEval's tasks that come as two line files a part: the parts, and the number of labels."""


def write_rows(root: Path, seed: int = 4) -> None:
    """Write the files of every known data set to `root`: some rows each, and for each label at least one."""
    rng = Random(seed)  # noqa: S311 - made-up words are no secret
    tweets = _write_tweets(root, rng)
    comments = _write_posts(root, rng)
    _write_reviews(root, rng)
    _write_labels(root, [*tweets, *comments])


def _texts(rng: Random, count: int = _COUNT) -> list[str]:
    return [" ".join(rng.choices(_WORDS, k=rng.randint(2, 8))) for _ in range(count)]


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_tweets(root: Path, rng: Random) -> list[str]:
    """Write the tweets; return those that get labels of our own too."""
    rows = [f"{number}\t{number % 3}\tx\t{text}" for number, text in enumerate(_texts(rng))]
    _write(root / "tweeteval/sentiment/train_reconstructed.tsv", ["id\tlabel\tsource\ttext", *rows])
    for task, parts, labels in _TWEETS:
        for part in parts:
            _write(root / f"tweeteval/{task}/{part}_text.txt", _texts(rng))
            _write(root / f"tweeteval/{task}/{part}_labels.txt", [str(n % labels) for n in range(_COUNT)])
    people = [row.split("\t")[-1] for row in rows]
    to_airlines = _texts(rng)
    airline = (f"{text}\t{SENTIMENT.labels[n % 3]}\t1.0" for n, text in enumerate(to_airlines))
    _write(root / "airline_tweets/train.tsv", ["text\tlabel\tconfidence", *airline])
    emoji = (root / "tweeteval/emoji/train_text.txt").read_text(encoding="utf-8").splitlines()
    return [*emoji, *people, *to_airlines]


def _write_labels(root: Path, texts: Sequence[str]) -> None:
    """Write labels for some texts, as the labels of our own are kept."""
    digests = dict.fromkeys(map(digest_of, texts))
    rows = [
        f"{digest}\t{SENTIMENT.labels[n % 3]}\t{EMOTION.labels[n % len(EMOTION.labels)]}\t"
        f"{'toxic' if n % 2 else 'not_toxic'}"
        for n, digest in enumerate(digests)
    ]
    _write(root / TWEET_LABELS.name, rows)


def _write_posts(root: Path, rng: Random) -> list[str]:
    """Write comments and posts; return the comments that get labels of our own too."""
    labelled: list[str] = []
    for split in ("train", "dev"):
        texts = _texts(rng, 2 * len(EMOTION.labels))
        rows = [f"{text}\t{number % len(EMOTION.labels)}\tid" for number, text in enumerate(texts)]
        _write(root / f"goemotions/{split}.tsv", rows)
        labelled += texts if split == "train" else []
    for split in ("train", "trial"):
        _write(
            root / f"toxic_spans/tsd_{split}.csv",
            ["spans,text", *(f'"[0, 1]",{text}' for text in _texts(rng))],
        )
    for split in ("train", "val"):
        labels = SIX_EMOTIONS.labels
        rows = [f"{text};{labels[number % len(labels)]}" for number, text in enumerate(_texts(rng))]
        _write(root / f"emotion/{split}.txt", rows)
    return labelled


def _write_reviews(root: Path, rng: Random) -> None:
    for split in ("train", "dev"):
        rows = [f"{text}\t{number % 2}" for number, text in enumerate(_texts(rng))]
        _write(root / f"sst2/{split}.tsv", ["sentence\tlabel", *rows])
    for domain in ("airline", "books", "dvd", "electronics", "kitchen"):
        # Every tenth row is held out, so the labels change more slowly than that.
        rows = [f"{text}\t{number // 3 % 2}" for number, text in enumerate(_texts(rng))]
        _write(root / f"reviews_multidomain/{domain}_train.tsv", ["sentence\tlabel", *rows])
    (root / "imdb").mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        with gzip.open(root / f"imdb/{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            for number, text in enumerate(_texts(rng)):
                file.write(json.dumps({"label": number % 2, "text": f"it is {text}."}) + "\n")
