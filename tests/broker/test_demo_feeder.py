"""The feeder on the embedded broker: what arrives is byte for byte what the samples file says."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from worker.demo.broker import EmbeddedBroker
from worker.demo.feeder import Feeder, Sent, laps, pauses
from worker.demo.samples import load_samples
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings.groups import KafkaSettings
from worker.types import Record

SAMPLES = load_samples()


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaSettings]:
    with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=[broker.bootstrap])
        create_topics(settings, [TopicSpec(name, 2, 1) for name in ("all", "paced", "process")])
        yield settings


def test_every_sample_arrives_as_it_is(kafka: KafkaSettings) -> None:
    sent: list[Sent] = []
    with Feeder(kafka, "all") as feeder:
        count = feeder.feed(SAMPLES, rate=None, stop=threading.Event(), on_sent=sent.append)
    assert count == len(sent) == len(SAMPLES)
    records = {(record.partition, record.offset): record for record in _read(kafka, "all", count)}
    assert len(records) == count
    for entry, sample in zip(sent, SAMPLES, strict=True):
        record = records[entry.source.partition, entry.offset]
        assert entry.sample is sample
        assert (record.key, record.value, record.headers) == (sample.key, sample.value, sample.headers)
        assert record.timestamp_ms == entry.timestamp_ms


def test_stop_ends_a_paced_feeding_between_two_messages(kafka: KafkaSettings) -> None:
    stop = threading.Event()
    sent: list[Sent] = []

    def on_sent(entry: Sent) -> None:
        sent.append(entry)
        if len(sent) == 3:
            stop.set()

    with Feeder(kafka, "paced") as feeder:
        assert feeder.feed(SAMPLES, rate=200, stop=stop, on_sent=on_sent) == 3
    assert [entry.sample.id for entry in sent] == ["s001", "s002", "s003"]


def test_as_a_process_it_feeds_until_sigterm_and_ends_with_zero(kafka: KafkaSettings, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker.demo.feeder", "--bootstrap", kafka.bootstrap_servers[0]]
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(
        [*command, "--topic", "process", "--rate", "50"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        arrived = len(_read(kafka, "process", 10))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert arrived >= 10
    assert process.returncode == 0
    assert output.startswith("sent ")
    assert output.endswith(" messages to process\n")


def test_as_a_process_it_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker.demo.feeder", "--bootstrap", "127.0.0.1:1"]
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "MOODSTREAM_KAFKA__CONNECT_LIMIT_S": "0.5"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pace_jitters_around_the_rate_and_never_stops_for_long() -> None:
    found = list(islice(pauses(4.0, random.Random(1)), 2_000))
    assert 0.22 < sum(found) / len(found) < 0.28
    assert 0 < min(found) < 0.05
    assert 0.5 < max(found) <= 1.0


def test_laps_begin_in_the_files_order_and_go_on_shuffled() -> None:
    two = [sample.id for sample in laps(SAMPLES, 2, random.Random(1))]
    first, second = two[: len(SAMPLES)], two[len(SAMPLES) :]
    assert first == [sample.id for sample in SAMPLES]
    assert second != first
    assert sorted(second) == sorted(first)


def _read(kafka: KafkaSettings, topic: str, at_least: int) -> list[Record]:
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, partition) for partition in (0, 1)])
    deadline = time.monotonic() + 20
    records: list[Record] = []
    while len(records) < at_least and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=200).values():
            records += [
                Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                for r in batch
            ]
    consumer.close()
    return records
