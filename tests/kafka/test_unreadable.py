"""What a broker takes and the client cannot parse: every neighbour is read, and the stream goes on."""

import json
import time
from collections.abc import Callable, Iterable
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
from tests.support.workers import WorkerProcess
from worker.kafka import guards
from worker.kafka.options import client_options
from worker.kafka.records import HeaderName
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings.groups import KafkaSettings

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


def test_records_that_cannot_be_parsed_become_dead_letters_of_their_raw_bytes(
    cluster: KafkaCluster, unique: str, tmp_path: Path
) -> None:
    """The first of a batch, two side by side, the last; and a batch that fails its checksum after them."""
    topics = WorkerTopics(cluster.bootstrap, unique)
    create_topics(topics.kafka, [TopicSpec(name, 1, 1) for name in (topics.posts, topics.moods, topics.dead)])
    values = [json.dumps({"text": f"what a lovely day {number}"}).encode() for number in range(10)]
    bad = [0, 4, 5, 9]
    send_batch(topics.kafka, topics.posts, values, [])
    rewrite(cluster, topics.posts, break_records(*bad))
    send_batch(topics.kafka, topics.posts, [values[0]], [])
    damage(cluster, topics.posts, values[0])
    send_batch(topics.kafka, topics.posts, values, [])
    worker = topics.worker("0", tmp_path)
    worker.start()
    worker.wait_ready()
    read = Topics(topics.kafka, unique)
    wait_for(lambda: len(read.read(topics.moods)) >= 16 and len(read.read(topics.dead)) >= 4, worker)
    assert worker.get("/healthz")[0] == worker.get("/readyz")[0] == 200
    assert f'moodstream_corrupt_batches_total{{topic="{topics.posts}"}} 1.0' in worker.get("/metrics")[1]
    assert worker.terminate() == 0
    letters = read.read(topics.dead)
    headers = [dict(letter.headers) for letter in letters]
    assert [found["__connect.errors.offset"] for found in headers] == [b"%d" % number for number in bad]
    assert {found["moodstream.reason"] for found in headers} == {b"record_unreadable"}
    assert all(set(letter.value[1:]) == {0xFF} for letter in letters)  # as `break_records` left them
    assert len(read.read(topics.moods)) == 16
    [skipped] = [line for line in worker.events() if "cannot be read and is skipped" in str(line["event"])]
    assert (skipped["topic"], skipped["partition"], skipped["offset"]) == (topics.posts, 0, 10)


def damage(cluster: KafkaCluster, topic: str, value: bytes) -> None:
    """Change a byte of the last record with this value on disk: the checksum of its batch is wrong then."""
    cluster.stop()
    segment = cluster.nodes[0].partition_folder(topic, 0) / "00000000000000000000.log"
    data = bytearray(segment.read_bytes())
    data[data.rindex(value)] ^= 0xFF
    segment.write_bytes(data)
    cluster.start()


def wait_for(condition: Callable[[], bool], worker: WorkerProcess, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert worker.running, worker.tail()
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.5)


def test_a_message_that_grows_when_it_is_decompressed_costs_a_bounded_amount_of_memory(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Some 15 KB in the log that are 100 MB, and 150 MB; the second is not decompressed whole."""
    topics = WorkerTopics(kafka, unique)
    create_topics(topics.kafka, [TopicSpec(name, 1, 1) for name in (topics.posts, topics.moods, topics.dead)])
    worker = topics.worker("0", tmp_path)
    worker.start()
    worker.wait_ready()
    read = Topics(topics.kafka, unique)
    most = [peak_mib(worker.pid)]
    for number, size in enumerate((1_000, 100_000_000, 150_000_000), 1):
        options = {"compression_type": "zstd", "max_request_size": 2**28}
        producer = KafkaProducer(**client_options(topics.kafka), **options)
        value = b'{"text": "' + b"so good " * (size // 8) + b'"}'
        producer.send(topics.posts, value=value, key=b"k").get(timeout=60)
        producer.close()
        wait_for(lambda: len(read.read(topics.moods)) + len(read.read(topics.dead)) >= number, worker)  # noqa: B023 - called at once
        most.append(peak_mib(worker.pid))
    [letter] = read.read(topics.dead)
    assert worker.terminate() == 0
    assert dict(letter.headers)["moodstream.reason"] == b"record_unreadable"
    assert b"more than 128 MiB" in dict(letter.headers)["__connect.errors.exception.message"]
    assert letter.value is not None
    assert len(letter.value) < 100_000  # the compressed bytes
    tell(f"peak memory of a worker: {most[1]} MiB; a message of 100 MB: {most[2]}, of 150 MB: {most[3]} MiB")
    assert most[3] < most[1] + 7 * 128


def peak_mib(pid: int) -> int:
    """The most memory that a process has had so far."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) >> 10


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
