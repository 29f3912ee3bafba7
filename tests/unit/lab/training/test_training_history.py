"""The history of a run, and its plot."""

import itertools
from pathlib import Path

import pytest

from worker.errors import TrainingError
from worker.lab.evaluate.metrics import Figure
from worker.lab.evaluate.result import Result
from worker.lab.plots import POINTS, History, Point, draw_run, read_history, smooth


def _run(history: History, first: int, last: int, steps: int) -> None:
    for step in range(first + 1, last + 1):
        history.note("a" if step % 2 else "b", float(step))
        history.mark(step, step / steps, 0.5 * step, 1e-4)


def test_a_point_holds_the_means_since_the_one_before(tmp_path: Path) -> None:
    history = History(tmp_path / "work" / "history.jsonl")
    history.begin(0)
    _run(history, 0, 2_000, 2_000)
    points = read_history(history.path)
    assert POINTS <= len(points) <= POINTS + 1
    assert points[0] == Point(1, 0.0005, 0.5, 1e-4, {"a": 1.0})
    every = points[10].step - points[9].step
    assert points[10].losses["a"] == pytest.approx(points[10].step - every / 2, abs=1)


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.begin(0)
    _run(history, 0, 700, 1_000)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 705, "progr')  # killed in the middle of a line
    resumed = History(path)
    resumed.begin(500)  # the step of the last state
    _run(resumed, 500, 1_000, 1_000)
    steps = [point.step for point in read_history(path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 1_000
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) <= 6


def test_a_new_run_forgets_the_old_one(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.begin(0)
    _run(history, 0, 10, 10)
    History(history.path).begin(0)
    assert read_history(history.path) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"):
        History(tmp_path / "file" / "history.jsonl").begin(0)


def test_a_running_mean_begins_at_the_first_value() -> None:
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    means = smooth([1.0] * 50 + [0.0] * 50)
    assert means[0] == 1.0
    assert 0 < means[60] < means[51] < 1


@pytest.mark.parametrize("with_figures", [True, False])
def test_a_run_is_drawn(tmp_path: Path, with_figures: bool) -> None:
    pytest.importorskip("matplotlib")
    points = [Point(step, step / 40, step, 1e-4, {"a": 2 / step, "b": 3 / step}) for step in range(1, 41)]
    figures = {"accuracy": Figure(0.9, 0.85, 0.94), "nll": Figure(0.4, 0.3, 0.5)}
    result = Result("a", "set A", "topic", 100, "largest score", figures)
    path = tmp_path / "new" / "training.png"
    draw_run(points, {"fp32": [result], "int8": [result]} if with_figures else {}, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_without_points_is_drawn_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_run([], {}, tmp_path / "training.png")
    assert (tmp_path / "training.png").stat().st_size > 1_000
