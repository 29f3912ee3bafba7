"""A source and a checkpoint joined without a model, for tests on either broker: what comes in goes out."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from worker.kafka.checkpoint import AtLeastOnceCheckpoint, Checkpoint, TransactionalCheckpoint
from worker.kafka.options import client_options
from worker.kafka.outcome import Outcome
from worker.kafka.source import Source
from worker.kafka.topics import ROOM_FOR_LARGE_RECORDS, TopicSpec, create_topics
from worker.kafka.watchdog import Watchdog
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings, SourceSettings
from worker.types import OutputRecord, Record

PARTITIONS = 4
SESSION_MS = 6_000


@dataclass
class Topics:
    """Input and output topic and the group of one test."""

    kafka: KafkaSettings
    name: str
    source: SourceSettings = field(init=False)
    sink: SinkSettings = field(init=False)

    def __post_init__(self) -> None:
        self.source = SourceSettings(
            topics=[f"{self.name}.in"], group_id=self.name, session_timeout_ms=SESSION_MS
        )
        self.sink = SinkSettings(topic=f"{self.name}.out", dead_letter_topic=f"{self.name}.dead")

    def create(self, partitions: int = PARTITIONS, replication: int = 1, large: bool = False) -> "Topics":
        config = ROOM_FOR_LARGE_RECORDS if large else {}
        names = (self.source.topics[0], self.sink.topic, self.sink.dead_letter_topic)
        create_topics(self.kafka, [TopicSpec(name, partitions, replication, config) for name in names])
        return self

    def feed(self, values: Iterable[bytes]) -> list[bytes]:
        """Write values to the input topic, each with itself as its key."""
        values = list(values)
        producer = KafkaProducer(**client_options(self.kafka), linger_ms=5, max_request_size=16_000_000)
        sent = [producer.send(self.source.topics[0], value=value, key=value[:100]) for value in values]
        producer.flush(timeout=60)
        for future in sent:
            future.get(timeout=1)
        producer.close()
        return values

    def read(self, topic: str | None = None, isolation: str = "read_committed") -> list[Any]:
        """All rows of the output topic, or another, from its beginning to its end at this moment."""
        topic = topic or self.sink.topic
        consumer = KafkaConsumer(
            **client_options(self.kafka), isolation_level=isolation, auto_offset_reset="earliest"
        )
        rows: list[Any] = []
        deadline = time.monotonic() + 30
        with contextlib.closing(consumer):
            parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            consumer.assign(parts)
            ends = consumer.end_offsets(parts)
            while any((consumer.position(part) or 0) < ends[part] for part in parts):
                assert time.monotonic() < deadline, f"{topic} cannot be read to its end: {ends}"
                for found in consumer.poll(timeout_ms=200).values():
                    rows += found
        return rows


class Stream:
    """One worker's source and checkpoint, without what lies between. Use on one thread."""

    def __init__(
        self,
        topics: Topics,
        slot: str = "0",
        *,
        exactly_once: bool = True,
        delivery: DeliverySettings | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.topics = topics
        delivery = delivery or DeliverySettings(slot=slot)
        self.source = Source(topics.kafka, topics.source, slot)
        self.checkpoint: Checkpoint = (
            TransactionalCheckpoint(topics.kafka, topics.sink, topics.source, delivery, watchdog=watchdog)
            if exactly_once
            else AtLeastOnceCheckpoint(
                topics.kafka, topics.sink, delivery, self.source.commit, watchdog=watchdog
            )
        )
        self.outcomes: Counter[Outcome] = Counter()

    def open(self) -> "Stream":
        self.checkpoint.open()
        return self

    def read(self, timeout_s: float = 0.3, max_messages: int = 50) -> list[Record]:
        """One poll; nothing when a rebalance made what was read void."""
        return self.source.poll(max_messages, timeout_s)

    def write(self, records: list[Record], snapshot: Any = None) -> Outcome:
        """One checkpoint: each record to the output as it is. Rewinds after anything but COMMITTED."""
        outputs = [
            OutputRecord(self.topics.sink.topic, record.key, record.value, record.headers)
            for record in records
        ]
        offsets = {record.topic_partition: record.offset for record in records}
        outcome = self.checkpoint.commit(outputs, offsets, snapshot or self.source.snapshot())
        self.outcomes[outcome] += 1
        self.source.release(records)
        if outcome is not Outcome.COMMITTED:
            self.source.rewind()
        return outcome

    def step(self) -> int:
        """Poll and commit; how many records were committed."""
        records = self.read()
        return len(records) if records and self.write(records) is Outcome.COMMITTED else 0

    def join(self, timeout_s: float = 20.0) -> "Stream":
        """Poll until it has partitions."""
        deadline = time.monotonic() + timeout_s
        while not self.source.assignment():
            assert time.monotonic() < deadline, "no partitions were assigned"
            records = self.read(0.1)
            assert not records, "records before an assignment was seen"
        return self

    def run(self, count: int, timeout_s: float = 60.0) -> None:
        """Step until `count` records are committed."""
        deadline, done = time.monotonic() + timeout_s, 0
        while done < count:
            assert time.monotonic() < deadline, f"{done} of {count} committed; {self.outcomes}"
            done += self.step()

    def close(self) -> None:
        self.source.close()
        self.checkpoint.close()


class Running:
    """A stream that steps on a thread of its own until it is stopped."""

    def __init__(self, make: Callable[[], Stream]) -> None:
        self.committed = 0
        self.error: BaseException | None = None
        self.stream: Stream | None = None
        self._stop = threading.Event()
        self._make = make
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.stream = self._make()
            while not self._stop.is_set():
                self.committed += self.stream.step()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        finally:
            if self.stream is not None:
                self.stream.close()

    def stop(self, timeout_s: float = 60.0) -> None:
        self._stop.set()
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "a call into the client hangs"

    def wait_committed(self, count: int, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while self.committed < count:
            assert self.error is None, self.error
            assert time.monotonic() < deadline, f"{self.committed} of {count}"
            time.sleep(0.05)


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Unique values."""
    return [b"message %06d" % number for number in range(start, start + count)]


def assert_each_once(fed: list[bytes], rows: list[Any]) -> None:
    """Every value fed is among the rows, once."""
    seen = Counter(row.value for row in rows)
    lost = [value for value in fed if value not in seen]
    doubled = {value: times for value, times in seen.items() if times > 1}
    assert (lost, doubled) == ([], {}), f"{len(lost)} lost, {len(doubled)} doubled of {len(fed)}"
    assert len(rows) == len(fed)


def join_while_another_is_busy(topics: Topics, session_s: float = SESSION_MS / 1_000) -> tuple[int, int]:
    """A second member's join has no answer for three sessions, because the first one does not poll.

    Returns how many partitions each has once the first goes on, at most a minute later.
    """
    busy, other = (Source(topics.kafka, topics.source, slot) for slot in "ab")
    with contextlib.closing(busy), contextlib.closing(other):
        _poll_until(lambda: busy.joined, busy)
        waits_until = time.monotonic() + 3 * session_s
        _poll_until(lambda: time.monotonic() > waits_until, other)
        assert not other.assignment()
        _poll_until(lambda: busy.joined and other.joined, busy, other)
        return len(busy.assignment()), len(other.assignment())


def _poll_until(true: Callable[[], bool], *sources: Source) -> None:
    """Let these poll, each on a thread of its own."""
    deadline = time.monotonic() + 60
    ended = threading.Event()

    def poll(source: Source) -> None:
        while not ended.is_set():
            source.poll(10, 0.1)

    threads = [threading.Thread(target=poll, args=(source,), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    ended.set()
    for thread in threads:
        thread.join()
    assert true()
