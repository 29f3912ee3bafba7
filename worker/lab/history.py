"""What a run saw on its way: losses and rates, a JSON line a point, kept beside the run's state."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from worker.errors import TrainingError

FILE = "history.jsonl"

POINTS = 200
"""Points of a whole run: enough for a curve, and means over enough steps."""


class Point(NamedTuple):
    """The run at one step. `losses` are means a task since the point before, `rate` is the trunk's."""

    step: int
    progress: float
    seconds: float
    rate: float
    losses: dict[str, float]


class History:
    """Gathers losses and writes a point whenever another 1/POINTS of the run is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._losses: defaultdict[str, list[float]] = defaultdict(list)
        self._next = 0.0

    def begin(self, step: int) -> None:
        """Start a new file, or go on at `step`: points that a killed run wrote after its last state go."""
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
        """Take the loss of one step."""
        self._losses[task].append(loss)

    def mark(self, step: int, progress: float, seconds: float, rate: float) -> None:
        """Write a point where one is due. `step` counts the steps made."""
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
    """Return the points of a run; a last line that a kill cut short is no point."""
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
