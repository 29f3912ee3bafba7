"""Where partitions are read from: committed offsets, new partitions, offsets that are no longer there."""

from typing import Any

import pytest
from kafka.errors import LogTruncationError, NoOffsetForPartitionError, OffsetOutOfRangeError
from kafka.structs import MemberState, OffsetAndMetadata

from tests.support.scripted_consumer import P0, P1, Make, Scripted, failing, rebalance, row, rows
from worker.kafka.positions import Gap
from worker.types import TopicPartition

OURS = TopicPartition("posts", 0)


def _start(consumer: Scripted, source: Any, *parts: Any) -> None:
    consumer.script.append(rebalance(consumer, *parts))
    assert source.poll(10, 0.01) == []


@pytest.mark.parametrize("reset", ["earliest", "latest"])
def test_a_committed_offset_that_retention_has_overtaken_goes_to_the_earliest(make: Make, reset: str) -> None:
    told: list[Gap] = []
    source, consumer = make(auto_offset_reset=reset, gap=told.append)
    consumer.begins[P0], consumer.ends[P0] = 500, 900
    consumer.script += [failing(OffsetOutOfRangeError({P0: 20}))] * 2
    for _ in range(2):
        assert source.poll(10, 0.01) == []
    assert consumer.seeks[-1] == (P0, 500)
    assert told == [Gap(OURS, "retention", 20, 500)]
    assert told[0].messages == 480
    consumer.script.append(lambda: {P0: [row(P0, 500)]})
    assert [record.offset for record in source.poll(10, 0.01)] == [500]


@pytest.mark.parametrize(("reset", "start"), [("earliest", 5), ("latest", 40)])
def test_an_offset_beyond_the_end_goes_to_where_the_setting_says(make: Make, reset: str, start: int) -> None:
    told: list[Gap] = []
    source, consumer = make(auto_offset_reset=reset, gap=told.append)
    consumer.begins[P0], consumer.ends[P0] = 5, 40
    consumer.script.append(failing(OffsetOutOfRangeError({P0: 1_000})))
    source.poll(10, 0.01)
    assert consumer.seeks[-1] == (P0, start)
    assert told == [Gap(OURS, "truncated", 1_000, start)]


def test_an_offset_that_is_there_by_now_is_read_without_a_word(make: Make) -> None:
    told: list[Gap] = []
    source, consumer = make(gap=told.append)
    consumer.ends[P0] = 40
    consumer.script.append(failing(OffsetOutOfRangeError({P0: 40})))
    source.poll(10, 0.01)
    assert consumer.seeks == [(P0, 40)]
    assert told == []


def test_a_log_that_parts_from_what_was_read_is_followed(make: Make) -> None:
    told: list[Gap] = []
    source, consumer = make(gap=told.append)
    consumer.stand(P0, 30)
    consumer.script.append(failing(LogTruncationError({P0: OffsetAndMetadata(24, "", 3)})))
    source.poll(10, 0.01)
    assert consumer.seeks == [(P0, 24)]
    assert told == [Gap(OURS, "truncated", 30, 24)]


def test_latest_reads_a_partition_that_was_added_from_its_beginning(make: Make) -> None:
    told: list[Gap] = []
    source, consumer = make(join=False, auto_offset_reset="latest", gap=told.append)
    consumer.committed_offsets = {P0: 7}
    consumer.ends.update({P0: 100, P1: 274})
    _start(consumer, source, P0, P1)
    assert set(consumer.seeks) == {(P0, 7), (P1, 0)}
    assert told == [Gap(TopicPartition("posts", 1), "new_partition", 274, 0)]
    assert consumer.commits == []


def test_earliest_says_nothing_of_a_partition_that_was_added(make: Make) -> None:
    told: list[Gap] = []
    source, consumer = make(join=False, gap=told.append)
    consumer.committed_offsets = {P0: 7}
    _start(consumer, source, P0, P1)
    assert set(consumer.seeks) == {(P0, 7), (P1, "beginning")}
    assert told == []


def test_only_the_worker_with_the_first_partition_says_where_a_group_begins(make: Make) -> None:
    """Two that did so at the same time could overwrite each other's commits, or take a partition for new."""
    source, consumer = make(join=False, auto_offset_reset="latest")
    consumer.ends.update({P0: 100, P1: 200})
    _start(consumer, source, P1)
    consumer.script.append(rows(p1=2))
    assert source.poll(10, 0.01) == []
    assert (consumer.seeks, consumer.commits) == ([], [])
    consumer.committed_offsets = {P0: 100, P1: 199}
    source.poll(10, 0.01)
    assert consumer.seeks == [(P1, 199)]
    consumer.script.append(rows(p1=2))
    assert len(source.poll(10, 0.01)) == 2


def test_a_partition_without_a_position_is_no_trouble(make: Make) -> None:
    source, consumer = make()
    consumer.committed_offsets = {P0: 3}
    consumer.script.append(failing(NoOffsetForPartitionError(P0)))
    assert source.poll(10, 0.01) == []
    source.poll(10, 0.01)
    assert (P0, 3) in consumer.seeks


def test_offsets_are_not_asked_for_while_the_group_rebalances(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question waits for the join, which then ends outside a poll and is thrown away."""
    monkeypatch.setattr("worker.kafka.source.SETTLE_LIMIT_S", 0.0)
    source, consumer = make()
    consumer.asked_committed.clear()

    def begin() -> Any:
        consumer.metadata = consumer.metadata._replace(state=MemberState.REBALANCING)
        return {}

    def end() -> Any:
        consumer.metadata = consumer.metadata._replace(state=MemberState.STABLE)
        consumer.rebalance(P1)
        return {}

    consumer.script.append(begin)
    for _ in range(5):
        generation = source.generation
        source.poll(10, 0.0)
        source.rewind()  # as the loop does after a change
    assert consumer.asked_committed == []
    consumer.script.append(end)
    source.poll(10, 0.0)
    assert source.generation != generation
    assert consumer.asked_committed == [MemberState.STABLE]


def test_a_stop_ends_the_wait_for_a_rebalance(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.kafka.source.SETTLE_LIMIT_S", 3_600.0)
    source, consumer = make()
    consumer.metadata = consumer.metadata._replace(state=MemberState.REBALANCING)

    def stop() -> Any:
        source._stop.set()
        return {}

    consumer.script += [dict, dict, stop]
    assert source.poll(10, 0.0) == []
    assert consumer.script == []


def test_the_lag_asks_the_broker_nothing(make: Make) -> None:
    source, consumer = make()
    consumer.ends.update({P0: 10, P1: 20})
    consumer.stand(P0, 4)
    assert source.lag() == {OURS: 6}  # the position of the other is not known yet
    consumer.stand(P1, 20)
    assert source.lag() == {OURS: 6, TopicPartition("posts", 1): 0}
