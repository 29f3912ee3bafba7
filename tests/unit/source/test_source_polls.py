"""The source's decisions, on a scripted consumer. The same on real brokers: tests/broker/, tests/kafka/."""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import (
    CorruptRecordError,
    FencedInstanceIdError,
    KafkaConnectionError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
)
from kafka.structs import MemberState, OffsetAndMetadata

from tests.unit.source.scripted import P0, P1, Scripted, row
from worker.connect import BrokerRefused, BrokerUnavailable
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.source import Source, SourceFenced
from worker.types import TopicPartition

Make = Callable[..., tuple[Source, Scripted]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A source that has joined its group, and its consumer."""

    def made(*, join: bool = True, corrupt: Any = None, **settings: Any) -> tuple[Source, Scripted]:
        consumer = Scripted()
        monkeypatch.setattr("worker.source.source.KafkaConsumer", lambda **options: consumer)
        monkeypatch.setattr("worker.source.source.probe", lambda kafka: None)
        monkeypatch.setattr("worker.source.source.guards.heartbeats_stopped", lambda consumer: False)
        monkeypatch.setattr("worker.source.source.PAUSE_S", 0.001)
        source = Source(KafkaSettings(), SourceSettings(**settings), "0", on_corrupt=corrupt)
        if join:
            consumer.script.append(_rebalance(consumer, P0, P1))
            assert source.poll(10, 0.01) == []
            consumer.seeks.clear()
        return source, consumer

    return made


def _rebalance(consumer: Scripted, *parts: Any, rows: Any = None) -> Callable[[], Any]:
    def act() -> Any:
        consumer.rebalance(*parts)
        return rows or {}

    return act


def _rows(**counts: int) -> Callable[[], Any]:
    parts = {"p0": P0, "p1": P1}
    return lambda: {
        parts[name]: [row(parts[name], n) for n in range(count)] for name, count in counts.items()
    }


def _raise(error: Exception) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def test_records_come_as_they_lie_in_kafka(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(_rows(p0=2, p1=1))
    records = source.poll(10, 0.01)
    assert [(record.topic, record.partition, record.offset) for record in records] == [
        ("posts", 0, 0),
        ("posts", 0, 1),
        ("posts", 1, 0),
    ]
    assert source.assignment() == {TopicPartition("posts", 0), TopicPartition("posts", 1)}


def test_rows_that_come_with_a_rebalance_are_void_and_read_again(make: Make) -> None:
    """The client keeps the position of a partition that comes back, past rows that nobody committed."""
    source, consumer = make()
    consumer.committed_offsets = {P0: 5}
    before = source.generation
    consumer.script.append(_rebalance(consumer, P0, rows={P0: [row(P0, 9)]}))
    assert source.poll(10, 0.01) == []
    assert source.generation != before
    assert (P0, 5) in consumer.seeks
    assert source.in_flight == (0, 0)
    assert source.snapshot() is None


def test_the_broker_is_asked_again_when_a_partition_comes_back(make: Make) -> None:
    """Between the two rebalances another member may have had it and committed."""
    source, consumer = make()
    consumer.committed_offsets = {P0: 5}
    consumer.script.append(_rebalance(consumer, P0))
    source.poll(10, 0.01)
    consumer.committed_offsets = {P0: 8}
    consumer.script.append(_rebalance(consumer, P0))
    source.poll(10, 0.01)
    assert consumer.seeks[-1] == (P0, 8)


def test_a_poll_sees_a_rebalance_through(make: Make) -> None:
    source, consumer = make()

    def begin() -> Any:
        consumer.metadata = consumer.metadata._replace(state=MemberState.REBALANCING)
        return {}

    def end() -> Any:
        consumer.metadata = consumer.metadata._replace(state=MemberState.STABLE)
        consumer.rebalance(P1)
        return {}

    consumer.script += [begin, dict, end]
    source.poll(10, 0.0)
    assert source.assignment() == {TopicPartition("posts", 1)}
    assert consumer.script == []


def test_membership_that_is_lost_without_a_word_changes_the_generation(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.source.source.SETTLE_LIMIT_S", 0.01)
    source, consumer = make()
    before = source.generation
    consumer.metadata = consumer.metadata._replace(state=MemberState.UNJOINED, generation_id=-1, member_id="")
    consumer.script.append(_rows(p0=1))
    assert source.poll(10, 0.0) == []
    assert source.generation != before


def test_the_snapshot_is_that_of_the_poll_that_brought_records(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(_rows(p0=1))
    source.poll(10, 0.01)
    then = consumer.metadata
    consumer.metadata = then._replace(generation_id=-1, member_id="")
    source.poll(10, 0.0)  # brings nothing
    assert source.snapshot() == then


def test_an_evicted_member_has_no_snapshot(make: Make) -> None:
    source, consumer = make()
    consumer.metadata = consumer.metadata._replace(generation_id=-1, member_id="")
    consumer.script.append(_rows(p0=1))
    source.poll(10, 0.01)
    assert source.snapshot() is None


def test_rewind_goes_to_what_is_committed_or_to_the_beginning(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(_rows(p0=3))
    source.poll(10, 0.01)
    consumer.committed_offsets = {P0: 1}
    source.rewind()
    assert set(consumer.seeks) == {(P0, 1), (P1, "beginning")}
    assert source.in_flight == (0, 0)


def test_a_new_group_that_begins_at_the_end_commits_that_place(make: Make) -> None:
    """Else a worker that dies before its first commit begins at a later end, and skips what came between."""
    source, consumer = make(join=False, auto_offset_reset="latest")
    consumer.ends.update({P0: 100, P1: 200})
    consumer.script.append(_rebalance(consumer, P0, P1))
    source.poll(10, 0.01)
    assert set(consumer.seeks) == {(P0, 100), (P1, 200)}
    assert {next(iter(offsets.items())) for offsets in consumer.commits} == {
        (P0, OffsetAndMetadata(100, "", -1)),
        (P1, OffsetAndMetadata(200, "", -1)),
    }


def test_a_rewind_that_fails_is_made_up_for_before_the_next_record(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(_rows(p0=1))
    source.poll(10, 0.01)
    consumer.committed_error = KafkaTimeoutError()
    source.rewind()
    consumer.script.append(_rows(p0=4))
    assert source.poll(10, 0.01) == []
    consumer.committed_error = None
    consumer.committed_offsets = {P0: 3}
    consumer.script.append(_rows(p0=2))
    assert len(source.poll(10, 0.01)) == 2
    assert (P0, 3) in consumer.seeks


def test_pause_at_the_bound_and_resume_at_half(make: Make) -> None:
    source, consumer = make(max_in_flight_messages=4)
    consumer.script.append(_rows(p0=4))
    records = source.poll(10, 0.01)
    assert consumer.max_records[-1] == 4
    source.poll(10, 0.0)
    assert consumer.paused == {P0, P1}
    source.settle(records[:1])
    source.poll(10, 0.0)
    assert consumer.paused == {P0, P1}
    source.settle(records[:2])
    source.poll(10, 0.0)
    assert consumer.paused == set()


def test_bytes_over_the_bound_stay_in_kafka(make: Make) -> None:
    source, consumer = make(max_in_flight_bytes=65_536)
    big = b"x" * 30_000
    consumer.script.append(lambda: {P0: [row(P0, n, big) for n in range(4)], P1: [row(P1, 7, big)]})
    records = source.poll(10, 0.01)
    assert [record.offset for record in records] == [0, 1]
    assert dict(consumer.seeks) == {P0: 2, P1: 7}


def test_after_a_rebalance_a_paused_source_reads_again(make: Make) -> None:
    source, consumer = make(max_in_flight_messages=2)
    consumer.script.append(_rows(p0=2))
    source.poll(10, 0.01)
    source.poll(10, 0.0)
    assert consumer.paused
    consumer.script.append(_rebalance(consumer, P0))
    source.poll(10, 0.01)
    assert not consumer.paused & {P0}
    consumer.script.append(_rows(p0=1))
    assert len(source.poll(10, 0.01)) == 1


def test_a_corrupt_batch_is_stepped_over_one_by_one_and_told_once_each(make: Make) -> None:
    told: list[tuple[TopicPartition, int]] = []
    source, consumer = make(corrupt=lambda part, offset: told.append((part, offset)))
    for offset in (4, 5, 4):
        stuck = SimpleNamespace(topic_partition=P0, next_fetch_offset=offset)
        consumer._fetcher._next_partition_records = stuck
        consumer.script.append(_raise(CorruptRecordError("failed crc check")))
        assert source.poll(10, 0.01) == []
    assert consumer.seeks == [(P0, 5), (P0, 6), (P0, 5)]
    assert told == [(TopicPartition("posts", 0), 4), (TopicPartition("posts", 0), 5)]


@pytest.mark.parametrize("error", [KafkaConnectionError(), KafkaTimeoutError("away")])
def test_trouble_with_the_connection_is_an_empty_poll(make: Make, error: Exception) -> None:
    source, consumer = make()
    consumer.script += [_raise(error), _rows(p0=1)]
    assert source.poll(10, 0.01) == []
    assert len(source.poll(10, 0.01)) == 1


def test_a_broker_that_is_away_at_the_start_is_an_empty_poll(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = make(join=False)

    def away(kafka: KafkaSettings) -> None:
        raise BrokerUnavailable("does not listen")

    monkeypatch.setattr("worker.source.source.probe", away)
    assert source.poll(10, 0.01) == []
    assert source.assignment() == frozenset()
    assert source.lag() == {}


def test_a_twin_that_the_join_meets_ends_the_source(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(_raise(FencedInstanceIdError()))
    with pytest.raises(SourceFenced, match=r"moodstream\.0"):
        source.poll(10, 0.01)


def test_a_twin_that_the_heartbeat_meets_ends_the_source(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = make()
    monkeypatch.setattr("worker.source.source.guards.heartbeats_stopped", lambda consumer: True)
    with pytest.raises(SourceFenced, match=r"delivery\.slot"):
        source.poll(10, 0.01)


def test_missing_rights_end_the_source(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(_raise(TopicAuthorizationFailedError({"posts"})))
    with pytest.raises(BrokerRefused, match="posts"):
        source.poll(10, 0.01)


def test_leaving_takes_out_this_member_and_no_successor(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[Any] = []

    class Admin:
        def remove_group_members(self, group: str, members: list[Any]) -> None:
            removed.append((group, members))

    @contextlib.contextmanager
    def admin_client(kafka: KafkaSettings) -> Iterator[Admin]:
        yield Admin()

    monkeypatch.setattr("worker.source.source.admin_client", admin_client)
    source, _ = make()
    source.leave()
    source.leave()  # a second time there is nothing to leave
    [(group, [member])] = removed
    assert (group, member.member_id, member.group_instance_id) == ("moodstream", "member-1", "group.0")
    assert source.assignment() == frozenset()


def test_leaving_never_raises(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(kafka: KafkaSettings) -> None:
        raise BrokerUnavailable("does not listen")

    monkeypatch.setattr("worker.source.source.admin_client", away)
    source, _ = make()
    source.leave()


def test_offsets_committed_outside_a_transaction_are_the_next_ones(make: Make) -> None:
    source, consumer = make()
    source.commit({TopicPartition("posts", 0): 41})
    assert consumer.commits == [{P0: OffsetAndMetadata(42, "", -1)}]
