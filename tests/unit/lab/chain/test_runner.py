"""In which order stages run, side by side or alone, and what ends them."""

import time

import pytest

from tests.unit.lab.chain.conftest import Leave
from worker.errors import TrainingError
from worker.lab.chain import needs, runner
from worker.lab.chain.places import Layout
from worker.lab.chain.record import Found, Status
from worker.lab.chain.runner import Started, run_chain
from worker.lab.chain.stages import STAGES, chosen


class _Run:
    """A stage that ends when it has been asked a few times."""

    def __init__(self, log: list[str], name: str, code: int = 0, asked: int = 2) -> None:
        self._log, self._name, self._code, self._left = log, name, code, asked
        log.append(f"+{name}")

    def poll(self) -> int | None:
        self._left -= 1
        if self._left > 0:
            return None
        self._log.append(f"-{self._name}")
        return self._code

    def terminate(self) -> None:
        self._log.append(f"!{self._name}")

    def wait(self) -> int:
        self._log.append(f"w{self._name}")
        return self._code


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (needs, runner):
        monkeypatch.setattr(module, "available_threads", lambda: 2)
    monkeypatch.setattr(runner, "_LOOK_S", 0.0)


def _quiet(_line: str) -> None:
    pass


def test_every_stage_runs_once_after_what_it_reads(layout: Layout) -> None:
    log: list[str] = []
    used: dict[str, int] = {}

    def start(each: Found, resume: bool) -> Started:
        assert not resume
        done = {line[1:] for line in log if line[0] == "-"}
        assert set(each.inputs) <= done
        used[each.stage.name] = needs.cores(each, layout)
        return _Run(log, each.stage.name)

    made = run_chain(STAGES, layout, start, say=_quiet)
    assert sorted(made) == sorted(stage.name for stage in STAGES)
    assert len(log) == 2 * len(STAGES)
    busy = most = 0
    for line in log:
        busy += used[line[1:]] if line[0] == "+" else -used[line[1:]]
        most = max(most, busy)
        assert busy <= 2
    assert most == 2


def test_stages_of_one_core_run_side_by_side(layout: Layout) -> None:
    log: list[str] = []
    names = [f"teacher-goemotions-{number}" for number in (1, 2, 3)]
    run_chain(chosen(names), layout, lambda each, _: _Run(log, each.stage.name), say=_quiet)
    assert log[:2] == ["+teacher-goemotions-1", "+teacher-goemotions-2"]


def test_only_what_is_not_done_runs_and_what_was_begun_goes_on(layout: Layout, leave: Leave) -> None:
    started: list[tuple[str, bool]] = []

    def start(each: Found, resume: bool) -> Started:
        started.append((each.stage.name, resume))
        return _Run([], each.stage.name)

    leave("compact-1", "teacher-tweets")
    (layout.work / "teacher-tweets" / "pack").unlink()
    said: list[str] = []
    run_chain(chosen(["compact-1", "teacher-tweets"]), layout, start, say=said.append)
    assert started == [("teacher-tweets", True)]
    assert (
        "stage teacher-tweets goes on from its last state: its pack or checkpoint is gone or damaged" in said
    )
    leave("teacher-tweets")
    assert run_chain(chosen(["compact-1", "teacher-tweets"]), layout, start, say=said.append) == []
    assert said[-1] == "all 2 stages are done"


def test_a_stage_from_something_else_is_made_anew_only_if_asked(layout: Layout) -> None:
    (layout.work / "teacher-spans-1").mkdir(parents=True)
    (layout.work / "teacher-spans-1" / "report.json").touch()
    started: list[tuple[Status, bool]] = []

    def start(each: Found, resume: bool) -> Started:
        started.append((each.status, resume))
        return _Run([], each.stage.name)

    with pytest.raises(TrainingError, match="something else made it"):
        run_chain(chosen(["teacher-spans-1"]), layout, start, say=_quiet)
    assert started == []
    run_chain(chosen(["teacher-spans-1"]), layout, start, again=True, say=_quiet)
    assert started == [(Status.OTHER, False)]


def test_a_failed_stage_ends_those_beside_it_and_starts_none(layout: Layout) -> None:
    log: list[str] = []

    def start(each: Found, _resume: bool) -> Started:
        name = each.stage.name
        return _Run(log, name, code=2 if name.endswith("-1") else 0, asked=2 if name.endswith("-1") else 99)

    names = [f"teacher-goemotions-{number}" for number in (1, 2, 3)]
    with pytest.raises(TrainingError, match=r"^stage teacher-goemotions-1 failed \(exit code 2\); the same"):
        run_chain(chosen(names), layout, start, say=_quiet)
    assert log[-2:] == ["!teacher-goemotions-2", "wteacher-goemotions-2"]
    assert "+teacher-goemotions-3" not in log


def test_an_interrupt_ends_what_runs(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_chain(
            chosen(["teacher-spans-1"]),
            layout,
            lambda each, _: _Run(log, each.stage.name, asked=9),
            say=_quiet,
        )
    assert log == ["+teacher-spans-1", "!teacher-spans-1", "wteacher-spans-1"]
