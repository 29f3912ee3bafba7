"""The curve: what each cut costs in quality and gains in speed and size."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from worker.compress.speed import Rate
from worker.training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Point:
    """One model on the curve. Shares lie between 0 and 1; `megabytes` is the pack's whole folder."""

    name: str
    parameters: int
    megabytes: float
    rate: Rate
    agreement: dict[str, float] = field(default_factory=dict)
    """With the original, by head."""
    figures: dict[str, float] = field(default_factory=dict)
    """On dev splits, by set."""

    @property
    def quality(self) -> float:
        """The mean over the sets, or where none was at hand over the heads' agreement."""
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
        *(f"like it: {h}" for h in points[0].agreement),
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
    """Write the curve to `path`: JSON by its name, else a picture, with the JSON beside it.

    Raises TrainingError where matplotlib is missing or the disk refuses.
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
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:  # matplotlib's word for an ending that it has no format for
        raise TrainingError(f"cannot draw {path}: {' '.join(str(error).split())[:200]}") from error
    return [path, written]


def _picture(points: Sequence[Point]) -> Any:
    """Draw quality over speed and over size, side by side."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, only for those who draw
    except ImportError:
        raise TrainingError("drawing the curve needs: pip install 'moodstream[plots]'") from None
    picture = Figure(figsize=(10, 4.2), layout="constrained")
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
