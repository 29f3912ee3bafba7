"""What `model.long_text` gives on reviews that are longer than a pack reads at once, and what it costs.

    python benchmarks/long_texts.py --data DIR [--pack compact] [--skip 0] [--minutes 5]

DIR holds `imdb/val.jsonl.gz` (`text`, `label` 0 or 1). A review counts as right where the better of positive
and negative is. The ways are taken in turns, review by review, so that a busy machine slows all of them; the
clock is processor time. The ratio for posts compares reading short texts (the first 200 characters of each
review) in the default way with cutting.
"""

import argparse
import gzip
import json
import statistics
import time
from pathlib import Path
from typing import get_args

import numpy as np

from worker.model.classifier import Classifier
from worker.settings.groups import DEFAULT_LONG_TEXT
from worker.types import LongText, Prediction

_ROUNDS, _POSTS = 15, 512


def _reviews(path: Path, skip: int) -> list[tuple[str, bool]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["text"], bool(row["label"])) for row in rows[skip:]]


def _positive(model: Classifier, text: str) -> tuple[bool, float]:
    """Return whether the review is called positive, and the seconds of processor time."""
    started = time.process_time()
    (answer,) = model.classify([text])
    seconds = time.process_time() - started
    assert isinstance(answer, Prediction)
    scores = answer.heads["sentiment"].scores
    return scores["positive"] > scores["negative"], seconds


def _long(models: dict[LongText, Classifier], reviews: list[tuple[str, bool]], minutes: float) -> None:
    right: dict[LongText, list[bool]] = {mode: [] for mode in models}
    seconds = dict.fromkeys(models, 0.0)
    until = time.monotonic() + 60 * minutes
    for text, label in reviews:
        if time.monotonic() > until:
            break
        if not models["truncate"].tokenize([text])[0].truncated:
            continue
        for mode, model in models.items():
            positive, took = _positive(model, text)
            right[mode].append(positive == label)
            seconds[mode] += took
    base = np.array(right["truncate"])
    print(f"{len(base)} long reviews")
    print("way        right %   better than truncate by   s.e.   time")
    for mode, found in right.items():
        gain = 100 * (np.array(found).astype(float) - base)
        error = gain.std() / max(1, len(gain)) ** 0.5
        print(
            f"{mode:<10} {100 * np.mean(found):7.1f}   {gain.mean():+23.1f}   {error:4.1f}   "
            f"{seconds[mode] / seconds['truncate']:.2f}"
        )


def _posts(models: dict[LongText, Classifier], reviews: list[tuple[str, bool]]) -> None:
    posts = [text[:200] for text, _ in reviews[:_POSTS]]
    ratios = []
    for number in range(_ROUNDS):
        took = {}
        pair: list[LongText] = ["truncate", DEFAULT_LONG_TEXT]
        for mode in pair if number % 2 else pair[::-1]:
            started = time.process_time()
            models[mode].classify(posts)
            took[mode] = time.process_time() - started
        ratios.append(took[DEFAULT_LONG_TEXT] / took["truncate"])
    print(
        f"posts, {DEFAULT_LONG_TEXT} against truncate: {statistics.median(ratios):.3f} "
        f"(median of {_ROUNDS} rounds, {min(ratios):.3f} to {max(ratios):.3f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pack", default="compact")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first reviews of the file")
    parser.add_argument("--minutes", type=float, default=5.0, help="the most minutes for the long reviews")
    args = parser.parse_args()
    reviews = _reviews(args.data / "imdb" / "val.jsonl.gz", args.skip)
    models = {mode: Classifier.load(args.pack, threads=1, long_text=mode) for mode in get_args(LongText)}
    _long(models, reviews, args.minutes)
    _posts(models, reviews)


if __name__ == "__main__":
    main()
