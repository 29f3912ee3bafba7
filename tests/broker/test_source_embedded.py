"""The source on the embedded broker."""

import socket
import threading
import time

import pytest
from structlog.testing import capture_logs

from tests.support.stream import (
    PARTITIONS,
    Stream,
    Topics,
    assert_each_once,
    join_while_another_is_busy,
    numbered,
)
from worker.demo.broker import EmbeddedBroker
from worker.errors import BrokerUnavailable
from worker.kafka.probe import probe
from worker.kafka.retry import first_connection
from worker.kafka.source import Source
from worker.kafka.topics import TopicSpec, create_topics, missing_topics, partition_counts, topic_names
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.types import Record


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    return Topics(settings, unique).create()


def _read(source: Source, count: int, timeout_s: float = 20.0) -> list[Record]:
    found: list[Record] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline:
        found += source.poll(100, 0.2)
    return found


def _shares(source: Source, count: int, timeout_s: float = 20.0) -> bool:
    """Whether it has that many partitions within the time, and is a member of the group."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        source.poll(10, 0.1)
        if source.joined and len(source.assignment()) == count:
            return True
    return False


def test_records_come_in_order_and_the_lag_is_what_is_left(settings: KafkaSettings, unique: str) -> None:
    topics = Topics(settings, unique).create(partitions=1)
    fed = topics.feed(numbered(200))
    source = Source(topics.kafka, topics.source, "0")
    records = _read(source, len(fed))
    assert sorted(record.value or b"" for record in records) == fed
    offsets = [record.offset for record in records]
    assert offsets == sorted(offsets)
    assert source.lag() == dict.fromkeys(source.assignment(), 0)
    assert source.rebalances == 1
    topics.feed(numbered(30, start=200))
    source.poll(1, 2.0)
    assert sum(source.lag().values()) == 29
    source.close()


def test_the_group_goes_on_when_a_member_leaves_in_the_midst_of_its_first_join(topics: Topics) -> None:
    """This broker ends no session: a member that is left in the group would make it wait for ever."""
    first, second = (Source(topics.kafka, topics.source, slot) for slot in "ab")
    assert _shares(first, PARTITIONS)
    for _ in range(2):  # the broker answers when the first has joined again, which it does in its next poll
        second.poll(10, 0.1)
    assert not second.assignment()
    second.leave()
    first.close()  # dies in the join, as it may, and its successor finds the group
    successor = Source(topics.kafka, topics.source, "a")
    assert _shares(successor, PARTITIONS)
    successor.close()


def test_two_that_join_at_any_distance_both_get_in(settings: KafkaSettings, unique: str) -> None:
    """This broker forgets both joins if the second comes in the moment in which the first one's wait ends."""
    for number in range(6):
        topics = Topics(settings, f"{unique}-{number}").create()
        sources = [Source(topics.kafka, topics.source, slot) for slot in "ab"]
        threads = [threading.Thread(target=_shares, args=(source, PARTITIONS // 2, 40)) for source in sources]
        threads[0].start()
        time.sleep(0.26 + 0.02 * number)
        threads[1].start()
        for thread in threads:
            thread.join()
        shares = [len(source.assignment()) for source in sources]
        for source in sources:
            source.leave()
            source.close()
        assert shares == [PARTITIONS // 2] * 2


def test_a_join_that_waits_long_is_sent_again_and_nothing_is_amiss(topics: Topics) -> None:
    with capture_logs() as told:
        assert join_while_another_is_busy(topics) == (PARTITIONS // 2, PARTITIONS // 2)
    again = [line for line in told if "joining again" in line["event"]]
    assert 1 <= len(again) <= 2


def test_what_is_not_committed_is_read_again_after_a_rewind(topics: Topics) -> None:
    fed = topics.feed(numbered(60))
    stream = Stream(topics).open()
    stream.run(20)
    already = len(topics.read())
    dropped = stream.read(5.0)
    assert dropped
    stream.source.rewind()
    assert stream.source.in_flight == (0, 0)
    stream.run(len(fed) - already)
    stream.close()
    assert_each_once(fed, topics.read())


def test_a_full_source_reads_no_more_until_it_is_settled(topics: Topics) -> None:
    topics.feed(numbered(100))
    settings = topics.source.model_copy(update={"max_in_flight_messages": 10})
    source = Source(topics.kafka, settings, "0")
    records = _read(source, 10)
    assert len(records) == 10
    for _ in range(3):
        assert source.poll(100, 0.1) == []
    assert source.in_flight[0] == 10
    source.release(records)
    assert len(_read(source, 10)) == 10
    source.close()


def test_large_records_stay_under_the_bound_of_bytes(settings: KafkaSettings, unique: str) -> None:
    topics = Topics(settings, unique).create()
    fed = topics.feed([b"%04d" % number + b"x" * 40_000 for number in range(30)])
    source = Source(settings, topics.source.model_copy(update={"max_in_flight_bytes": 100_000}), "0")
    seen: list[bytes] = []
    deadline = time.monotonic() + 30
    while len(seen) < len(fed) and time.monotonic() < deadline:
        records = source.poll(100, 0.2)
        assert source.in_flight[1] <= 100_000
        seen += [record.value or b"" for record in records]
        source.release(records)
    assert sorted(seen) == fed
    source.close()


def test_latest_begins_at_the_end_and_stays_there_over_a_crash(topics: Topics) -> None:
    """The second source finds what came while the first was there, though nothing was ever processed."""
    topics.feed(numbered(20))
    latest = topics.source.model_copy(update={"auto_offset_reset": "latest"})
    first = Source(topics.kafka, latest, "0")
    deadline = time.monotonic() + 20
    while not first.assignment() and time.monotonic() < deadline:
        assert first.poll(100, 0.2) == []
    fed = topics.feed(numbered(20, start=20))
    first.close()
    second = Source(topics.kafka, latest, "0")
    assert sorted(record.value or b"" for record in _read(second, 20)) == fed
    second.close()


def test_a_broker_that_restarts_is_waited_for(own_broker: EmbeddedBroker, unique: str) -> None:
    topics = Topics(KafkaSettings(bootstrap_servers=[own_broker.bootstrap]), unique).create()
    stream = Stream(topics).open().join()
    stream.run(len(topics.feed(numbered(50))))
    time.sleep(1.5)  # this broker writes to disk a second late
    own_broker.kill()
    assert stream.read(0.2) == []
    own_broker.start()
    stream.run(len(topics.feed(numbered(50, start=50))))
    stream.close()
    assert_each_once(numbered(100), topics.read())


def test_a_dead_address_does_not_hold_up_a_living_one(settings: KafkaSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = [f"127.0.0.1:{silent.getsockname()[1]}", *settings.bootstrap_servers]
        started = time.monotonic()
        probe(KafkaSettings(bootstrap_servers=servers))
        assert time.monotonic() - started < 2


def test_the_first_connection_finds_the_broker(settings: KafkaSettings) -> None:
    told: list[str] = []
    first_connection(settings, limit_s=5, say=lambda reason, _: told.append(reason))
    assert told == []


def test_topics_are_made_once_and_missed_by_name(settings: KafkaSettings, unique: str) -> None:
    spec = TopicSpec(unique, PARTITIONS, 1)
    assert missing_topics(settings, [unique]) == [unique]
    assert create_topics(settings, [spec]) == {unique: "created"}
    assert create_topics(settings, [spec]) == {unique: "exists"}
    assert missing_topics(settings, [unique, "nowhere"]) == ["nowhere"]
    assert partition_counts(settings, [unique]) == {unique: PARTITIONS}
    assert unique in topic_names(settings)


def test_a_topic_that_is_missing_is_not_made_by_reading(settings: KafkaSettings, unique: str) -> None:
    source = Source(settings, SourceSettings(topics=[unique], group_id=unique), "0")
    for _ in range(3):
        assert source.poll(10, 0.1) == []
    source.close()
    assert missing_topics(settings, [unique]) == [unique]


def test_asking_for_topics_without_a_broker_says_why() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = KafkaSettings(bootstrap_servers=[f"127.0.0.1:{taken.getsockname()[1]}"])
        with pytest.raises(BrokerUnavailable, match="does not listen"):
            missing_topics(nobody, ["posts"])
