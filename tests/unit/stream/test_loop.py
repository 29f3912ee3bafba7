"""The loop over a source that replays a log: nothing skipped, nothing committed out of turn."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.support.decoding import one_each
from worker.errors import BrokerUnavailable, RegistryRefused, RegistryUnavailable, SourceUnreadable
from worker.kafka.outcome import Outcome
from worker.kafka.source import Source
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.observe.summary import Summary
from worker.settings.groups import BatchSettings
from worker.stream.loop import REBALANCES_WITHOUT_COMMIT, Loop
from worker.stream.pipeline import Pipeline, Processed
from worker.types import OutputRecord, Record, TopicPartition

PART = TopicPartition("posts", 0)


class Log:
    """A source and a checkpoint over one partition. `committed` is the next offset to read after a rewind."""

    def __init__(self, count: int, stop: threading.Event) -> None:
        self.records = [Record("posts", 0, offset, 1, b"k", None) for offset in range(count)]
        self.position = self.committed = 0
        self.generation, self.rebalances, self.joined = 1, 0, True
        self.must_rejoin, self.group = False, "posts.group"
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
    """A pipeline whose output names the offset that it came from. A record takes it `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.windows: list[int] = []

    def process(self, records: Sequence[Record]) -> Processed:
        self.windows.append(len(records))
        time.sleep(self.seconds * len(records))
        outputs = [OutputRecord(str(record.offset), record.key, None) for record in records]
        return one_each(records, outputs)


def run(
    log: Log,
    stop: threading.Event,
    *,
    limit_s: float = 60.0,
    window: int = 10,
    window_s: float = 2.0,
    pipeline: Echo | None = None,
    health: Health | None = None,
    summary: Summary | None = None,
    metrics: Metrics | None = None,
) -> None:
    Loop(
        cast("Source", log),
        cast("Pipeline", pipeline or Echo()),
        log,
        batch=BatchSettings(max_messages=window, max_wait_ms=0, max_window_s=window_s),
        connect_limit_s=limit_s,
        health=health or Health(60, ready_checks=()),
        metrics=metrics or Metrics(),
        summary=summary,
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
    with pytest.raises(BrokerUnavailable, match=r"kafka\.connect_limit_s"):
        run(log, stop, limit_s=0.0)


class Unread(Echo):
    """A pipeline that cannot read the windows of some numbers: the registry is away."""

    def __init__(self, numbers: set[int], error: Exception) -> None:
        super().__init__()
        self.numbers, self.error = numbers, error

    def process(self, records: Sequence[Record]) -> Processed:
        self.windows.append(len(records))
        if len(self.windows) in self.numbers:
            raise self.error
        return super().process(records)


def test_while_the_schema_registry_is_away_the_loop_polls_and_nothing_is_lost() -> None:
    stop = threading.Event()
    log, health = Log(95, stop), Health(60, ready_checks=())
    polls: list[int] = []
    ready: list[bool] = []

    class Away(Unread):
        def process(self, records: Sequence[Record]) -> Processed:
            polls.append(log.polls)
            ready.append(health.ready()[0])
            return super().process(records)

    with capture_logs() as lines:
        run(
            log,
            stop,
            pipeline=Away({1, 4, 5}, RegistryUnavailable("the registry does not answer")),
            health=health,
        )
    assert log.written == list(range(95))
    assert log.in_flight == set()
    assert log.rewinds == 0
    assert polls[4] > polls[3]
    assert not ready[1]
    assert health.ready()[0]
    waits = [line for line in lines if line["event"] == "waiting for the schema registry"]
    assert waits
    assert all("does not answer" in line["reason"] for line in waits)


def test_a_registry_that_refuses_ends_the_worker() -> None:
    stop = threading.Event()
    with pytest.raises(RegistryRefused):
        run(Log(5, stop), stop, pipeline=Unread({1}, RegistryRefused("it refuses the login")))


def test_a_window_takes_no_longer_than_it_may() -> None:
    stop = threading.Event()
    log, slow = Log(200, stop), Echo(0.005)
    run(log, stop, window=256, window_s=0.1, pipeline=slow)
    assert log.written == list(range(200))
    assert log.in_flight == set()
    assert max(slow.windows) * slow.seconds <= 0.1 * 2


def test_windows_grow_again_when_labelling_gets_faster() -> None:
    stop = threading.Event()
    log, slow = Log(3_000, stop), Echo(0.005)
    log.before_poll = {4: lambda: setattr(slow, "seconds", 0.0)}
    run(log, stop, window=256, window_s=0.1, pipeline=slow)
    assert log.written == list(range(3_000))
    assert max(slow.windows) == 256


@pytest.mark.parametrize("outcome", [Outcome.ABORTED, Outcome.UNKNOWN])
def test_what_is_in_hand_is_read_again_after_a_failed_commit_and_after_a_rebalance(outcome: Outcome) -> None:
    stop = threading.Event()
    log, slow = Log(150, stop), Echo(0.004)

    def rebalance() -> None:
        log.generation += 1

    log.outcomes = [Outcome.COMMITTED, outcome, Outcome.COMMITTED, Outcome.COMMITTED, outcome]
    log.before_poll = dict.fromkeys((2, 5, 9, 10), rebalance)
    run(log, stop, window=256, window_s=0.1, pipeline=slow)
    assert log.written == list(range(150))
    assert log.in_flight == set()


def test_a_labelled_window_is_committed_before_the_poll_that_would_void_it() -> None:
    stop = threading.Event()
    log = Log(40, stop)
    committed: list[int] = []

    def rejoin() -> None:
        committed.append(log.committed)
        log.generation += 1
        log.must_rejoin = False

    log.before_poll = {3: lambda: setattr(log, "must_rejoin", True), 4: rejoin}
    run(log, stop)
    assert committed == [30]  # all that was labelled by then
    assert log.written == list(range(40))


def test_rebalances_without_end_turn_the_worker_unready_until_something_is_committed() -> None:
    stop = threading.Event()
    log, health = Log(40, stop), Health(60, ready_checks=())
    seen: list[bool] = []

    def rebalance() -> None:
        log.generation += 1
        seen.append(health.ready()[0])

    log.before_poll = dict.fromkeys(range(1, 2 * REBALANCES_WITHOUT_COMMIT), rebalance)
    with capture_logs() as lines:
        run(log, stop, health=health)
    [warning] = [line for line in lines if "again and again" in line["event"]]
    assert warning["group"] == "posts.group"
    assert seen[:REBALANCES_WITHOUT_COMMIT] == [True] * REBALANCES_WITHOUT_COMMIT
    assert not any(seen[REBALANCES_WITHOUT_COMMIT:])
    assert health.ready()[0]
    assert log.written == list(range(40))


def test_rebalances_of_an_idle_group_are_no_sign_of_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.loop._LAG_EVERY_S", 0.0)
    stop = threading.Event()
    log, health = Log(1, stop), Health(60, ready_checks=())
    log.position = log.committed = 1
    monkeypatch.setattr(stop, "set", lambda: None)  # nothing is left to read, and it runs on

    def rebalance() -> None:
        log.generation += 1

    log.before_poll = dict.fromkeys(range(2, 40, 2), rebalance)
    log.before_poll[41] = lambda: threading.Event.set(stop)
    run(log, stop, health=health)
    assert health.ready()[0]


def test_a_source_that_cannot_go_on_turns_the_worker_unready() -> None:
    stop = threading.Event()
    log, health = Log(5, stop), Health(60, ready_checks=())

    def fail() -> None:
        raise SourceUnreadable("topic posts, partition 0 cannot be read past offset 3")

    log.before_poll = {2: fail}
    with pytest.raises(SourceUnreadable):
        run(log, stop, health=health)
    assert not health.ready()[0]


class Turns:
    """A clock that goes on by so much with every look at it."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def test_windows_are_told_at_debug_and_the_work_every_ten_seconds() -> None:
    stop = threading.Event()
    log = Log(500, stop)
    with capture_logs() as lines:
        run(log, stop, window=5, summary=Summary(clock=Turns(0.5)))  # 100 windows, two a second
    said = [line for line in lines if line["log_level"] == "info" and line["event"] != "draining"]
    assert {line["event"] for line in said} == {"summary"}
    assert 4 <= len(said) <= 6
    assert sum(line["messages"] for line in said) == 500
    windows = [line for line in lines if line["event"] == "window"]
    assert {line["log_level"] for line in windows} == {"debug"}
    assert len(windows) == 100


def test_the_summary_tells_what_is_committed_also_when_the_worker_fails() -> None:
    stop = threading.Event()
    log = Log(100, stop)

    def fail() -> None:
        raise SourceUnreadable("topic posts, partition 0 cannot be read past offset 3")

    log.before_poll = {5: fail}
    with capture_logs() as lines, pytest.raises(SourceUnreadable):
        run(log, stop)
    assert [line["messages"] for line in lines if line["event"] == "summary"] == [len(log.written)]


def test_a_window_that_is_read_again_is_told_once() -> None:
    stop = threading.Event()
    log, metrics = Log(95, stop), Metrics()
    log.outcomes = [Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMMITTED, Outcome.UNKNOWN]
    with capture_logs() as lines:
        run(log, stop, summary=Summary(clock=Turns(1.0)), metrics=metrics)
    assert sum(line["messages"] for line in lines if line["event"] == "summary") == 95
    count = metrics.registry.get_sample_value("moodstream_messages_total", {"outcome": "tombstone"})
    assert count == 95


def test_the_time_between_polls_is_told_by_stage() -> None:
    stop = threading.Event()
    log, metrics = Log(95, stop), Metrics()
    run(log, stop, metrics=metrics)

    def count(stage: str) -> float | None:
        return metrics.registry.get_sample_value("moodstream_stage_duration_seconds_count", {"stage": stage})

    assert count("poll") == log.polls
    assert count("batch_wait") == count("commit") == 10


def test_the_rebalances_of_every_source_of_a_process_are_counted() -> None:
    """A worker that loses its slot goes on with another source, which begins to count at zero. Meanwhile it
    shows no lag: the partitions are another worker's."""
    metrics = Metrics()
    for rebalances in (3, 3, 1):
        stop = threading.Event()
        log = Log(20, stop)
        log.rebalances = rebalances
        run(log, stop, metrics=metrics)
        [lag] = [family for family in metrics.registry.collect() if family.name == "moodstream_lag_messages"]
        assert lag.samples == []
    assert metrics.registry.get_sample_value("moodstream_rebalances_total") == 7
