"""Partitions that are added and messages that retention removes: read as promised, and said aloud."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition as ClientTopicPartition
from structlog.testing import capture_logs

from tests.support.stream import Topics, numbered
from worker.kafka.options import client_options
from worker.kafka.positions import Gap
from worker.kafka.source import Source
from worker.kafka.topics import admin_client
from worker.settings.groups import KafkaSettings

METADATA_MS = 2_000


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    kafka = settings.model_copy(update={"metadata_max_age_ms": METADATA_MS})
    return Topics(kafka, unique).create(partitions=2)


@pytest.fixture
def make(topics: Topics) -> Iterator[Callable[..., Source]]:
    """Sources that start with `latest`, or as the test says; closed at its end."""
    made: list[Source] = []

    def source(slot: str = "0", reset: str = "latest", told: list[Gap] | None = None) -> Source:
        settings = topics.source.model_copy(update={"auto_offset_reset": reset})
        made.append(Source(topics.kafka, settings, slot, on_gap=None if told is None else told.append))
        return made[-1]

    yield source
    for one in made:
        one.close()


def read(source: Source, count: int, timeout_s: float = 30.0) -> list[bytes]:
    found: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline:
        records = source.poll(500, 0.2)
        found += [record.value or b"" for record in records]
        if records:
            source.commit({record.topic_partition: record.offset for record in records})
        source.release(records)
    assert source.poll(500, 0.5) == []
    return found


def test_a_partition_that_is_added_is_read_from_its_beginning_and_soon(
    topics: Topics, make: Callable[..., Source]
) -> None:
    topics.feed(numbered(50))
    told: list[Gap] = []
    source = make(told=told)
    assert read(source, 1, 5.0) == []  # it begins at the end
    with admin_client(topics.kafka) as admin:
        admin.create_partitions({topics.source.topics[0]: 4})
    started = time.monotonic()
    fed = topics.feed(numbered(274, start=50))
    with capture_logs() as lines:
        assert sorted(read(source, len(fed))) == sorted(fed)
    assert time.monotonic() - started < 20
    assert sorted(gap.partition.partition for gap in told) == [2, 3]
    assert {gap.reason for gap in told} == {"new_partition"}
    said = [line for line in lines if line["event"].startswith("partition added")]
    assert {(line["partition"], line["from_offset"]) for line in said} == {(2, 0), (3, 0)}
    assert all(line["to_offset"] == line["messages"] > 0 for line in said)


@pytest.mark.parametrize("reset", ["latest", "earliest"])
def test_committed_offsets_that_retention_has_overtaken_go_to_the_earliest(
    topics: Topics, make: Callable[..., Source], reset: Literal["latest", "earliest"]
) -> None:
    first = make(reset=reset)
    assert read(first, 1, 5.0) == []
    fed = topics.feed(numbered(20))
    assert sorted(read(first, 20)) == fed
    first.close()
    gone = topics.feed(numbered(60, start=20))
    parts = [ClientTopicPartition(topics.source.topics[0], number) for number in range(2)]
    with admin_client(topics.kafka) as admin:
        admin.delete_records({part: end - 5 for part, end in _ends(topics, parts).items()})
    fed = topics.feed(numbered(40, start=80))
    told: list[Gap] = []
    with capture_logs() as lines:
        found = read(make(reset=reset, told=told), 50)
    assert len(found) == 50  # what is left of the old ones, and all the new ones
    assert set(fed) <= set(found) <= {*gone, *fed}
    assert sum(gap.messages for gap in told) == len(gone) - 10
    assert {gap.reason for gap in told} == {"retention"}
    assert sum(line["messages"] for line in lines if "removed messages" in line["event"]) == len(gone) - 10


def test_retention_that_overtakes_a_running_worker_skips_no_more_than_it_removed(
    topics: Topics, make: Callable[..., Source]
) -> None:
    told: list[Gap] = []
    source = make(told=told)
    assert read(source, 1, 5.0) == []
    parts = [ClientTopicPartition(topics.source.topics[0], number) for number in range(2)]
    topics.feed(numbered(20))
    assert len(read(source, 20)) == 20
    topics.feed(numbered(60, start=20))
    with admin_client(topics.kafka) as admin:
        admin.delete_records({part: end - 5 for part, end in _ends(topics, parts).items()})
    assert source._consumer is not None
    for part in parts:  # back to what is gone: what the client has fetched already does not count
        source._consumer.seek(part, 0)
    assert len(read(source, 10)) == 10
    assert sum(gap.messages for gap in told) == 70


def test_two_workers_that_start_a_group_together_begin_at_the_end(
    topics: Topics, make: Callable[..., Source]
) -> None:
    """Neither takes the partitions of the other for new ones."""
    topics.feed(numbered(100))
    told: list[Gap] = []
    one, two = make("a", told=told), make("b", told=told)
    deadline = time.monotonic() + 30
    while not (one.lag() and two.lag()) and time.monotonic() < deadline:
        assert one.poll(100, 0.1) == two.poll(100, 0.1) == []
    assert sum([*one.lag().values(), *two.lag().values()]) == 0
    assert told == []


def _ends(topics: Topics, parts: list[ClientTopicPartition]) -> dict[ClientTopicPartition, int]:
    with contextlib.closing(KafkaConsumer(**client_options(topics.kafka))) as consumer:
        return dict(consumer.end_offsets(parts))
