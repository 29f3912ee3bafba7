"""What a broker takes and the client cannot parse: every neighbour is read, and the stream goes on."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import CorruptRecordError
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import calc_crc32c, decode_varint

from tests.support.brokers import KafkaCluster
from tests.support.stream import Stream, Topics, assert_each_once, numbered
from tests.support.topics import Topics as WorkerTopics
from worker.kafka import guards
from worker.kafka.options import client_options
from worker.kafka.records import HeaderName
from worker.kafka.source import Source
from worker.settings.groups import KafkaSettings
from worker.types import TopicPartition

NAME = b"caf\xe9"


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    return Topics(settings, unique).create(partitions=1)


def send_batch(kafka: KafkaSettings, topic: str, values: list[bytes], bad: Iterable[int]) -> None:
    """One batch in partition 0, in which some records have a header name that is not UTF-8."""
    producer = KafkaProducer(**client_options(kafka), linger_ms=2_000, batch_size=1 << 20)
    name, odd = HeaderName(NAME, "utf-8", "surrogateescape"), set(bad)
    for number, value in enumerate(values):
        headers = [("plain", b"1"), (name, b"2")] if number in odd else [("plain", b"1")]
        producer.send(topic, value=value, key=value[:100], headers=headers, partition=0)
    producer.flush(timeout=30)
    producer.close()


@pytest.mark.parametrize(
    ("size", "bad"),
    [
        (1, [0]),
        (2, [0]),
        (2, [1]),
        (3, [1]),
        (3, [0, 1, 2]),
        (40, [7, 8]),
        (500, [0]),
        (500, [250]),
        (500, [499]),
        (500, [3, 499]),
    ],
)
def test_a_header_name_that_is_not_utf_8_goes_through_byte_for_byte(
    topics: Topics, size: int, bad: list[int]
) -> None:
    fed = numbered(size)
    send_batch(topics.kafka, topics.source.topics[0], fed, bad)
    stream = Stream(topics).open()
    stream.run(size)
    stream.close()
    rows = topics.read()
    assert_each_once(fed, rows)
    odd = {row.value for row in rows if NAME in [name.encode("utf-8") for name, _ in row.headers]}
    assert odd == {fed[number] for number in bad}


def test_after_a_restart_in_the_midst_of_such_a_batch_reading_goes_on(topics: Topics) -> None:
    fed = numbered(60)
    send_batch(topics.kafka, topics.source.topics[0], fed, [10, 40])
    done = 0
    while done < len(fed):
        stream = Stream(topics).open()
        deadline = time.monotonic() + 30
        records = stream.read(5.0, max_messages=15)
        while not records:
            assert time.monotonic() < deadline, f"nothing comes after {done}"
            records = stream.read(5.0, max_messages=15)
        stream.write(records)
        done += len(records)
        stream.close()
    assert_each_once(fed, topics.read())


def test_the_client_alone_cannot_read_such_a_batch(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    send_batch(topics.kafka, topics.source.topics[0], numbered(3), [1])
    monkeypatch.setattr(memory_records, "DefaultRecordBatch", DefaultRecordBatch)
    options = client_options(topics.kafka)
    consumer = KafkaConsumer(topics.source.topics[0], **options, auto_offset_reset="earliest")
    with pytest.raises(CorruptRecordError):  # noqa: PT012 - some poll raises, the first may be empty
        for _ in range(50):
            consumer.poll(timeout_ms=200)
    assert guards.stuck_partition(consumer) is not None
    consumer.close()


def rewrite(cluster: KafkaCluster, topic: str, change: Any) -> None:
    """Change the only batch of a topic on disk while its broker is down; its checksum is made right again."""
    cluster.stop()
    segment = cluster.nodes[0].partition_folder(topic, 0) / "00000000000000000000.log"
    data = bytearray(segment.read_bytes())
    change(data)
    start = DefaultRecordBatch.ATTRIBUTES_OFFSET
    data[start - 4 : start] = calc_crc32c(memoryview(data)[start:]).to_bytes(4, "big")
    segment.write_bytes(data)
    cluster.start()


def break_records(*numbers: int) -> Any:
    def change(data: bytearray) -> None:
        pos, number = DefaultRecordBatch.HEADER_STRUCT.size, 0
        while pos < len(data):
            length, start = decode_varint(data, pos)
            pos = start + length
            if number in numbers:
                data[start + 1 : pos] = b"\xff" * (length - 1)  # a number that never ends
            number += 1

    return change


@pytest.mark.parametrize("bad", [[0], [4, 5], [9]])
def test_a_record_that_cannot_be_parsed_is_told_and_its_neighbours_are_read(
    cluster: KafkaCluster, unique: str, bad: list[int]
) -> None:
    topics = Topics(KafkaSettings(bootstrap_servers=[cluster.bootstrap]), unique).create(partitions=1)
    fed = numbered(10)
    send_batch(topics.kafka, topics.source.topics[0], fed, [])
    rewrite(cluster, topics.source.topics[0], break_records(*bad))
    told: list[tuple[TopicPartition, int, int]] = []
    source = Source(topics.kafka, topics.source, "0", on_corrupt=lambda *place: told.append(place))
    read: list[bytes] = []
    deadline = time.monotonic() + 60
    while (len(read) < len(fed) - len(bad) or len(told) < len(bad)) and time.monotonic() < deadline:
        read += [record.value or b"" for record in source.poll(100, 0.2)]
    assert source.poll(100, 0.5) == []
    assert set(source.lag().values()) == {0}
    source.close()
    assert read == [value for number, value in enumerate(fed) if number not in bad]
    assert told == [(TopicPartition(topics.source.topics[0], 0), number, number) for number in bad]


@pytest.mark.timeout(180)
def test_a_worker_answers_such_a_batch_stays_well_and_drains(kafka: str, unique: str, tmp_path: Path) -> None:
    topics = WorkerTopics(kafka, unique)
    topics.create()
    values = [json.dumps({"text": f"what a lovely day {number}"}).encode() for number in range(30)]
    values[3] = values[11] = b'{"text": broken'
    send_batch(topics.kafka, topics.posts, values, [0, 3, 17, 29])
    worker = topics.worker("0", tmp_path)
    worker.start()
    worker.wait_ready()
    labelled = Topics(topics.kafka, unique)
    deadline = time.monotonic() + 60
    while len(labelled.read(topics.moods)) + len(labelled.read(topics.dead)) < len(values):
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.5)
    assert worker.get("/readyz")[0] == worker.get("/healthz")[0] == 200
    assert worker.terminate() == 0
    outputs, dead = labelled.read(topics.moods), labelled.read(topics.dead)
    assert (len(outputs), len(dead)) == (28, 2)
    odd = [row for row in [*outputs, *dead] if NAME in [name.encode("utf-8") for name, _ in row.headers]]
    assert len(odd) == 4
    assert {row.value for row in dead} == {b'{"text": broken'}
