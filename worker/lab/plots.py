"""A picture of a run (extra `plots`): loss a task, learning rate, and what came of it on dev."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from worker.errors import TrainingError
from worker.lab.evaluate.metrics import Figure
from worker.lab.evaluate.result import Result
from worker.lab.history import Point

FILE = "training.png"

NEEDS = "no plot: that needs: pip install 'moodstream[plots]'"

_DOTS = 130
_COLOURS = ("#2f6db5", "#d9822b", "#3a8f5c", "#8b5aa8", "#b5483f", "#6b6b6b", "#b8a13a", "#3aa0b8")
_SHOWN = ("accuracy", "macro_recall", "macro_f1", "micro_f1", "span_f1")
"""Figures that are drawn, where a set has them."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_run(points: Sequence[Point], figures: Mapping[str, Sequence[Result]], path: Path) -> None:
    """Draw a run as a PNG file. `figures` are results on dev by model, such as fp32 and int8.

    Raises:
        TrainingError: the file cannot be written.
    """
    from matplotlib.figure import Figure as Picture

    bars = _bars(figures)
    picture = Picture(figsize=(8, 5.6 + 0.3 * len(bars) + 0.6 * bool(bars)), layout="constrained")
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
    """A line a task: what each point measured, faint, and a running mean."""
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
    """Return the running mean that forgets: each value counts `1 - weight`, what came before the rest.

    The first values are not pulled towards nothing (the correction of Kingma and Ba 2015 for such means).
    """
    total, found = 0.0, []
    for number, value in enumerate(values, start=1):
        total = weight * total + (1 - weight) * value
        found.append(total / (1 - weight**number))
    return found


def _rates(axes: Any, points: Sequence[Point]) -> None:
    axes.plot([point.step for point in points], [point.rate for point in points], color=_COLOURS[-3])
    axes.set(xlabel="step", ylabel="trunk's rate", ylim=(0, None))
    axes.ticklabel_format(axis="y", scilimits=(0, 0))


Bars = dict[tuple[str, str], dict[str, Figure]]
"""Figures by set and name, and by model."""


def _bars(figures: Mapping[str, Sequence[Result]]) -> Bars:
    bars: Bars = {}
    for model, results in figures.items():
        for result in results:
            for name in _SHOWN:
                if name in result.figures:
                    bars.setdefault((result.title, name), {})[model] = result.figures[name]
    return bars


def _figures(axes: Any, bars: Bars, models: Sequence[str]) -> None:
    """A bar a figure and model, with its 95 % interval."""
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
