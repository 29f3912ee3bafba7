"""The loop over a source that replays a log: nothing skipped, nothing committed out of turn."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import pytest

from worker.errors import Fatal
from worker.kafka.outcome import Outcome
from worker.kafka.source import Source
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.settings.groups import BatchSettings
from worker.stream.loop import Loop
from worker.stream.pipeline import Pipeline, Processed
from worker.types import OutputRecord, Record, Tombstone, TopicPartition

PART = TopicPartition("posts", 0)


class Log:
    """A source and a checkpoint over one partition. `committed` is the next offset to read after a rewind."""

    def __init__(self, count: int, stop: threading.Event) -> None:
        self.records = [Record("posts", 0, offset, 1, b"k", None) for offset in range(count)]
        self.position = self.committed = 0
        self.generation, self.rebalances, self.joined = 1, 0, True
        self.must_rejoin = False
        self.in_flight: set[int] = set()
        self.written: list[int] = []
        self.rewinds = 0
        self.polls = 0
        self.before_poll: dict[int, Callable[[], None]] = {}
        self.outcomes: list[Outcome] = []
        self.polling = threading.Lock()
        self._stop = stop

    # The source.
    def poll(self, max_messages: int, timeout_s: float) -> list[Record]:
        with self.polling:
            self.polls += 1
            self.before_poll.pop(self.polls, lambda: None)()
            rows = self.records[self.position : self.position + max_messages]
            self.position += len(rows)
            self.in_flight |= {row.offset for row in rows}
            if not rows and self.committed == len(self.records):
                self._stop.set()
            return rows

    def snapshot(self) -> object:
        return self.generation

    def rewind(self) -> None:
        self.rewinds += 1
        self.position = self.committed

    def release(self, records: Iterable[Record]) -> None:
        self.in_flight -= {record.offset for record in records}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset({PART})

    def lag(self) -> dict[TopicPartition, int]:
        return {PART: len(self.records) - self.position}

    # The checkpoint.
    def open(self, stop: threading.Event | None = None) -> None: ...
    def close(self) -> None: ...
    def commit(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[TopicPartition, int], snapshot: Any
    ) -> Outcome:
        assert not self.polling.locked(), "a commit beside a poll"
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome.COMMITTED
        if outcome is Outcome.COMMITTED:
            assert snapshot == self.generation
            self.written += [int(output.topic) for output in outputs]
            self.committed = offsets[PART] + 1
        return outcome


class Echo:
    """A pipeline whose output names the offset that it came from."""

    def process(self, records: Sequence[Record]) -> Processed:
        outputs = [OutputRecord(str(record.offset), record.key, None) for record in records]
        return Processed(outputs, [Tombstone() for _ in records])


def run(log: Log, stop: threading.Event, *, limit_s: float = 60.0, window: int = 10) -> None:
    Loop(
        cast("Source", log),
        cast("Pipeline", Echo()),
        log,
        batch=BatchSettings(max_messages=window, max_wait_ms=0),
        connect_limit_s=limit_s,
        health=Health(60),
        metrics=Metrics(),
    ).run(stop)


def test_every_record_once_and_in_order() -> None:
    stop = threading.Event()
    log = Log(95, stop)
    run(log, stop)
    assert log.written == list(range(95))
    assert log.in_flight == set()


@pytest.mark.parametrize("outcome", [Outcome.ABORTED, Outcome.UNKNOWN])
def test_a_failed_commit_takes_the_window_behind_it_along(outcome: Outcome) -> None:
    stop = threading.Event()
    log = Log(95, stop)
    log.outcomes = [Outcome.COMMITTED, outcome, Outcome.COMMITTED, outcome, outcome]
    run(log, stop)
    assert log.written == list(range(95))
    assert log.rewinds == 3
    assert log.in_flight == set()


def test_a_window_of_an_earlier_generation_is_read_again_and_not_committed() -> None:
    stop = threading.Event()
    log = Log(95, stop)

    def rebalance() -> None:
        log.generation += 1

    log.before_poll = dict.fromkeys((2, 3, 7), rebalance)
    run(log, stop)
    assert log.written == list(range(95))
    assert log.in_flight == set()


def test_a_stop_commits_what_is_labelled() -> None:
    stop = threading.Event()
    log = Log(1_000, stop)
    log.before_poll = {3: stop.set}
    run(log, stop)
    assert log.written == list(range(30))
    assert log.committed == 30


def test_outside_the_group_for_too_long_is_the_end() -> None:
    stop = threading.Event()
    log = Log(5, stop)
    log.joined = False
    with pytest.raises(Fatal, match=r"kafka\.connect_limit_s"):
        run(log, stop, limit_s=0.0)
