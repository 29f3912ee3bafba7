"""Messages that stopped the stream once, through a whole worker on Apache Kafka: each gets its answer."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.support.topics import Topics
from tests.support.workers import WorkerProcess
from worker.errors import ExitCode
from worker.kafka.limits import HOUR_MS, read_limits
from worker.kafka.options import client_options
from worker.kafka.topics import TopicSpec, create_topics

GOOD = [b'{"text": "so good %d"}' % number for number in range(40)]


def _create(topics: Topics, **configs: dict[str, str]) -> None:
    names = {"posts": topics.posts, "moods": topics.moods, "dead": topics.dead}
    create_topics(
        topics.kafka, [TopicSpec(name, 1, 1, configs.get(kind, {})) for kind, name in names.items()]
    )


def _feed(topics: Topics, bad: dict[int, dict[str, Any]], key: bytes | None = b"k", **options: Any) -> int:
    """Send the good messages with bad ones between them. How many in all."""
    producer = KafkaProducer(**client_options(topics.kafka), max_request_size=2**25, **options)
    sent = 0
    for number, value in enumerate(GOOD):
        for record in [bad[number]] if number in bad else []:
            producer.send(topics.posts, **{"key": b"bad", "partition": 0, **record}).get(timeout=20)
            sent += 1
        producer.send(topics.posts, key=key, value=value, partition=0).get(timeout=20)
        sent += 1
    producer.close()
    return sent


def _read(topics: Topics, name: str) -> list[Any]:
    consumer = KafkaConsumer(
        **client_options(topics.kafka), isolation_level="read_committed", auto_offset_reset="earliest"
    )
    part = TopicPartition(name, 0)
    consumer.assign([part])
    end, rows = consumer.end_offsets([part])[part], []
    deadline = time.monotonic() + 20
    while (consumer.position(part) or 0) < end and time.monotonic() < deadline:
        rows += [row for found in consumer.poll(timeout_ms=200).values() for row in found]
    consumer.close()
    return rows


def _answered(topics: Topics, worker: WorkerProcess, count: int) -> tuple[list[Any], list[Any]]:
    """All outputs and dead letters, once there are `count`; the worker is never started again."""
    worker.start()
    worker.wait_ready()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        outputs, letters = _read(topics, topics.moods), _read(topics, topics.dead)
        if len(outputs) + len(letters) >= count:
            break
        assert worker.running, worker.tail()
        time.sleep(0.5)
    assert len(outputs) + len(letters) == count, worker.tail()
    assert worker.terminate() == ExitCode.OK
    assert "Traceback" not in worker.log.read_text()
    return outputs, letters


def test_times_that_the_output_topic_refuses(kafka: str, unique: str, tmp_path: Path) -> None:
    """Two days ahead, in microseconds; of a message and of one that becomes a dead letter."""
    topics = Topics(kafka, unique)
    _create(topics, posts={"message.timestamp.after.max.ms": str(2**62)})
    now_ms = int(time.time() * 1_000)
    ahead, micros = now_ms + 48 * HOUR_MS, now_ms * 1_000
    bad: dict[int, dict[str, Any]] = {
        0: {"value": b'{"text": "ahead"}', "timestamp_ms": ahead},
        20: {"value": b"{broken", "timestamp_ms": ahead},
        39: {"value": b'{"text": "micros"}', "timestamp_ms": micros},
    }
    outputs, letters = _answered(topics, topics.worker("0", tmp_path), _feed(topics, bad))
    odd = [row for row in outputs if row.key == b"bad"]
    assert [json.loads(row.value)["event_time_ms"] for row in odd] == [ahead, micros]
    [letter] = letters
    assert dict(letter.headers)["moodstream.timestamp"] == str(ahead).encode()
    for row in [*odd, letter]:
        assert abs(row.timestamp - now_ms) < HOUR_MS


def test_records_too_large_for_their_topics(kafka: str, unique: str, tmp_path: Path) -> None:
    topics = Topics(kafka, unique)
    small = {"max.message.bytes": "100000"}
    _create(topics, posts={"max.message.bytes": str(2**24)}, moods=small, dead=small)
    long_text, broken = os.urandom(150_000).hex(), b"{" + os.urandom(1_048_300)
    bad: dict[int, dict[str, Any]] = {
        5: {"value": json.dumps({"text": long_text}).encode()},
        11: {"value": broken},
        12: {"value": b'{"text": "large header"}', "headers": [("h", os.urandom(200_000))]},
    }
    worker = topics.worker("0", tmp_path, MOODSTREAM_SINK__INCLUDE_TEXT="true")
    outputs, letters = _answered(topics, worker, _feed(topics, bad))
    [shortened] = [json.loads(row.value) for row in outputs if row.key == b"bad"]
    assert shortened["text_omitted"] is True
    assert "text" not in shortened
    headers = [dict(letter.headers) for letter in letters]
    assert [found["moodstream.reason"] for found in headers] == [b"invalid_utf8", b"output_too_large"]
    assert headers[0]["moodstream.value.sha256"] == hashlib.sha256(broken).hexdigest().encode()
    assert headers[0]["moodstream.value.at"] == f"{topics.posts}:0:12".encode()
    warned = [event["topic"] for event in worker.events() if "takes smaller records" in str(event["event"])]
    assert sorted(map(str, warned)) == [topics.dead, topics.moods]


def test_messages_without_a_key_for_a_compacted_topic(kafka: str, unique: str, tmp_path: Path) -> None:
    topics = Topics(kafka, unique)
    compacted = {"cleanup.policy": "compact"}
    _create(topics, moods=compacted, dead=compacted)
    bad: dict[int, dict[str, Any]] = {7: {"value": b'{"text": "no key"}', "key": None}}
    _, [letter] = _answered(topics, topics.worker("0", tmp_path), _feed(topics, bad))
    assert dict(letter.headers)["moodstream.reason"] == b"key_missing"
    assert letter.key == f"{topics.posts}:0:7".encode()


def test_a_limit_that_is_lowered_while_the_worker_runs(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The limits read at the start are wrong then: Kafka refuses, and the record is looked for."""
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    topics = Topics(kafka, unique)
    _create(topics, posts={"max.message.bytes": str(2**24)})
    worker = topics.worker("0", tmp_path, MOODSTREAM_SINK__INCLUDE_TEXT="true")
    worker.start()
    worker.wait_ready()
    admin = KafkaAdminClient(**client_options(topics.kafka))
    for name in (topics.moods, topics.dead):
        change = ConfigResource(ConfigResourceType.TOPIC, name, configs={"max.message.bytes": "20000"})
        admin.alter_configs([change])
    admin.close()
    deadline = time.monotonic() + 10
    while read_limits(topics.kafka, [topics.dead])[topics.dead].max_bytes != 20_000:
        assert time.monotonic() < deadline
    bad: dict[int, dict[str, Any]] = {20: {"value": json.dumps({"text": os.urandom(50_000).hex()}).encode()}}
    started = time.monotonic()
    _, [letter] = _answered(topics, worker, _feed(topics, bad))
    tell(f"a refused record was isolated; all answered after {time.monotonic() - started:.1f} s")
    headers = dict(letter.headers)
    assert headers["moodstream.reason"] == b"refused"
    assert headers["moodstream.value.at"] == f"{topics.posts}:0:20".encode()
    [line] = [event for event in worker.events() if event["event"] == "Kafka refused the output of a message"]
    assert (line["topic"], line["partition"], line["offset"]) == (topics.posts, 0, 20)
