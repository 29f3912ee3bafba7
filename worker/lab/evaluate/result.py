"""The result of a measurement: figures with intervals, by label and group, and a confusion matrix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.lab.evaluate.calibration import Reliability
from worker.lab.evaluate.metrics import Figure, difference

LARGEST, ADJUSTED = "largest score", "adjusted logits"
OWN, CROSS_FITTED = "own thresholds", "cross-fitted thresholds"
"""How scores become answers."""

NOT_SHARES = frozenset({"nll", "brier"})
"""Figures that are not shares and so are not shown in per cent."""


@dataclass(frozen=True, slots=True)
class LabelResult:
    """One label of a set: how many rows have it, how many were assigned it, and its figures."""

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
    """How scores became answers: LARGEST, ADJUSTED, OWN or CROSS_FITTED."""
    figures: dict[str, Figure]
    labels: dict[str, LabelResult] = field(default_factory=dict)
    groups: dict[str, Figure] = field(default_factory=dict)
    """F1 of each derived group, such as Ekman's."""
    confusion: list[list[int]] = field(default_factory=list)
    """Rows by gold label (down) and chosen label (across), in the order of `labels`."""
    reliability: Reliability | None = None
    chance_ece: float | None = None
    """The calibration error that perfectly calibrated answers would show by chance."""
    temperature: float | None = None
    """The temperature that fits the whole set best, relative to the model's own: 1 is perfect."""

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
        value["figures"] = {name: figure_json(figure) for name, figure in self.figures.items()}
        value["groups"] = {name: figure_json(figure) for name, figure in self.groups.items()}
        value["labels"] = {
            name: {
                "rows": label.rows,
                "given": label.given,
                "precision": label.precision,
                "recall": label.recall,
                "f1": figure_json(label.f1),
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


def figure_json(figure: Figure) -> dict[str, float]:
    """Return a figure as JSON values."""
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def shown(name: str, figure: Figure, *, signed: bool = False) -> str:
    """Return a figure with its interval as text, shares in per cent; `signed` adds + and -."""
    places, factor = (3, 1) if name in NOT_SHARES else (1, 100)
    value, low, high = (
        f"{factor * number:{'+' if signed else ''}.{places}f}"
        for number in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low} to {high})"


def table(models: Sequence[tuple[str, Iterable[Result]]]) -> str:
    """Return the figures of several models side by side, as lines of text.

    There is a line for each figure of each set, a column for each model, and a column for each later model's
    difference from the first; shares are in per cent.
    """
    columns = [{result.data: result for result in results} for _, results in models]
    titles = [title for title, _ in models]
    further = ["difference"] if len(titles) == 2 else [f"{title}, difference" for title in titles[1:]]
    lines = [("", "", *titles, *further)]
    for data in dict.fromkeys(name for column in columns for name in column):
        found = [column.get(data) for column in columns]
        first = next(result for result in found if result is not None)
        lines.append((_title(first), "", *("" for _ in lines[0][2:])))
        cells = [{} if result is None else _cells(result) for result in found]
        cells += [_differences(found[0], other) for other in found[1:]]
        names = dict.fromkeys(name for column in cells for name in column)
        lines += [("", name, *(column.get(name, "-") for column in cells)) for name in names]
    widths = [2] + [max(len(line[at]) for line in lines) for at in range(1, len(lines[0]))]
    return "\n".join(
        line[0] or "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def differences(before: Result, after: Result) -> dict[str, Figure]:
    """Return how much larger each figure is in `after`, by name, for figures on the same rows."""
    pairs = {
        name: (figure, after.figures[name])
        for name, figure in before.figures.items()
        if name in after.figures
    }
    found = {name: difference(*pair) for name, pair in pairs.items()}
    return {
        name: figure for name, figure in found.items() if figure is not None and before.rows == after.rows
    }


def _differences(before: Result | None, after: Result | None) -> dict[str, str]:
    if before is None or after is None:
        return {}
    return {name: shown(name, figure, signed=True) for name, figure in differences(before, after).items()}


def _title(result: Result) -> str:
    """Return the line above a set's figures."""
    how = "" if result.decisions == LARGEST else f", {result.decisions}"
    return f"{result.title}, {result.rows:,} rows{how}"


def _cells(result: Result) -> dict[str, str]:
    """Return a result's figures as text, with the error by chance after the calibration error."""
    cells = {}
    for name, figure in result.figures.items():
        cells[name] = shown(name, figure)
        if name == "ece" and result.chance_ece is not None:
            cells["ece_by_chance"] = f"{100 * result.chance_ece:.1f}"
    return cells


Rows = list[Sequence[str]]


def details(models: Sequence[tuple[str, Iterable[Result]]]) -> str:
    """Return, for each model and set, a table of its labels and groups, and the confusion matrix."""
    parts = [_details(title, result) for title, results in models for result in results]
    return "\n".join(part for part in parts if part)


def _details(title: str, result: Result) -> str:
    parts = []
    if result.labels:
        rows: Rows = [("label", "rows", "given", "precision", "recall", "F1")]
        for name, label in result.labels.items():
            shares = (f"{100 * share:.1f}" for share in (label.precision, label.recall))
            rows.append((name, f"{label.rows:,}", f"{label.given:,}", *shares, shown("f1", label.f1)))
        parts.append(_aligned(rows))
    if result.groups:
        groups = [(name, shown("f1", figure)) for name, figure in result.groups.items()]
        parts.append(_aligned([("group", "F1"), *groups]))
    if result.confusion:
        names = list(result.labels)
        lines = zip(names, result.confusion, strict=True)
        body = [(name, *(f"{count:,}" for count in counts)) for name, counts in lines]
        parts.append(_aligned([("gold, answer", *names), *body]))
    return "\n".join((f"{title}: {result.title}", *parts)) if parts else ""


def _aligned(rows: Rows) -> str:
    """Return an indented table with left-aligned names and right-aligned numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join((row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))))
        for row in rows
    )
    return "".join(f"    {line.rstrip()}\n" for line in lines)
