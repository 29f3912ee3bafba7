"""The source's decisions, on a scripted consumer. The same on real brokers: tests/broker/, tests/kafka/."""

from typing import Any

import pytest
from kafka.errors import CommitFailedError, KafkaTimeoutError
from kafka.structs import MemberState, OffsetAndMetadata

from tests.support.scripted_consumer import P0, P1, Make, rebalance, row, rows
from worker.types import TopicPartition


def test_records_come_as_they_lie_in_kafka(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(rows(p0=2, p1=1))
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
    consumer.script.append(rebalance(consumer, P0, rows={P0: [row(P0, 9)]}))
    assert source.poll(10, 0.01) == []
    assert source.generation != before
    assert (P0, 5) in consumer.seeks
    assert source.in_flight == (0, 0)
    assert source.snapshot() is None


def test_the_broker_is_asked_again_when_a_partition_comes_back(make: Make) -> None:
    """Between the two rebalances another member may have had it and committed."""
    source, consumer = make()
    consumer.committed_offsets = {P0: 5}
    consumer.script.append(rebalance(consumer, P0))
    source.poll(10, 0.01)
    consumer.committed_offsets = {P0: 8}
    consumer.script.append(rebalance(consumer, P0))
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
    monkeypatch.setattr("worker.kafka.source.SETTLE_LIMIT_S", 0.01)
    source, consumer = make()
    before = source.generation
    consumer.metadata = consumer.metadata._replace(state=MemberState.UNJOINED, generation_id=-1, member_id="")
    consumer.script.append(rows(p0=1))
    assert source.poll(10, 0.0) == []
    assert source.generation != before


def test_the_snapshot_is_that_of_the_poll_that_brought_records(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(rows(p0=1))
    source.poll(10, 0.01)
    then = consumer.metadata
    consumer.metadata = then._replace(generation_id=-1, member_id="")
    source.poll(10, 0.0)  # brings nothing
    assert source.snapshot() == then


def test_an_evicted_member_has_no_snapshot(make: Make) -> None:
    source, consumer = make()
    consumer.metadata = consumer.metadata._replace(generation_id=-1, member_id="")
    consumer.script.append(rows(p0=1))
    source.poll(10, 0.01)
    assert source.snapshot() is None


def test_rewind_goes_to_what_is_committed_or_to_the_beginning(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(rows(p0=3))
    source.poll(10, 0.01)
    consumer.committed_offsets = {P0: 1}
    source.rewind()
    assert set(consumer.seeks) == {(P0, 1), (P1, "beginning")}
    assert source.in_flight == (0, 0)


def test_a_new_group_that_begins_at_the_end_commits_that_place(make: Make) -> None:
    """Else a worker that dies before its first commit begins at a later end, and skips what came between."""
    source, consumer = make(join=False, auto_offset_reset="latest")
    consumer.ends.update({P0: 100, P1: 200})
    consumer.script.append(rebalance(consumer, P0, P1))
    source.poll(10, 0.01)
    assert set(consumer.seeks) == {(P0, 100), (P1, 200)}
    assert consumer.commits == [{P0: OffsetAndMetadata(100, "", -1), P1: OffsetAndMetadata(200, "", -1)}]


def test_a_rewind_that_fails_is_made_up_for_before_the_next_record(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(rows(p0=1))
    source.poll(10, 0.01)
    consumer.committed_error = KafkaTimeoutError()
    source.rewind()
    consumer.script.append(rows(p0=4))
    assert source.poll(10, 0.01) == []
    consumer.committed_error = None
    consumer.committed_offsets = {P0: 3}
    consumer.script.append(rows(p0=2))
    assert len(source.poll(10, 0.01)) == 2
    assert (P0, 3) in consumer.seeks


def test_pause_at_the_bound_and_resume_at_half(make: Make) -> None:
    source, consumer = make(max_in_flight_messages=4)
    consumer.script.append(rows(p0=4))
    records = source.poll(10, 0.01)
    assert consumer.max_records[-1] == 4
    source.poll(10, 0.0)
    assert consumer.paused == {P0, P1}
    source.release(records[:1])
    source.poll(10, 0.0)
    assert consumer.paused == {P0, P1}
    source.release(records[:2])
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
    consumer.script.append(rows(p0=2))
    source.poll(10, 0.01)
    source.poll(10, 0.0)
    assert consumer.paused
    consumer.script.append(rebalance(consumer, P0))
    source.poll(10, 0.01)
    assert not consumer.paused & {P0}
    consumer.script.append(rows(p0=1))
    assert len(source.poll(10, 0.01)) == 1


def test_offsets_committed_outside_a_transaction_are_the_next_ones(make: Make) -> None:
    source, consumer = make()
    source.commit({TopicPartition("posts", 0): 41})
    assert consumer.commits == [{P0: OffsetAndMetadata(42, "", -1)}]


def test_a_closed_source_commits_nothing_and_says_so(make: Make) -> None:
    source, consumer = make()
    source.close()
    with pytest.raises(CommitFailedError):
        source.commit({TopicPartition("posts", 0): 41})
    assert consumer.commits == []
