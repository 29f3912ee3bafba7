"""Each guard does what it is for, and the fault that it answers is still in the client.

When a test named «…_without_the_guard» fails, the client has been mended and the guard can go.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaError, OutOfOrderSequenceNumberError
from kafka.structs import MemberState, TopicPartition

from tests.support.brokers import KafkaCluster
from tests.support.stream import Topics
from worker.kafka import guards
from worker.kafka.consumer import consumer_options
from worker.kafka.outcome import unwrap
from worker.kafka.producer import producer_options
from worker.settings.groups import DeliverySettings, KafkaSettings

Protect = Callable[[KafkaProducer], None]


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    return Topics(settings, unique).create(partitions=1)


@pytest.fixture
def make(topics: Topics) -> Iterator[Callable[[Protect], KafkaProducer]]:
    """A transactional producer with the settings of the checkpoint and the guards of the test's choice."""
    made: list[KafkaProducer] = []

    def producer(protect: Protect) -> KafkaProducer:
        options = producer_options(topics.kafka, topics.sink, DeliverySettings())
        made.append(KafkaProducer(**options, transactional_id=topics.name, transaction_timeout_ms=30_000))
        protect(made[-1])
        made[-1].init_transactions()
        return made[-1]

    yield producer
    for one in made:
        guards.discard(one)


def _lose_count(producer: KafkaProducer, topics: Topics) -> None:
    """A transaction whose second batch carries a sequence number that the broker does not expect."""
    part = TopicPartition(topics.sink.topic, 0)
    producer.begin_transaction()
    producer.send(part.topic, value=b"first", partition=0)
    producer.flush(timeout=10)
    manager: Any = producer._transaction_manager
    manager.set_sequence_number(part, manager.sequence_number(part) + 7)
    producer.send(part.topic, value=b"second", partition=0)


def test_a_sequence_error_makes_the_commit_fail(
    make: Callable[[Protect], KafkaProducer], topics: Topics
) -> None:
    producer = make(guards.protect)
    _lose_count(producer, topics)
    with pytest.raises(KafkaError) as failure:
        producer.commit_transaction()
    cause = guards.transaction_error(producer) or unwrap(failure.value)
    assert isinstance(cause, OutOfOrderSequenceNumberError)
    assert topics.read() == []


def test_a_sequence_error_loses_the_whole_transaction_in_silence_without_the_guard(
    make: Callable[[Protect], KafkaProducer], topics: Topics
) -> None:
    producer = make(lambda _: None)
    _lose_count(producer, topics)
    producer.commit_transaction()  # returns as if all were well
    assert topics.read() == []


def _coordinator_goes_away(producer: KafkaProducer) -> None:
    """The next connection to a coordinator fails once, as when its broker has just died."""
    client: Any = producer._sender._client
    await_ready, failures = client.await_ready, [KafkaConnectionError("Node 1 not ready after 8000 ms")]

    def failing(node_id: Any, timeout_ms: float = 30_000) -> bool:
        if armed.is_set() and failures:
            raise failures.pop()
        return bool(await_ready(node_id, timeout_ms=timeout_ms))

    armed = threading.Event()
    client.await_ready = failing
    producer.arm = armed.set


def _commit_in_a_thread(producer: KafkaProducer, topic: str) -> threading.Thread:
    producer.begin_transaction()
    producer.send(topic, value=b"value", partition=0)
    producer.flush(timeout=10)
    producer.arm()
    thread = threading.Thread(target=lambda: _quietly(producer.commit_transaction), daemon=True)
    thread.start()
    thread.join(5)
    return thread


def _quietly(call: Callable[[], None]) -> None:
    with contextlib.suppress(KafkaError):
        call()


def test_a_coordinator_that_goes_away_is_looked_up_again(
    make: Callable[[Protect], KafkaProducer], topics: Topics
) -> None:
    def protect(producer: KafkaProducer) -> None:
        _coordinator_goes_away(producer)
        guards.protect(producer)

    thread = _commit_in_a_thread(make(protect), topics.sink.topic)
    assert not thread.is_alive()
    assert [row.value for row in topics.read()] == [b"value"]


def test_a_coordinator_that_goes_away_hangs_the_commit_without_the_guard(
    make: Callable[[Protect], KafkaProducer], topics: Topics
) -> None:
    assert _commit_in_a_thread(make(_coordinator_goes_away), topics.sink.topic).is_alive()


def _join_that_ends_between_two_polls(
    topics: Topics, before_poll: Callable[[KafkaConsumer], None]
) -> tuple[str, int]:
    """A leader whose topic got partitions joins anew; its poll ends before the join does.

    Returns its state in the end, and how many joins more there were.
    """
    consumer = _consumer(topics)
    with contextlib.closing(consumer):
        _subscribe(consumer, topics)
        _poll_until_stable(consumer, lambda _: None)
        coordinator: Any = consumer._coordinator
        coordinator._assignment_snapshot = {topics.source.topics[0]: {0, 1, 2, 3, 4}}
        before = consumer.group_metadata().generation_id
        consumer.poll(timeout_ms=0)
        deadline = time.monotonic() + 20
        while consumer.group_metadata().generation_id == before and time.monotonic() < deadline:
            time.sleep(0.05)
        generation = consumer.group_metadata().generation_id
        state = _poll_until_stable(consumer, before_poll)
        return state, consumer.group_metadata().generation_id - generation


def _consumer(topics: Topics) -> KafkaConsumer:
    """With a reset policy: nothing sets its positions here."""
    return KafkaConsumer(
        **consumer_options(topics.kafka, topics.source, "0") | {"auto_offset_reset": "earliest"}
    )


def _subscribe(consumer: KafkaConsumer, topics: Topics) -> None:
    """As the service does: a leader that learns of the partitions after its join would join once more."""
    consumer.subscribe(topics.source.topics)
    guards.know_topics(consumer, topics.source.topics)


def _poll_until_stable(consumer: KafkaConsumer, before_poll: Callable[[KafkaConsumer], None]) -> str:
    deadline = time.monotonic() + 5
    while consumer.group_metadata().state != MemberState.STABLE and time.monotonic() < deadline:
        before_poll(consumer)
        consumer.poll(timeout_ms=100)
    return str(consumer.group_metadata().state)


def test_a_join_that_ends_between_two_polls_is_taken_up(topics: Topics) -> None:
    """Without another one, which would make every other member join again."""
    assert _join_that_ends_between_two_polls(topics, guards.finish_join) == (str(MemberState.STABLE), 0)


def test_a_join_that_ends_between_two_polls_is_lost_without_the_guard(topics: Topics) -> None:
    state, _ = _join_that_ends_between_two_polls(topics, lambda _: None)
    assert state == str(MemberState.REBALANCING)


def test_a_consumer_knows_its_topics_before_it_joins(topics: Topics) -> None:
    consumer = _consumer(topics)
    with contextlib.closing(consumer):
        _subscribe(consumer, topics)
        assert consumer._cluster.partitions_for_topic(topics.source.topics[0])
        assert consumer.group_metadata().state is MemberState.UNJOINED


def test_a_leader_that_knows_no_partitions_leaves_its_successor_without_any(topics: Topics) -> None:
    """Why it matters: the second consumer knows the topic, and is given nothing all the same."""
    first = _consumer(topics)
    first._cluster.partitions_for_topic = lambda _topic: None
    first.subscribe(topics.source.topics)
    _poll_until_stable(first, lambda _: None)
    assert first.assignment() == set()
    first.close(autocommit=False)  # a static member does not leave the group when it closes
    second = _consumer(topics)
    with contextlib.closing(second):
        _subscribe(second, topics)
        _poll_until_stable(second, guards.finish_join)
        for _ in range(20):
            guards.finish_join(second)
            second.poll(timeout_ms=100)
        assert second.assignment() == set()


def test_a_discarded_producer_stops_sending(cluster: KafkaCluster, unique: str) -> None:
    """With its broker gone it would go on for as long as it takes to deliver."""
    topics = Topics(KafkaSettings(bootstrap_servers=[cluster.bootstrap]), unique).create()
    producer = KafkaProducer(**producer_options(topics.kafka, topics.sink, DeliverySettings()))
    producer.partitions_for(topics.sink.topic)
    cluster.kill()
    producer.send(topics.sink.topic, value=b"v", key=b"k")
    started = time.monotonic()
    guards.discard(producer)
    assert time.monotonic() - started < 1
    producer._sender.join(10)
    assert not producer._sender.is_alive()


def test_topics_are_not_made_by_asking_for_them(
    make: Callable[[Protect], KafkaProducer], topics: Topics
) -> None:
    producer = make(guards.refuse_topic_creation)
    assert producer._metadata.metadata_request().allow_auto_topic_creation is False
    assert make(lambda _: None)._metadata.metadata_request().allow_auto_topic_creation is True


def test_a_broker_that_waits_is_asked_as_before(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rests are for brokers that do not wait: Apache Kafka keeps an empty fetch for half a second."""
    rested: list[float] = []

    def rest(seconds: float) -> None:
        rested.append(seconds)

    consumer = _consumer(topics)
    with contextlib.closing(consumer):
        guards.rest_between_empty_answers(consumer)
        _subscribe(consumer, topics)
        _poll_until_stable(consumer, guards.finish_join)
        consumer.poll(timeout_ms=1_000)
        monkeypatch.setattr(guards, "time", SimpleNamespace(monotonic=time.monotonic, sleep=rest))
        for text in (b"one", b"two"):
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                assert not consumer.poll(timeout_ms=500)
            topics.feed([text])
            [[row]] = consumer.poll(timeout_ms=5_000).values()
            assert row.value == text
    assert rested == []
