"""The embedded broker: starts fast, stops by its own pid, keeps its data over a crash, says what is wrong."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from worker.demo.broker import EmbeddedBroker
from worker.errors import BrokerError
from worker.kafka import guards


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_takes_a_message_and_gives_it_back() -> None:
    with EmbeddedBroker() as broker:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([NewTopic("posts", 1, 1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        producer.send("posts", b"hello").get(5)
        producer.close()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition("posts", 0)])
        assert _read(consumer, 1) == [b"hello"]
        consumer.close()
        pid = broker.pid
        assert pid is not None
    assert not _alive(pid)


def test_data_outlives_a_crash(tmp_path: Path) -> None:
    with EmbeddedBroker(data_dir=tmp_path / "broker") as broker:
        port = broker.port
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([NewTopic("posts", 1, 1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        producer.send("posts", b"kept").get(5)
        producer.close()
        time.sleep(2.0)  # it writes to the disk a second after it has acknowledged
        broker.kill()
        assert not broker.running
        broker.start()
        assert broker.port == port
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition("posts", 0)])
        assert _read(consumer, 1) == [b"kept"]
        consumer.close()
    assert (tmp_path / "broker").is_dir()


@pytest.mark.parametrize(
    "guard", [guards.rest_between_empty_answers, None], ids=["rests", "without_the_guard"]
)
def test_a_consumer_with_nothing_to_read_asks_some_twenty_times_a_second(
    guard: Callable[[KafkaConsumer], None] | None,
) -> None:
    """Without the guard it asks many hundred times: when that test fails, the broker has learned to wait."""
    with EmbeddedBroker() as broker:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([NewTopic("posts", 1, 1)])
        admin.close()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        asked = _count_fetches(consumer)
        if guard is not None:
            guard(consumer)
        consumer.assign([TopicPartition("posts", 0)])
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        producer.send("posts", b"one").get(5)
        assert _read(consumer, 1) == [b"one"]
        asked.clear()
        started = time.monotonic()
        while time.monotonic() - started < 2.0:
            assert not consumer.poll(timeout_ms=500)
        if guard is None:
            assert len(asked) > 150
            return
        assert 20 < len(asked) < 100
        sender = threading.Timer(0.3, producer.send, ("posts", b"two"))
        sender.start()
        started = time.monotonic()
        assert _read(consumer, 1) == [b"two"]
        assert time.monotonic() - started < 0.3 + 0.5, "a rest ends soon"
        producer.close()
        consumer.close()


def _count_fetches(consumer: KafkaConsumer) -> list[float]:
    """When each fetch was answered."""
    asked: list[float] = []
    handle = consumer._fetcher._handle_fetch_response

    def counted(node_id: int, offsets: Any, sent_at: float, answer: Any) -> None:
        asked.append(sent_at)
        handle(node_id, offsets, sent_at, answer)

    consumer._fetcher._handle_fetch_response = counted
    return asked


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is already in use"), EmbeddedBroker(port=port):
            pytest.fail("it started on a taken port")


def _read(consumer: KafkaConsumer, count: int) -> list[bytes]:
    deadline = time.monotonic() + 10
    values: list[bytes] = []
    while len(values) < count and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=200).values():
            values.extend(record.value for record in batch)
    return values
