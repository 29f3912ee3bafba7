"""How fast packs are beside one another, on the same texts, in rounds that take turns."""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.classifier import Classifier
from worker.types import Prediction

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """One pack's speed.

    `ratio` is the median over the rounds of its rate to the first pack's in the same round, `low` and `high`
    the least and the largest of those ratios, `per_second` the median rate in texts.
    """

    per_second: float
    ratio: float
    low: float
    high: float


def rates(packs: Mapping[str, Path], texts: Sequence[str], rounds: int = ROUNDS) -> dict[str, Rate]:
    """Label the texts with every pack in each round, the order turned about each time.

    The first pack is what the others are compared with. A machine that does other work slows all of a round:
    read the ratios. Raises PackError; ValueError where a text gets no labels.
    """
    models = {name: Classifier.load(path) for name, path in packs.items()}
    for model in models.values():
        _seconds(model, texts[: max(8, len(texts) // 10)])  # the first pass allocates
    found: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds):
        for name in list(models)[:: -1 if number % 2 else 1]:
            found[name].append(len(texts) / _seconds(models[name], texts))
    base = next(iter(found.values()))
    result = {}
    for name, values in found.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        result[name] = Rate(statistics.median(values), statistics.median(ratios), min(ratios), max(ratios))
    return result


def load_average() -> float:
    """Return how many processes wanted a core in the last minute: it says what a figure is worth."""
    return os.getloadavg()[0]


def _seconds(model: Classifier, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    answers = model.classify(texts)
    seconds = time.perf_counter() - started
    if not all(isinstance(answer, Prediction) for answer in answers):
        raise ValueError("a text got no labels: its time would mean nothing")
    return seconds
