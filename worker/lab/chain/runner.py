"""Runs the stages that are not done, each as soon as what it reads is there and cores are free."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.errors import TrainingError
from worker.lab import Progress
from worker.lab.chain.needs import check, cores
from worker.lab.chain.places import Layout
from worker.lab.chain.record import Found, Status, survey
from worker.lab.chain.stages import Stage
from worker.model.cpu import available_threads

_LOOK_S = 0.2


class Started(Protocol):
    """A stage that runs, such as a process."""

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""

    def terminate(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait until it has ended."""


Start = Callable[[Found, bool], Started]
"""Starts a stage; the flag says whether it may go on from its last state."""


def run_chain(
    stages: Sequence[Stage],
    layout: Layout,
    start: Start,
    *,
    again: bool = False,
    fetch: bool = False,
    say: Progress,
) -> list[str]:
    """Make what is not done of some stages, after a look at what is needed; return the names of those made.

    A stage that was broken off goes on from its last state. With `again`, stages whose folders were made from
    something else are made anew instead of refused. With `fetch`, stages whose packs shipped once are taken
    from the history of the repository.

    Raises TrainingError: something is missing, with a line for each thing, or a stage failed.
    """
    found = survey(stages, layout, fetch=fetch)
    needs = check(found, layout, again=again)
    lines = needs.lines(found)
    for line in lines[:1] if layout.small else lines:  # what is small needs and takes little
        say(line)
    if needs.missing:
        raise TrainingError("\n".join(needs.missing))
    for each in found:
        if each.status is Status.BEGUN and not each.fetched:
            say(
                f"stage {each.stage.name} goes on from its last state" + (f": {each.why}" if each.why else "")
            )
    todo = [each for each in found if each.status is not Status.DONE]
    return _run(todo, {each.stage.name: cores(each, layout) for each in todo}, start, say)


def _run(todo: Sequence[Found], use: dict[str, int], start: Start, say: Progress) -> list[str]:
    """Run stages in their order, side by side where the cores allow it; end all of them if one fails."""
    waiting = {each.stage.name: each for each in todo}
    running: dict[str, tuple[Started, float]] = {}
    made: list[str] = []
    try:
        while waiting or running:
            free = available_threads() - sum(use[name] for name in running)
            for name, each in list(waiting.items()):
                if use[name] <= free and not any(
                    other in waiting or other in running for other in each.inputs
                ):
                    running[name] = start(each, each.status is Status.BEGUN), time.monotonic()
                    free -= use[name]
                    del waiting[name]
            for name, (process, began) in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[name]
                if code:
                    raise TrainingError(
                        f"stage {name} failed (exit code {code}); the same command goes on from here"
                    )
                made.append(name)
                minutes = (time.monotonic() - began) / 60
                say(f"stage {name} is done in {minutes:.1f} minutes, {len(waiting)} wait")
            if running:
                time.sleep(_LOOK_S)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()
    return made


def in_processes(layout: Layout) -> Start:
    """Return what starts each stage as a process of its own."""

    def start(each: Found, resume: bool) -> Started:
        command = [sys.executable, "-m", "worker.lab.chain.stage", each.stage.name, "--digest", each.digest]
        for name in ("data", "work", "packs", "bases"):
            command += [f"--{name}", str(getattr(layout, name))]
        command += ["--fetch"] if each.fetched else ["--resume"] if resume else []
        return subprocess.Popen(command)  # noqa: S603 - our own module

    return start
