"""What a measurement leaves: figures with intervals, and what stands behind them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.evaluation.calibration import Reliability
from worker.evaluation.metrics import Figure

LARGEST, OWN, CROSS_FITTED = "largest score", "own thresholds", "cross-fitted thresholds"
"""How scores become answers."""

NOT_SHARES = frozenset({"nll", "brier"})
"""Figures that are no share of anything: shown as they are, the others in per cent."""


@dataclass(frozen=True, slots=True)
class LabelResult:
    """One label of a set: how many rows have it, how many were given it, and how well."""

    rows: int
    given: int
    precision: float
    recall: float
    f1: Figure


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one model on one set."""

    data: str
    title: str
    head: str
    rows: int
    decisions: str
    """How scores became answers: LARGEST, OWN or CROSS_FITTED."""
    figures: dict[str, Figure]
    labels: dict[str, LabelResult] = field(default_factory=dict)
    groups: dict[str, Figure] = field(default_factory=dict)
    """F1 of each derived group, such as Ekman's."""
    confusion: list[list[int]] = field(default_factory=list)
    """Rows by gold label (down) and chosen label (across), in the order of `labels`."""
    reliability: Reliability | None = None
    chance_ece: float | None = None
    """The calibration error that chance alone gives as many perfectly calibrated answers."""
    temperature: float | None = None
    """The temperature that the whole set would choose, as a factor on the model's own: 1 is perfect."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        value: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "data",
                "title",
                "head",
                "rows",
                "decisions",
                "confusion",
                "chance_ece",
                "temperature",
            )
        }
        value["figures"] = {name: _figure(figure) for name, figure in self.figures.items()}
        value["groups"] = {name: _figure(figure) for name, figure in self.groups.items()}
        value["labels"] = {
            name: {
                "rows": label.rows,
                "given": label.given,
                "precision": label.precision,
                "recall": label.recall,
                "f1": _figure(label.f1),
            }
            for name, label in self.labels.items()
        }
        if self.reliability is not None:
            bins = self.reliability
            value["reliability"] = {
                "count": bins.count.tolist(),
                "confidence": bins.confidence.tolist(),
                "right": bins.right.tolist(),
            }
        return value


def _figure(figure: Figure) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def shown(name: str, figure: Figure) -> str:
    """Return a figure as text: per cent where it is a share, with its interval."""
    if name in NOT_SHARES:
        return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
    value, low, high = (100 * x for x in (figure.value, figure.low, figure.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def table(models: Sequence[tuple[str, Iterable[Result]]]) -> str:
    """Return the figures of several models side by side, as lines of text.

    A line for each figure of each set, a column a model; shares in per cent.
    """
    columns = [{result.data: result for result in results} for _, results in models]
    lines = [("", "", *(title for title, _ in models))]
    for data in dict.fromkeys(name for column in columns for name in column):
        found = [column.get(data) for column in columns]
        first = next(result for result in found if result is not None)
        lines.append((_title(first), "", *("" for _ in models)))
        cells = [{} if result is None else _cells(result) for result in found]
        names = dict.fromkeys(name for column in cells for name in column)
        lines += [("", name, *(column.get(name, "-") for column in cells)) for name in names]
    widths = [2] + [max(len(line[at]) for line in lines) for at in range(1, len(models) + 2)]
    return "\n".join(
        line[0] or "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _title(result: Result) -> str:
    """Return the line above a set's figures."""
    how = "" if result.decisions == LARGEST else f", {result.decisions}"
    return f"{result.title}, {result.rows:,} rows{how}"


def _cells(result: Result) -> dict[str, str]:
    """Return a result's figures as text, and behind the calibration error what chance alone would give."""
    cells = {}
    for name, figure in result.figures.items():
        cells[name] = shown(name, figure)
        if name == "ece" and result.chance_ece is not None:
            cells["ece_by_chance"] = f"{100 * result.chance_ece:.1f}"
    return cells
