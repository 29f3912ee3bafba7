"""Plots of measurements (extra `plots`): confusion matrix, reliability diagram, F1 by label."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Picture

from worker.errors import TrainingError
from worker.lab.evaluate.result import Result

Measured = Sequence[tuple[str, Sequence[Result]]]
"""Models by title, each with its results."""

_DOTS = 130
_ENOUGH = 10  # rows that a bin needs for its share to be drawn in full colour
_BLUE, _GREY, _ORANGE = "#2f6db5", "#b8b8b8", "#d9822b"
_COLOURS = (_BLUE, _ORANGE, "#3a8f5c", "#8b5aa8", "#b5483f", "#6b6b6b")


def draw(measured: Measured, folder: Path) -> Iterator[Path]:
    """Draw every set's pictures as PNG files into `folder`, all models side by side; yield their paths.

    Raises:
        TrainingError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for data in dict.fromkeys(result.data for _, results in measured for result in results):
            found = [
                (title, result) for title, results in measured for result in results if result.data == data
            ]
            for name, picture in _pictures(found):
                path = folder / f"{_plain(data)}-{name}.png"
                picture.savefig(path, dpi=_DOTS, bbox_inches="tight")
                yield path
    except OSError as error:
        raise TrainingError(f"cannot draw into {folder}: {error.strerror or error}") from error


def _pictures(found: Sequence[tuple[str, Result]]) -> Iterator[tuple[str, Picture]]:
    """Yield the pictures of one set, each with its name."""
    if any(result.confusion for _, result in found):
        yield "confusion", _panels([pair for pair in found if pair[1].confusion], _confusion)
    if any(result.reliability for _, result in found):
        yield "reliability", _panels([pair for pair in found if pair[1].reliability], _reliability)
    if any(result.labels for _, result in found):
        yield "labels", _label_bars(found)


def _panels(found: Sequence[tuple[str, Result]], fill: Callable[[Picture, Any, Result], None]) -> Picture:
    """Draw a panel for each model."""
    picture = Picture(figsize=(4.6 * len(found), 4.4), layout="constrained")
    picture.suptitle(f"{found[0][1].title}, {found[0][1].rows:,} rows")
    for axes, (title, result) in zip(np.atleast_1d(picture.subplots(1, len(found))), found, strict=True):
        axes.set_title(title, fontsize=10)
        fill(picture, axes, result)
    return picture


def _confusion(_picture: Picture, axes: Any, result: Result) -> None:
    """Draw a confusion matrix, gold down and answer across: colours are shares of a row."""
    counts = np.array(result.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = list(result.labels)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 3 else 0, ha="center")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("gold")
    for down, across in np.ndindex(*counts.shape):
        share = shares[down, across]
        axes.text(
            across,
            down,
            f"{counts[down, across]:,}\n{share:.0%}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.55 else "black",
        )


def _reliability(picture: Picture, axes: Any, result: Result) -> None:
    """Draw each bin's share right against its confidence; below it, the distribution of the rows."""
    bins = result.reliability
    if bins is None:
        raise ValueError("this result has no bins")
    edges = np.linspace(0, 1, len(bins.count) + 1)[:-1]
    width = edges[1]
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    for name, which, shade in (
        ("share right", bins.count >= _ENOUGH, 0.8),
        (f"of fewer than {_ENOUGH} rows", (bins.count > 0) & (bins.count < _ENOUGH), 0.25),
    ):
        axes.bar(edges[which], bins.right[which], width, align="edge", color=_BLUE, alpha=shade, label=name)
    filled = bins.count > 0
    axes.scatter(
        bins.confidence[filled], bins.right[filled], color=_ORANGE, s=18, zorder=3, label="mean confidence"
    )
    share = bins.count / bins.count.max()
    axes.bar(edges, -0.15 * share, width, align="edge", color=_GREY, label="where the rows lie")
    axes.set(xlim=(0, 1), ylim=(-0.17, 1.02), xlabel="confidence", ylabel="share right")
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.axhline(0, color="black", linewidth=0.8)
    chance = "" if result.chance_ece is None else f", by chance alone {100 * result.chance_ece:.1f} %"
    error = 100 * result.figures["ece"].value
    axes.set_title(f"{axes.get_title()}\ncalibration error {error:.1f} %{chance}", fontsize=10)
    if not picture.legends:
        picture.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
        )


def _label_bars(found: Sequence[tuple[str, Result]]) -> Picture:
    """Draw every label's F1 with its interval, a bar for each model, sorted by the first model's F1."""
    first = found[0][1]
    names = sorted(first.labels, key=lambda name: first.labels[name].f1.value)
    thick = 0.8 / len(found)
    picture = Picture(figsize=(7, 1.4 + len(names) * max(0.26, 0.16 * len(found))), layout="constrained")
    axes = picture.subplots()
    for number, (title, result) in enumerate(found):
        figures = [result.labels[name].f1 for name in names]
        values = np.array([figure.value for figure in figures])
        reach = np.array([(max(0.0, f.value - f.low), max(0.0, f.high - f.value)) for f in figures]).T
        places = np.arange(len(names)) + (len(found) - 1 - number) * thick
        axes.barh(
            places,
            values,
            thick,
            xerr=reach,
            color=_COLOURS[number % len(_COLOURS)],
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
            label=title,
        )
    middle = np.arange(len(names)) + thick * (len(found) - 1) / 2
    axes.set_yticks(middle, [f"{name} ({first.labels[name].rows:,})" for name in names])
    axes.set(xlim=(0, 1), xlabel="F1, 95 % interval; rows with the label in brackets")
    axes.set_title(f"{first.title}: {first.decisions}", fontsize=11)
    if len(found) > 1:
        axes.legend(fontsize=8, loc="lower right")
    axes.margins(y=0.01)
    return picture


def _plain(name: str) -> str:
    """Return a name that is a valid file name on all systems."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in name)
