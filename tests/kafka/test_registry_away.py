"""A schema registry that goes away while two workers share a topic and one of them leaves and comes back."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from kafka import KafkaProducer

from tests.support.proof import read_all
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.topics import PARTITIONS, Topics
from tests.support.workers import WorkerProcess
from tests.unit.messages.test_framed import BODY, POST, avro, framed
from worker.kafka.options import client_options

EACH = 60
"""Messages before the registry goes away, and again after."""


def schemas() -> dict[int, dict[str, str]]:
    return {3: {"schema": orjson.dumps(POST).decode()}, 4: {"schema": orjson.dumps(POST).decode()}}


def feed(topics: Topics, number: int) -> None:
    """Send messages to every partition with one of the schemas."""
    producer = KafkaProducer(**client_options(topics.kafka))
    for place in range(EACH):
        value = framed(number, avro(POST, BODY))
        producer.send(topics.posts, key=b"k", value=value, partition=place % PARTITIONS)
    producer.flush()
    producer.close()


def until(condition: Callable[[], object], what: str, workers: Iterable[WorkerProcess]) -> None:
    deadline = time.monotonic() + 45
    while not condition():
        logs = "\n\n".join(worker.tail() for worker in workers if worker.log.exists())
        assert time.monotonic() < deadline, f"not in time: {what}\n{logs}"
        time.sleep(0.2)


def waits_for_the_registry(worker: WorkerProcess) -> bool:
    status, said = worker.get("/readyz")
    return status == 503 and "registry" in said


@pytest.mark.timeout(240)
def test_workers_wait_for_the_registry_through_a_rebalance_and_lose_nothing(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    topics = Topics(kafka, unique)
    topics.create()
    registry = ScriptedRegistry(schemas())
    both = [
        topics.worker(slot, tmp_path, MOODSTREAM_KAFKA__SCHEMA_REGISTRY_URL=registry.url) for slot in "ab"
    ]
    stays, leaves = both
    with registry:
        for worker in both:
            worker.start()
        for worker in both:
            worker.wait_ready()
        feed(topics, 3)
        until(lambda: sum(worker.committed() for worker in both) >= EACH, "the first messages", both)
    gone_at = time.monotonic()
    feed(topics, 4)  # a schema that nobody has asked for yet
    until(lambda: all(waits_for_the_registry(worker) for worker in both), "both wait", both)
    rebalances = "moodstream_rebalances_total"
    before = stays.get("/metrics")[1]
    assert leaves.terminate() == 0
    until(
        lambda: rebalanced(stays.get("/metrics")[1], rebalances) > rebalanced(before, rebalances),
        "the one that stays gets all partitions",
        both,
    )
    leaves.start()
    until(lambda: waits_for_the_registry(leaves), "the one that comes back waits", both)
    assert waits_for_the_registry(stays)
    assert len(read_all(kafka, topics.moods)) == EACH
    away_s = time.monotonic() - gone_at
    with ScriptedRegistry(schemas(), port=urlsplit(registry.url).port or 0):
        until(lambda: len(read_all(kafka, topics.moods)) == 2 * EACH, "the other messages", both)
        for worker in both:
            worker.wait_ready()
        assert [worker.terminate() for worker in both] == [0, 0]
    inputs = {(partition, offset) for partition, offset, _, _ in read_all(kafka, topics.posts)}
    found = [orjson.loads(value or b"{}") for _, _, value, _ in read_all(kafka, topics.moods)]
    answers = Counter((body["source_partition"], body["source_offset"]) for body in found)
    assert answers == dict.fromkeys(inputs, 1)
    assert read_all(kafka, topics.dead, isolation="read_uncommitted") == []
    tell(f"a registry away for {away_s:.0f} s through two rebalances: {len(inputs)} messages, each once")


def rebalanced(metrics: str, name: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(name))
