"""What `moodstream run` would stumble over at its start, found without starting a worker."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from worker.errors import BrokerUnavailable, MoodstreamError
from worker.heads import Head
from worker.kafka.slots import slot_members
from worker.messages.columns import Layout
from worker.messages.encode import make_output_format
from worker.messages.fields import Fields
from worker.messages.registry import Registry
from worker.model.several import load_packs, named_heads
from worker.settings.groups import AUTO_SLOT, Settings
from worker.stream.languages import Languages
from worker.stream.limits import misfits, topic_limits


def problems(
    settings: Settings, *, online: bool = False, warn: Callable[[str], None] = lambda _line: None
) -> Iterator[str]:
    """Yield a line for each thing that would stop a worker with these settings.

    Looks at model packs (their checksums too, but no graph is loaded), at the extras that the settings need,
    at the files for TLS with the schema registry, and at the names of the columns.

    Args:
        settings: what the worker is started with.
        online: look at brokers, topics, the group and the schema registry too.
        warn: called with a line about what would not stop it, such as a topic that takes too little.
    """
    found: list[Sequence[Head]] = []

    def packs() -> None:
        folders = [list[Path](settings.model.path)]
        folders += [[Path(folder)] for folder in Languages(settings.language).packs]
        found.extend(named_heads(load_packs(each))[0] for each in folders)

    def columns() -> None:
        for heads in found:
            Layout.of(settings.sink).of_heads(heads)

    def fields() -> None:
        Fields.of(settings.source, keep=settings.sink.keep)

    checks: list[Callable[[], object]] = [
        packs,
        columns,
        fields,
        lambda: make_output_format(settings.sink),
        lambda: _registry(settings, online=online),
    ]
    if online:
        checks.append(lambda: _kafka(settings, warn))
    for check in checks:
        try:
            check()
        except MoodstreamError as error:
            yield from str(error).splitlines()


def _kafka(settings: Settings, warn: Callable[[str], None]) -> None:
    for misfit in misfits(settings, *topic_limits(settings)):
        figures = ", ".join(f"{name} {value}" for name, value in misfit.figures.items())
        warn(f"{misfit.topic}: {misfit.message}{f' ({figures})' if figures else ''}")
    if settings.delivery.slot == AUTO_SLOT:
        with contextlib.suppress(BrokerUnavailable):  # the first to ask a new cluster for a group is told so
            slot_members(settings.kafka, settings.source.group_id)


def _registry(settings: Settings, *, online: bool) -> None:
    registry = Registry.of(settings.kafka)
    if registry is not None and online:
        registry.check()
