"""The source as a member of a real group: sharing, fencing, and a batch that is damaged on disk."""

import time
from collections.abc import Callable

import pytest
from kafka import KafkaProducer
from structlog.testing import capture_logs

from tests.support.brokers import KafkaCluster
from tests.support.stream import (
    PARTITIONS,
    SESSION_MS,
    Running,
    Stream,
    Topics,
    assert_each_once,
    join_while_another_is_busy,
    numbered,
)
from worker.errors import Fenced
from worker.kafka.options import client_options
from worker.kafka.outcome import Outcome
from worker.kafka.source import Source
from worker.kafka.topics import TopicSpec, create_topics, missing_topics, partition_counts
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.types import TopicPartition


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    return Topics(settings, unique).create()


def test_a_second_member_takes_its_share_and_gives_it_back(topics: Topics) -> None:
    """Records in flight while the group shares anew are neither lost nor doubled."""
    first = Running(lambda: Stream(topics, "a").open())
    fed = topics.feed(numbered(400))
    first.wait_committed(100)
    second = Running(lambda: Stream(topics, "b").open())
    while second.committed < 100:  # so that there is always something in flight
        assert len(fed) < 20_000, "the second member gets nothing"
        fed += topics.feed(numbered(50, start=len(fed)))
        time.sleep(0.1)
    second.stop()
    fed += topics.feed(numbered(200, start=len(fed)))
    # A static member's partitions stay its own until its session ends.
    _until(lambda: first.committed + second.committed >= len(fed), SESSION_MS / 1_000 + 30)
    first.stop()
    assert first.error is None
    assert second.error is None
    assert_each_once(fed, topics.read())
    assert first.stream is not None
    assert first.stream.source.rebalances >= 3


def test_a_join_that_waits_long_is_sent_again_and_nothing_is_amiss(topics: Topics) -> None:
    """A real broker forgets no join, so that is sent again in vain, and must do no harm."""
    with capture_logs() as told:
        assert join_while_another_is_busy(topics) == (PARTITIONS // 2, PARTITIONS // 2)
    assert any("joining again" in line["event"] for line in told)


def test_a_pattern_reads_every_topic_whose_whole_name_matches_also_a_later_one(
    settings: KafkaSettings, unique: str
) -> None:
    kafka = settings.model_copy(update={"metadata_max_age_ms": 1_000})
    topics = Topics(kafka, unique).create()
    topics.source = SourceSettings(
        topic_pattern=rf"{unique}\.(in|later)", group_id=unique, session_timeout_ms=SESSION_MS
    )
    create_topics(kafka, [TopicSpec(f"{unique}.in.not", 1, 1)])
    stream = Running(lambda: Stream(topics, "a").open())
    fed = _write(kafka, f"{unique}.in", numbered(20))
    _write(kafka, f"{unique}.in.not", numbered(5, start=100))
    stream.wait_committed(20)
    create_topics(kafka, [TopicSpec(f"{unique}.later", 2, 1)])
    fed += _write(kafka, f"{unique}.later", numbered(20, start=200))
    stream.wait_committed(40)
    stream.stop()
    assert stream.error is None
    assert_each_once(fed, topics.read())


def test_a_pattern_that_nothing_matches_yet_waits(settings: KafkaSettings, unique: str) -> None:
    kafka = settings.model_copy(update={"metadata_max_age_ms": 1_000})
    topics = Topics(kafka, unique)
    topics.create()
    topics.source = SourceSettings(topic_pattern=rf"{unique}\.new.*", group_id=unique)
    stream = Running(lambda: Stream(topics, "a").open())
    time.sleep(2)
    assert stream.error is None
    create_topics(kafka, [TopicSpec(f"{unique}.new-1", 1, 1)])
    fed = _write(kafka, f"{unique}.new-1", numbered(10))
    stream.wait_committed(10)
    stream.stop()
    assert_each_once(fed, topics.read())


def _write(kafka: KafkaSettings, topic: str, values: list[bytes]) -> list[bytes]:
    producer = KafkaProducer(**client_options(kafka))
    for value in values:
        producer.send(topic, value=value, key=value)
    producer.flush(timeout=30)
    producer.close()
    return values


def test_a_rebalance_changes_the_generation_and_voids_what_was_read(topics: Topics) -> None:
    fed = topics.feed(numbered(200))
    first = Stream(topics, "a").open().join()
    kept = first.read(5.0)
    snapshot, generation = first.source.snapshot(), first.source.generation
    assert kept
    second = Running(lambda: Stream(topics, "b").open())
    _until(lambda: not first.read(0.1) and first.source.generation != generation, 20)
    assert first.source.in_flight == (0, 0)
    # What was read before it, committed late with the snapshot of its own poll, is refused by the broker.
    assert first.write(kept, snapshot) is Outcome.ABORTED
    deadline = time.monotonic() + 60
    while len(topics.read()) < len(fed) and time.monotonic() < deadline:
        first.step()
    second.stop()
    first.close()
    assert_each_once(fed, topics.read())


def test_a_member_that_leaves_hands_its_partitions_over_at_once(topics: Topics) -> None:
    """A static member that only disconnects keeps them until its session ends."""
    first = Source(topics.kafka, topics.source, "a")
    _until(lambda: not first.poll(10, 0.1) and len(first.assignment()) == PARTITIONS, 20)
    second = Running(lambda: Stream(topics, "b").open())
    _until(lambda: not first.poll(10, 0.1) and len(first.assignment()) < PARTITIONS, 30)
    started = time.monotonic()
    first.leave()
    _until(lambda: second.stream is not None and len(second.stream.source.assignment()) == PARTITIONS, 20)
    took = time.monotonic() - started
    second.stop()
    assert took < SESSION_MS / 1_000


def test_a_member_that_leaves_in_the_midst_of_its_first_join_leaves_nothing_behind(topics: Topics) -> None:
    """It has no member id yet. Left in, it is given a share that nobody reads until its session ends."""
    sessions = topics.source.model_copy(update={"session_timeout_ms": 60_000})
    first, second = (Source(topics.kafka, sessions, slot) for slot in "ab")
    _until(lambda: not first.poll(10, 0.1) and len(first.assignment()) == PARTITIONS, 20)
    for _ in range(3):  # the broker answers when the first has joined again, which it does in its next poll
        second.poll(10, 0.1)
    assert not second.assignment()
    second.leave()
    generation = first.generation
    started = time.monotonic()
    _until(lambda: not first.poll(10, 0.1) and first.generation != generation, 20)
    _until(lambda: not first.poll(10, 0.1) and len(first.assignment()) == PARTITIONS, 20)
    assert time.monotonic() - started < 20
    first.close()


def test_an_idle_source_notices_a_twin_in_its_slot(topics: Topics) -> None:
    """The client itself polls on in silence; nothing is written here that a broker could refuse."""
    first = Source(topics.kafka, topics.source, "0")
    _until(lambda: not first.poll(10, 0.1) and bool(first.assignment()), 20)
    twin = Source(topics.kafka, topics.source, "0")
    _until(lambda: not twin.poll(10, 0.1) and bool(twin.assignment()), 20)
    started = time.monotonic()
    with pytest.raises(Fenced, match=r"delivery\.slot"):
        _until(lambda: bool(first.poll(10, 0.2)), 15)
    assert time.monotonic() - started < 10
    assert twin.poll(10, 0.1) == []  # the newer one stays
    for source in (first, twin):
        source.close()


def test_a_topic_that_is_missing_stays_missing(
    make_cluster: Callable[..., KafkaCluster], unique: str
) -> None:
    """Also where brokers make topics for whoever asks, as most do by default."""
    cluster = make_cluster(1, properties={"auto.create.topics.enable": "true"})
    settings = KafkaSettings(bootstrap_servers=[cluster.bootstrap])
    source = Source(settings, SourceSettings(topics=[unique], group_id=unique), "0")
    for _ in range(10):
        assert source.poll(10, 0.2) == []
    source.close()
    assert missing_topics(settings, [unique]) == [unique]
    assert partition_counts(settings, [unique]) == {}


def test_a_batch_damaged_on_disk_is_passed_over_and_told(cluster: KafkaCluster, unique: str) -> None:
    """Three batches, the middle one damaged while the broker is down: its records are told, the rest come."""
    topics = Topics(KafkaSettings(bootstrap_servers=[cluster.bootstrap]), unique).create(partitions=1)
    for start in (0, 10, 20):
        topics.feed(numbered(10, start=start))
    cluster.stop()
    segment = cluster.nodes[0].partition_folder(topics.source.topics[0], 0) / "00000000000000000000.log"
    data = bytearray(segment.read_bytes())
    data[data.index(b"message 000015")] ^= 0xFF
    segment.write_bytes(data)
    cluster.start()
    told: list[tuple[TopicPartition, int, int]] = []
    source = Source(topics.kafka, topics.source, "0", on_corrupt=lambda *place: told.append(place))
    read: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(read) < 20 and time.monotonic() < deadline:
        read += [record.value or b"" for record in source.poll(100, 0.2)]
    source.close()
    assert read == numbered(10) + numbered(10, start=20)
    assert told == [(TopicPartition(topics.source.topics[0], 0), offset, offset) for offset in range(10, 20)]


def _until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)
