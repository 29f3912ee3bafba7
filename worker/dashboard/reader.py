"""Reads the output and dead-letter topics into the store, on a thread of its own and without a group."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from worker.dashboard.messages import Unreadable, read_dead_letter, read_post
from worker.dashboard.store import Store
from worker.errors import BrokerRefused, BrokerUnavailable, MoodstreamError
from worker.kafka import guards
from worker.kafka.options import client_options
from worker.kafka.probe import probe
from worker.kafka.topics import group_lag, missing_topics
from worker.settings.groups import Settings
from worker.types import Record, TopicPartition

LOOK_EVERY_S = 5.0
"""How often to ask whether brokers answer, how far the worker is, and what is too old to keep."""

MOST_VERSIONS = 8

_POLL_MS = 250
_MOST_RECORDS = 1_000
_FETCH_BYTES = 4 * 1024 * 1024
"""What a fetch may bring, so that a page which catches up takes no more memory than one that keeps up."""

_PAUSE_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass
class State:
    """What the page says about itself. Written by the reader's thread only."""

    problem: str | None = "connecting"
    """Why nothing comes in; None while all is well."""
    lag: int | None = None
    """Messages that the workers have not committed yet; None when unknown."""
    caught_up: bool = False
    """Whether everything that the topics held at the start has been read."""
    away: bool = False
    """Whether the problem is that no broker answers."""
    too_old: int = 0
    """Posts that are older than posts are kept."""
    unreadable: Mapping[str, int] = field(default_factory=dict)
    """Messages of other versions, by version; at most `MOST_VERSIONS`, and the rest as one."""


class TopicReader(threading.Thread):
    """Goes on from the positions in the store, or from as far back as posts are kept.

    It assigns itself every partition: it is in no group, so it never takes a partition from a worker.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(name="dashboard-reader", daemon=True)
        self._settings, self._store = settings, store
        self._topics = (settings.sink.topic, settings.sink.dead_letter_topic)
        self._ends: dict[KafkaPartition, int] = {}
        self._stop_reading = threading.Event()
        self.state = State()

    def stop(self) -> None:
        """Stop reading and wait for the end."""
        self._stop_reading.set()
        self.join(10)

    def run(self) -> None:
        """Read until stopped. Whatever Kafka says is shown on the page, and tried again."""
        while not self._stop_reading.is_set():
            consumer: KafkaConsumer | None = None
            try:
                consumer = self._connect()
                self._follow(consumer)
            except (MoodstreamError, KafkaError) as error:
                self._say(str(error) or type(error).__name__, away=isinstance(error, BrokerUnavailable))
            except Exception as error:  # noqa: BLE001 - the page must say that it has stopped, and try again
                self._say(f"the reader failed with {type(error).__name__}: {error}")
            finally:
                if consumer is not None:
                    consumer.close()
            self._stop_reading.wait(_PAUSE_S)

    def _say(self, problem: str, *, away: bool = False) -> None:
        if self.state.problem != problem:
            _log.warning("the topics cannot be read", reason=problem)
        self.state.problem, self.state.away = problem, away
        self._store.version += 1

    def _connect(self) -> KafkaConsumer:
        kafka = self._settings.kafka
        guards.read_leniently()
        missing = missing_topics(kafka, self._topics)
        if missing:
            raise BrokerRefused(f"no such topic yet: {', '.join(missing)}")
        consumer = KafkaConsumer(
            **client_options(kafka) | {"bootstrap_servers": probe(kafka).bootstrap_servers},
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        guards.rest_between_empty_answers(consumer)
        parts = [
            KafkaPartition(topic, number)
            for topic in self._topics
            for number in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        consumer.assign(parts)
        self._ends = consumer.end_offsets(parts)
        for part, offset in self._starts(consumer, parts).items():
            consumer.seek(part, offset)
        return consumer

    def _starts(self, consumer: KafkaConsumer, parts: Sequence[KafkaPartition]) -> dict[KafkaPartition, int]:
        known = self._store.positions()
        first = consumer.beginning_offsets(parts)
        since_ms = int((time.time() - self._store.keep_s) * 1000)
        found = consumer.offsets_for_times(dict.fromkeys(parts, max(0, since_ms)))
        starts: dict[KafkaPartition, int] = {}
        for part in parts:
            at = known.get(TopicPartition(part.topic, part.partition))
            if at is None or not first[part] <= at <= self._ends[part]:  # a topic made anew begins again at 0
                by_time = found.get(part)
                at = self._ends[part] if by_time is None else by_time.offset
            starts[part] = max(at, first[part])
        return starts

    def _follow(self, consumer: KafkaConsumer) -> None:
        due = 0.0
        while not self._stop_reading.is_set():
            records = [
                record
                for batch in consumer.poll(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS).values()
                for record in batch
            ]
            if records:
                self._keep(records)
            self.state.caught_up = self.state.caught_up or all(
                (guards.position(consumer, part) or 0) >= end for part, end in self._ends.items()
            )
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + LOOK_EVERY_S

    def _look(self) -> None:
        """Raises BrokerUnavailable when no broker answers."""
        try:
            self.state.lag = group_lag(self._settings.kafka, self._settings.source.group_id)
        except BrokerRefused:
            self.state.lag = None  # it may read the topics, and not what the group has committed
        if self.state.problem is not None:
            self.state.problem, self.state.away = None, False
            self._store.version += 1
        self._store.forget_old()

    def _keep(self, records: Iterable[Any]) -> None:
        posts, dead, positions = list[dict[str, Any]](), list[dict[str, Any]](), dict[TopicPartition, int]()
        unreadable = dict(self.state.unreadable)
        for raw in records:
            record = Record(
                raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)
            )
            positions[record.topic_partition] = record.offset + 1
            if record.topic == self._settings.sink.dead_letter_topic:
                dead.append(read_dead_letter(record))
                continue
            post = read_post(record)
            if isinstance(post, Unreadable):
                known = post.version in unreadable or len(unreadable) < MOST_VERSIONS
                version = post.version if known else "others"
                unreadable[version] = unreadable.get(version, 0) + 1
            elif post is not None:
                posts.append(post)
        self.state.unreadable = unreadable
        self.state.too_old += self._store.add(posts, dead, positions)
