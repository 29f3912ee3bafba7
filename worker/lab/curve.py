"""The curve of a compression: what each cut loses in quality and gains in speed and size.

Packs are timed side by side on the same texts, taking turns in each round. Quality is measured on dev splits
and as agreement with the original.
"""

import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from worker.errors import CutError
from worker.heads import Head
from worker.lab import Progress
from worker.lab.evaluate.examples import Examples
from worker.lab.evaluate.measure import evaluate
from worker.lab.evaluate.metrics import Floats
from worker.lab.evaluate.result import Result
from worker.lab.evaluate.score import PackScorer
from worker.lab.evaluate.spans import characters, post_f1
from worker.lab.plots import empty_picture
from worker.model.classifier import Classifier
from worker.model.heads import strengths
from worker.types import Prediction

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """One pack's speed.

    `ratio` is the median over the rounds of its rate divided by the first pack's in the same round; `low` and
    `high` are the smallest and largest of those ratios; `per_second` is the median rate in texts per second.
    """

    per_second: float
    ratio: float
    low: float
    high: float


def rates(packs: Mapping[str, Path], texts: Sequence[str], rounds: int = ROUNDS) -> dict[str, Rate]:
    """Label the texts with every pack in each round, reversing the order of the packs each time.

    The others are compared with the first pack. Other work on the machine slows down a whole round, so the
    ratios are more reliable than the rates. Raises PackError; ValueError if a text gets no labels.
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
    """Return the average number of runnable processes in the last minute, to judge the timings by."""
    return os.getloadavg()[0]


def _seconds(model: Classifier, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    answers = model.classify(texts)
    seconds = time.perf_counter() - started
    if not all(isinstance(answer, Prediction) for answer in answers):
        raise ValueError("a text got no labels, so the timing is meaningless")
    return seconds


def main_figure(result: Result) -> str:
    """Return the name of a set's main figure: the one that is usually reported for it."""
    for name in ("span_f1", "macro_f1") if len(result.labels) > 3 or not result.labels else ():
        if name in result.figures:
            return name
    return "macro_recall" if len(result.labels) == 3 else "accuracy"


def dev_figures(pack: Path, sets: Sequence[Examples], say: Progress) -> dict[str, float]:
    """Return the main figure of each set, a share from 0 to 1, by the set's name."""
    scorer = PackScorer(pack, lambda _rows: None)
    fitting = [
        each for each in sets if each.head in scorer.heads and not each.misfit(scorer.heads[each.head])
    ]
    return {
        f"{result.data} {main_figure(result)}": result.figures[main_figure(result)].value
        for result in evaluate(scorer, fitting, say=say)
    }


def agreement(original: Path, smaller: Path, texts: Sequence[str], max_tokens: int = 512) -> dict[str, float]:
    """Return, for each head that both packs have, the share of texts with the same decision.

    Single label: the same label wins. Multi-label: the mean share of equal decisions over the labels. Token
    head: the mean F1 of the marked characters, leaving out texts in which neither pack marks anything.
    """
    ones, twos = PackScorer(original, lambda _rows: None), PackScorer(smaller, lambda _rows: None)
    first, second = (scorer.predictions(texts, max_tokens) for scorer in (ones, twos))
    found = {}
    for name, head in ones.heads.items():
        if name not in twos.heads:
            continue
        if head.by_token:
            marks = [[prediction.spans[name].ranges for prediction in given] for given in (first, second)]
            found[name] = _marks_alike(*marks)
        else:
            both = [
                _decisions(scorer.heads[name], [row.heads[name].scores for row in given])
                for scorer, given in ((ones, first), (twos, second))
            ]
            found[name] = float((both[0] == both[1]).mean())
    return found


def _decisions(head: Head, scores: Sequence[dict[str, float]]) -> Floats:
    """Return the strongest label's index (texts,), or which labels pass their thresholds (texts, labels)."""
    table = np.array([[row[label] for label in head.labels] for row in scores])
    if head.multi_label:
        return np.asarray(table >= np.array(head.thresholds), np.float64)
    return np.asarray(strengths(head, table).argmax(axis=1), np.float64)


def _marks_alike(
    ones: Sequence[Sequence[tuple[int, int]]], twos: Sequence[Sequence[tuple[int, int]]]
) -> float:
    both = [
        (one, two)
        for one, two in zip(map(characters, ones), map(characters, twos), strict=True)
        if one or two
    ]
    return float(np.mean([post_f1(one, two) for one, two in both])) if both else 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One model on the curve. Shares are between 0 and 1; `megabytes` is the size of the pack's folder."""

    name: str
    parameters: int
    megabytes: float
    rate: Rate
    agreement: dict[str, float] = field(default_factory=dict)
    """Agreement with the original, by head."""
    figures: dict[str, float] = field(default_factory=dict)
    """Main figures on dev splits, by set."""

    @property
    def quality(self) -> float:
        """The mean over the sets, or over the heads' agreement if there are no sets."""
        values = self.figures or self.agreement
        return fmean(values.values()) if values else 1.0


def table(points: Sequence[Point]) -> str:
    """Return the points as lines of text."""
    head = [
        "",
        "parameters",
        "MB",
        "speed",
        *points[0].figures,
        *(f"agrees: {h}" for h in points[0].agreement),
    ]
    lines = [head]
    for point in points:
        rate = point.rate
        lines.append(
            [
                point.name,
                f"{point.parameters:,}",
                f"{point.megabytes:.1f}",
                f"{rate.ratio:.2f} ({rate.low:.2f} to {rate.high:.2f})",
                *(
                    f"{100 * point.figures[name]:.1f}" if name in point.figures else "-"
                    for name in points[0].figures
                ),
                *(
                    f"{100 * point.agreement[name]:.1f}" if name in point.agreement else "-"
                    for name in points[0].agreement
                ),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_json(points: Sequence[Point], load: float) -> dict[str, Any]:
    """Return the points as JSON values, with the machine's load while they were timed."""
    return {"load": load, "points": [{**asdict(point), "quality": point.quality} for point in points]}


def draw(points: Sequence[Point], load: float, path: Path) -> list[Path]:
    """Write the curve to `path`: as JSON if the name ends so, else as a picture with the JSON beside it.

    Raises LabError if matplotlib is missing or the file cannot be written.
    """
    written = path if path.suffix == ".json" else path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_json(points, load), indent=2, ensure_ascii=False)
        written.write_text(text + "\n", encoding="utf-8")
        if path.suffix == ".json":
            return [written]
        _picture(points).savefig(path, dpi=130, bbox_inches="tight")
    except OSError as error:
        raise CutError(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:  # matplotlib does not know the file format
        raise CutError(f"cannot draw {path}: {' '.join(str(error).split())[:200]}") from error
    return [path, written]


def _picture(points: Sequence[Point]) -> Any:
    """Draw quality against speed and against size, side by side."""
    picture = empty_picture(10, 4.2)
    left, right = picture.subplots(1, 2, sharey=True)
    measured = (
        "mean of the dev figures, per cent" if points[0].figures else "agreement with the original, per cent"
    )
    left.set_ylabel(measured)
    left.set_xlabel(f"speed, times that of {points[0].name}")
    right.set_xlabel("pack, MB")
    for axes, places in (
        (left, [point.rate.ratio for point in points]),
        (right, [point.megabytes for point in points]),
    ):
        axes.grid(alpha=0.3)
        for point, place in zip(points, places, strict=True):
            axes.plot(place, 100 * point.quality, "o", color="#2f6db5")
            axes.annotate(
                point.name,
                (place, 100 * point.quality),
                fontsize=8,
                xytext=(4, 4),
                textcoords="offset points",
            )
    spread = [point.rate for point in points]
    left.errorbar(
        [rate.ratio for rate in spread],
        [100 * point.quality for point in points],
        xerr=[[rate.ratio - rate.low for rate in spread], [rate.high - rate.ratio for rate in spread]],
        fmt="none",
        ecolor="#b8b8b8",
    )
    return picture
