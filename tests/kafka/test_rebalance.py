"""A group whose windows take seconds settles after a worker joins, and goes on committing."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest
from kafka import KafkaProducer

from tests.support.decoding import one_each
from tests.support.stream import Topics, numbered
from worker.kafka.checkpoint import TransactionalCheckpoint
from worker.kafka.options import client_options
from worker.kafka.source import Source
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.settings.groups import BatchSettings, DeliverySettings, KafkaSettings
from worker.stream.loop import Loop
from worker.stream.pipeline import Pipeline, Processed
from worker.types import OutputRecord, Record

SECONDS = 0.1
"""What one of the long texts takes to label."""


class Slow:
    """A pipeline that takes its time and passes on what comes in."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.windows: list[int] = []

    def process(self, records: Sequence[Record]) -> Processed:
        self.windows.append(len(records))
        time.sleep(SECONDS * len(records))
        outputs = [OutputRecord(self._topic, record.key, record.value) for record in records]
        return one_each(records, outputs)


class LoopThread(threading.Thread):
    """A worker's loop on a thread of its own, without a model."""

    def __init__(self, topics: Topics, slot: str, batch: BatchSettings) -> None:
        super().__init__(name=f"loop-{slot}", daemon=True)
        delivery = DeliverySettings(slot=slot)
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.pipeline = Slow(topics.sink.topic)
        self.source = Source(topics.kafka, topics.source, slot, stop=self.stop)
        self.checkpoint = TransactionalCheckpoint(topics.kafka, topics.sink, topics.source, delivery)
        self.health, self.metrics = Health(60, ready_checks=()), Metrics()
        self.loop = Loop(
            self.source,
            cast("Pipeline", self.pipeline),
            self.checkpoint,
            batch=batch,
            connect_limit_s=120,
            health=self.health,
            metrics=self.metrics,
        )

    def run(self) -> None:
        try:
            self.checkpoint.open(self.stop)
            self.loop.run(self.stop)
            self.source.leave()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        finally:
            self.source.close()
            self.checkpoint.close()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"moodstream_{name}", labels) or 0.0


def _until(condition: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.1)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("window_s", [2.0, 60.0])
def test_a_group_with_a_backlog_of_long_texts_settles_when_a_worker_joins(
    settings: KafkaSettings, unique: str, window_s: float
) -> None:
    """The leader has nothing to read, the second has windows of two or of six seconds, a third joins."""
    topics = Topics(settings, unique).create(partitions=4)
    fed = numbered(700)
    producer = KafkaProducer(**client_options(settings))
    for number, value in enumerate(fed):  # the first two partitions, the leader's, stay empty
        producer.send(topics.source.topics[0], value=value * 300, key=value, partition=2 + number % 2)
    producer.flush(timeout=30)
    producer.close()
    batch = BatchSettings(max_messages=60, max_window_s=window_s)
    leader, busy, third = (LoopThread(topics, slot, batch) for slot in "abc")
    leader.start()
    _until(lambda: len(leader.source.assignment()) == 4, 30)
    busy.start()
    _until(lambda: busy.value("messages_total", outcome="tombstone") > 60, 60)
    before = {one: one.source.rebalances for one in (leader, busy)}
    committed = sum(one.value("messages_total", outcome="tombstone") for one in (leader, busy))
    third.start()
    started = time.monotonic()
    _until(third.source.assignment, 40)
    settled_s = time.monotonic() - started
    time.sleep(25)
    group = (leader, busy, third)
    done = sum(one.value("messages_total", outcome="tombstone") for one in group) - committed
    again = {one.name: one.source.rebalances - before.get(one, 0) for one in group}
    dropped = sum(one.value("dropped_messages_total") for one in group)
    print(
        f"settled in {settled_s:.1f} s, {done:.0f} committed in {time.monotonic() - started:.0f} s, ", end=""
    )
    print(f"rebalances {again}, {dropped:.0f} dropped, windows {busy.pipeline.windows}")
    for one in group:
        one.stop.set()
    for one in group:
        one.join(30)
        assert not one.is_alive()
        assert one.error is None
    assert max(again.values()) <= 3
    assert done >= 25 / SECONDS * 0.9  # a thread labels ten a second, and two of them have work
    written = Counter(row.key for row in topics.read())
    assert max(written.values()) == 1
    for part in (0, 1):  # no offset is left out
        mine = [value for value in fed[part::2] if value in written]
        assert mine == fed[part::2][: len(mine)]
