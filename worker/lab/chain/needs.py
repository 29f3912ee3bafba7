"""What a chain needs before it begins: data, base weights, other stages' results, disk, memory, time."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.bases import base_folder
from worker.lab.chain.history import missing_from_history
from worker.lab.chain.places import BASES, Layout
from worker.lab.chain.record import Found, Status, data_files
from worker.lab.chain.stages import made_by, reads
from worker.lab.data.sets import SOURCES
from worker.model.cpu import available_memory, available_threads

_MB = 1_000_000
_PROCESS = 1_850 * _MB
"""What a short training took at its peak, mostly torch: measured, docs/how-to/train.md."""

_STATE, _KEPT, _COPIES = 3, 1.5, 4
"""In sizes of the fp32 weights. A state holds them and AdamW's two moments. A stage that is done keeps a
checkpoint, and an int8 pack of less than half. Training holds the weights, their gradient and the moments."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the stages that are still to be made need; disk and memory in bytes, an upper estimate."""

    disk: int
    memory: int
    minutes: float
    """The sum of the minutes that are known, with stages of one core side by side."""
    unknown: tuple[str, ...]
    """The stages of which nobody wrote down the minutes."""
    missing: tuple[str, ...] = ()
    """A line for each thing that is not there."""

    def lines(self, found: Sequence[Found]) -> list[str]:
        """Return what to say before the chain begins."""
        left = [each for each in found if each.status is not Status.DONE]
        if not left:
            return [f"all {len(found)} stages are done"]
        todo = [each.stage.name + (" (from the history)" if each.fetched else "") for each in left]
        known = sum(not each.fetched for each in left) - len(self.unknown)
        without = f"; not written down for {', '.join(self.unknown)}" if self.unknown else ""
        took = (
            f"took {self.minutes / 60:.1f} hours of training on two cores for {known} of them, not counting "
            f"teachers' answers and fitting (docs/explanation/how-the-packs-were-made.md){without}"
        )
        return [
            f"{len(todo)} of {len(found)} stages to make: {', '.join(todo)}",
            f"needs {self.disk / _MB:,.0f} MB of disk and {self.memory / _MB:,.0f} MB of memory at most",
            took,
        ]


def cores(found: Found, layout: Layout) -> int:
    """Return how many of the machine's cores a stage uses."""
    available = available_threads()
    processes, threads = layout.processes_and_threads(found.stage, found.recipe)
    return min(available, processes * (threads or available))


def check(found: Sequence[Found], layout: Layout, *, again: bool) -> Needs:
    """Return what the stages that are not done need, and what of it is missing.

    That is a line for each file of the data, base weights, other stage's result, disk, memory; and for each
    stage whose folder was made from something else, unless `again` allows to make it anew.
    """
    todo = [each for each in found if each.status is not Status.DONE]
    lines = list(_foreign(todo, layout)) if not again else []
    lines += [line for each in todo if each.fetched and (line := missing_from_history(each.stage))]
    todo = [each for each in todo if not each.fetched]
    needs = _needs(todo, layout)
    lines += _data(todo, layout)
    lines += _bases(todo, layout)
    lines += _results(todo, {each.stage.name for each in found}, layout)
    lines += _room(needs, layout)
    return replace(needs, missing=tuple(lines))


def _foreign(todo: Sequence[Found], layout: Layout) -> Iterator[str]:
    for each in todo:
        if each.status is Status.OTHER:
            folder = layout.folder(each.stage)
            yield f"stage {each.stage.name}: {folder} {each.why}; --again makes it anew"


def _data(todo: Sequence[Found], layout: Layout) -> Iterator[str]:
    if not layout.data.is_dir():
        yield f"no data folder {layout.data}: name it with --data or DATA="
        return
    readers: dict[str, list[str]] = {}
    for each in todo:
        for task in (one for several in each.recipe.tasks for one in several.by_set):
            readers.setdefault(task.data, []).append(each.stage.name)
    for name, stages in readers.items():
        if name not in SOURCES:
            yield f"unknown data set {name!r} (for {stages[0]})"
        for path in data_files(name, layout.data):
            if not path.is_file():
                yield f"data set {name}: no file {path} (for {_listed(stages)})"


def _bases(todo: Sequence[Found], layout: Layout) -> Iterator[str]:
    readers: dict[str, list[str]] = {}
    for each in todo:
        for name in reads(each.stage, each.recipe):
            if not made_by(name):
                readers.setdefault(name, []).append(each.stage.name)
    for name, stages in readers.items():
        try:
            base_folder(layout.of(name))
        except TrainingError as error:
            if Path(name).parent == BASES:
                place = layout.of(name)
                yield f"no base weights in {place} (for {_listed(stages)}): `make teachers` fetches them"
            else:
                yield f"{error} (for {_listed(stages)})"


def _results(todo: Sequence[Found], chosen: set[str], layout: Layout) -> Iterator[str]:
    """Yield a line for each result of a stage that is neither chosen nor there."""
    for each in todo:
        for name in reads(each.stage, each.recipe):
            maker = made_by(name)
            if maker and maker not in chosen and not Path(layout.of(name)).is_dir():
                yield f"no {layout.of(name)} (for {each.stage.name}): name the stage {maker} too"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _needs(todo: Sequence[Found], layout: Layout) -> Needs:
    memory = kept = largest = 0
    busy = 0.0
    for each in todo:
        use, available, size = cores(each, layout), available_threads(), _weights(each.base, layout)
        processes, _ = layout.processes_and_threads(each.stage, each.recipe)
        beside = max(processes, available // use)  # stages of one core run side by side
        memory = max(memory, beside * (_PROCESS + _COPIES * size))
        kept += int(_KEPT * size)
        busy += (each.stage.minutes or 0.0) * use / available
        largest = max(largest, size)
    return Needs(
        disk=kept + 2 * (_STATE + 1) * largest,  # a state is written beside the older one; a checkpoint too
        memory=memory,
        minutes=busy,
        unknown=tuple(each.stage.name for each in todo if each.stage.minutes is None),
    )


def _weights(base: str, layout: Layout) -> int:
    """Return the bytes of a base's fp32 weights, which every stage of its line has; 0 if it is missing."""
    try:
        return (base_folder(layout.of(base)) / "model.safetensors").stat().st_size
    except TrainingError:
        return 0  # `_bases` says so


def _room(needs: Needs, layout: Layout) -> Iterator[str]:
    parent = next(
        folder for folder in (layout.work.absolute(), *layout.work.absolute().parents) if folder.is_dir()
    )
    free = shutil.disk_usage(parent).free
    if free < needs.disk:
        yield f"needs {needs.disk / _MB:,.0f} MB of disk in {layout.work}; {free / _MB:,.0f} MB are free"
    if (memory := available_memory()) < needs.memory:
        yield f"needs {needs.memory / _MB:,.0f} MB of memory; this machine allows {memory / _MB:,.0f} MB"
