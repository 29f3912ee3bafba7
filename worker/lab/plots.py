"""The history of a run, kept as JSON lines, and a plot of it (extra `plots`)."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from worker.errors import TrainingError
from worker.lab import need
from worker.lab.evaluate.metrics import Figure
from worker.lab.evaluate.result import Result

HISTORY = "history.jsonl"
"""The file beside a run's state: one JSON line for each point."""

POINTS = 200
"""The number of points in a whole run: enough for a curve, few enough to average over many steps."""


class Point(NamedTuple):
    """The run at one step. `losses` are each task's means since the last point, `rate` is the encoder's."""

    step: int
    progress: float
    seconds: float
    rate: float
    losses: dict[str, float]


class History:
    """Collects losses and writes a point whenever another 1/POINTS of the run is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._losses: defaultdict[str, list[float]] = defaultdict(list)
        self._next = 0.0

    def begin(self, step: int) -> None:
        """Start a new file, or continue at `step`, dropping the points after a killed run's last state."""
        kept = [point for point in read_history(self.path) if point.step <= step] if step else []
        self._next = _after(kept[-1].progress) if kept else 0.0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text("".join(map(_line, kept)), encoding="utf-8")
            partial.replace(self.path)
        except OSError as error:
            raise TrainingError(f"cannot write {self.path}: {error.strerror or error}") from error

    def note(self, task: str, loss: float) -> None:
        """Record the loss of one step."""
        self._losses[task].append(loss)

    def mark(self, step: int, progress: float, seconds: float, rate: float) -> None:
        """Write a point if one is due. `step` is the number of steps made."""
        if not self._losses or progress < self._next:
            return
        losses = {name: sum(values) / len(values) for name, values in sorted(self._losses.items())}
        self._losses.clear()
        self._next = _after(progress)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(Point(step, progress, seconds, rate, losses)))
        except OSError as error:
            raise TrainingError(f"cannot write {self.path}: {error.strerror or error}") from error


def _after(progress: float) -> float:
    """Return the progress at which the next point is due: the next whole multiple of 1/POINTS."""
    return (math.floor(progress * POINTS + 1e-6) + 1 - 1e-6) / POINTS


def read_history(path: Path) -> list[Point]:
    """Return the points of a run; an incomplete last line, left by a kill, is ignored."""
    points: list[Point] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return points
    for line in lines:
        try:
            values: dict[str, Any] = json.loads(line)
            points.append(Point(**values))
        except (ValueError, TypeError):
            break
    return points


def _line(point: Point) -> str:
    values = point._asdict()
    values |= {"progress": round(point.progress, 6), "seconds": round(point.seconds, 3)}
    values["losses"] = {name: round(loss, 6) for name, loss in point.losses.items()}
    return json.dumps(values) + "\n"


PICTURE = "training.png"

_DOTS = 130
_COLOURS = ("#2f6db5", "#d9822b", "#3a8f5c", "#8b5aa8", "#b5483f", "#6b6b6b", "#b8a13a", "#3aa0b8")
_SHOWN = ("accuracy", "macro_recall", "macro_f1", "micro_f1", "span_f1")
"""The figures to draw, if a set has them."""


def draw_run(points: Sequence[Point], figures: Mapping[str, Sequence[Result]], path: Path) -> None:
    """Draw a run as a PNG file. `figures` are results on dev by model, such as fp32 and int8.

    Raises PackagesMissing without matplotlib, TrainingError if the file cannot be written.
    """
    bars = _bars(figures)
    picture = empty_picture(8, 5.6 + 0.3 * len(bars) + 0.6 * bool(bars))
    heights = [3.6, 1.6] + ([0.9 + 0.3 * len(bars)] if bars else [])
    loss, rate, *rest = picture.subplots(len(heights), 1, height_ratios=heights)
    _losses(loss, points)
    _rates(rate, points)
    rate.sharex(loss)
    if rest:
        _figures(rest[0], bars, list(figures))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(path, dpi=_DOTS)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


def _losses(axes: Any, points: Sequence[Point]) -> None:
    """Draw a line for each task: the points, faint, and their running mean."""
    for number, task in enumerate(sorted({name for point in points for name in point.losses})):
        found = [(point.step, point.losses[task]) for point in points if task in point.losses]
        steps, values = [step for step, _ in found], [value for _, value in found]
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(steps, smooth(values), color=colour, linewidth=1.6, label=task)
    axes.set(ylabel="loss", ylim=(0, None))
    if points:
        axes.legend(fontsize=8)


def smooth(values: Sequence[float], weight: float = 0.85) -> list[float]:
    """Return the exponential moving average, in which each new value has the weight `1 - weight`.

    With the bias correction of Kingma and Ba 2015, so that the first values are not pulled towards 0.
    """
    total, found = 0.0, []
    for number, value in enumerate(values, start=1):
        total = weight * total + (1 - weight) * value
        found.append(total / (1 - weight**number))
    return found


def _rates(axes: Any, points: Sequence[Point]) -> None:
    axes.plot([point.step for point in points], [point.rate for point in points], color=_COLOURS[-3])
    axes.set(xlabel="step", ylabel="encoder's rate", ylim=(0, None))
    axes.ticklabel_format(axis="y", scilimits=(0, 0))


Bars = dict[tuple[str, str], dict[str, Figure]]
"""Figures by set and name, then by model."""


def _bars(figures: Mapping[str, Sequence[Result]]) -> Bars:
    bars: Bars = {}
    for model, results in figures.items():
        for result in results:
            for name in _SHOWN:
                if name in result.figures:
                    bars.setdefault((result.title, name), {})[model] = result.figures[name]
    return bars


def _figures(axes: Any, bars: Bars, models: Sequence[str]) -> None:
    """Draw a bar for each figure and model, with its 95 % interval."""
    thick = 0.8 / len(models)
    for number, model in enumerate(models):
        rows = [(row, each[model]) for row, each in enumerate(bars.values()) if model in each]
        axes.barh(
            [row + (number - (len(models) - 1) / 2) * thick for row, _ in rows],
            [100 * figure.value for _, figure in rows],
            thick,
            xerr=[
                [100 * max(0.0, figure.value - figure.low) for _, figure in rows],
                [100 * max(0.0, figure.high - figure.value) for _, figure in rows],
            ],
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
            color=_COLOURS[number % len(_COLOURS)],
            label=model,
        )
    axes.set_yticks(
        range(len(bars)), [f"{title}: {name.replace('_', ' ')}" for title, name in bars], fontsize=8
    )
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="per cent, with 95 % intervals")
    axes.legend(fontsize=8)


def empty_picture(width: float, height: float) -> Any:
    """Return an empty picture of this size in inches. Raises PackagesMissing without matplotlib."""
    need("plots", "drawing")
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415 - of an extra

    return Picture(figsize=(width, height), layout="constrained")
