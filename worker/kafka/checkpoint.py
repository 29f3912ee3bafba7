"""The half that both checkpoints share: a producer that is replaced after every failure.

What the worker's loop asks of a checkpoint.

Output records to the producer, and the wait for every one of them.

Exactly once: outputs and offsets in one Kafka transaction.

At least once: outputs first, offsets after them.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

from worker.errors import BrokerRefused, BrokerUnavailable, ExitCode, Fatal
from worker.kafka import guards
from worker.kafka.options import slot_name
from worker.kafka.outcome import Outcome, Phase, judge, one_line
from worker.kafka.producers import NULL, delivery_timeout_ms, open_patiently, producer_options
from worker.kafka.records import header_name
from worker.kafka.retry import Backoff
from worker.kafka.topics import missing_topics
from worker.kafka.watchdog import Watchdog
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings, SourceSettings
from worker.types import OutputRecord, TopicPartition


class Checkpoint(Protocol):
    """Outputs and offsets as one step."""

    def open(self, stop: threading.Event | None = None) -> None:
        """Connect, within `kafka.connect_limit_s`, or until `stop` is set. Raises Fatal."""

    def commit(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[TopicPartition, int], snapshot: Any | None
    ) -> Outcome:
        """Write outputs and the last processed offsets. Raises Fatal."""

    def close(self) -> None:
        """Let go of the connection. Never raises."""


Sent = list[tuple[OutputRecord, Any]]
"""Each output with the client's future for it."""


def send_all(producer: KafkaProducer, outputs: Sequence[OutputRecord], turn: int) -> Sent:
    """Hand all outputs to the producer, whose value serialiser must be `NullAware`.

    Records with a key go to the key's partition. All others of one checkpoint go to one partition a topic,
    and `turn`, which counts up, moves on to the next: the client's own choice would add partitions to the
    transaction that nothing is written to.

    A header whose value is null is written with an empty value, because kafka-python cannot write null.

    Raises:
        Fatal: a record is larger than the client sends.
        KafkaError: as the client raises it.
    """
    partitions: dict[str, int] = {}
    sent: Sent = []
    for output in outputs:
        partition = None
        if output.key is None:
            if output.topic not in partitions:
                known = sorted(producer.partitions_for(output.topic))
                partitions[output.topic] = known[turn % len(known)]
            partition = partitions[output.topic]
        try:
            future = producer.send(
                output.topic,
                value=NULL if output.value is None else output.value,
                key=output.key,
                headers=[(header_name(name), value or b"") for name, value in output.headers],
                partition=partition,
                timestamp_ms=output.timestamp_ms,
            )
        except MessageSizeTooLargeError as error:
            raise _too_large(output) from error
        sent.append((output, future))
    return sent


def await_all(producer: KafkaProducer, sent: Sent, limit_s: float) -> None:
    """Wait until every output is acknowledged, and look at each one's future.

    A batch that expired leaves the transaction open, and its commit then succeeds without the batch. Only
    the futures tell.

    Raises:
        Fatal: the broker takes no record of that size.
        KafkaError: the first error of a future; KafkaTimeoutError after `limit_s` seconds.
    """
    producer.flush(timeout=limit_s)
    for output, future in sent:
        if not future.is_done:
            raise KafkaTimeoutError(f"a record for {output.topic} is still not acknowledged")
        if future.succeeded():
            continue
        error = future.exception
        if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
            raise _too_large(output) from error
        raise error if isinstance(error, KafkaError) else KafkaError(str(error))


def _too_large(output: OutputRecord) -> Fatal:
    size = len(output.key or b"") + len(output.value or b"")
    size += sum(len(header_name(name).encode()) + len(value or b"") for name, value in output.headers)
    return Fatal(
        ExitCode.BROKER_REFUSED,
        f"a record of {size:,} bytes does not fit into topic {output.topic}: raise that topic's "
        "max.message.bytes (moodstream topics create gives room for 8 MiB)",
    )


_log = structlog.get_logger(__name__)


class BaseCheckpoint(ABC):
    """Runs a checkpoint and deals with what may come of it.

    `commit` may run in a thread other than the source's, but never while the source polls.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        delivery: DeliverySettings,
        options: Mapping[str, Any],
        watchdog: Watchdog | None,
    ) -> None:
        self._kafka = kafka
        self._options = dict(options)
        self._flush_limit_s = delivery_timeout_ms(delivery) / 1_000 + 5
        self._watchdog = watchdog or Watchdog(delivery.watchdog_s)
        self._producer: KafkaProducer | None = None
        self._phase = Phase.OPENING
        self._stop = threading.Event()
        self._backoff = Backoff()
        self._turn = 0

    def open(self, stop: threading.Event | None = None) -> None:
        """Connect. Waits for the brokers within `kafka.connect_limit_s`, or until `stop` is set.

        Raises:
            Fatal: a broker refuses, another worker takes over the slot, or the limit is reached.
        """
        guards.announce()
        self._stop = stop or self._stop
        self._renew()

    def commit(
        self,
        outputs: Sequence[OutputRecord],
        offsets: Mapping[TopicPartition, int],
        snapshot: ConsumerGroupMetadata | None,
    ) -> Outcome:
        """Write `outputs` and the last processed offset of each partition.

        `snapshot` is the source's, taken right after the poll that fetched the records; None means that the
        membership was lost, and nothing is written. After ABORTED and UNKNOWN the producer is a new one and
        the source must be rewound; the wait for brokers that are away happens in here.

        Raises:
            Fatal: the worker must end.
        """
        if snapshot is None or snapshot.generation_id < 0 or not snapshot.member_id:
            # Kafka takes offsets of «no member» without any fencing, so they must never reach it.
            return Outcome.ABORTED
        if not offsets and not outputs:
            return Outcome.COMMITTED
        producer = self._producer or self._renew()
        if producer is None:
            return Outcome.ABORTED
        self._phase = Phase.SENDING
        self._turn += 1
        try:
            with self._watchdog.watch("checkpoint"):
                self._run(producer, outputs, offsets, snapshot)
        except KafkaError as error:
            return self._fail(producer, error, outputs)
        self._backoff.reset()
        return Outcome.COMMITTED

    def close(self) -> None:
        """Let go of the producer at once. Never raises."""
        if self._producer is not None:
            guards.discard(self._producer)
            self._producer = None

    @abstractmethod
    def _run(
        self,
        producer: KafkaProducer,
        outputs: Sequence[OutputRecord],
        offsets: Mapping[TopicPartition, int],
        snapshot: ConsumerGroupMetadata,
    ) -> None:
        """Do it, and set `_phase` to ENDING just before the step that makes it count."""

    @abstractmethod
    def _open_once(self) -> KafkaProducer:
        """A producer ready for `_run`."""

    def _fail(self, producer: KafkaProducer, error: KafkaError, outputs: Sequence[OutputRecord]) -> Outcome:
        cause = guards.transaction_error(producer) or error
        outcome = judge(cause, self._phase)
        _log.warning(
            "checkpoint failed; what was read is done again",
            outcome=outcome.value,
            phase=self._phase.value,
            reason=one_line(cause),
        )
        # Offsets of an aborted transaction leak into this client's next one, so there is no next one.
        self.close()
        if isinstance(cause, (KafkaTimeoutError, UnknownTopicOrPartitionError)):
            self._refuse_missing_topics(outputs)
        self._backoff.wait(self._stop)
        self._renew()
        return outcome

    def _refuse_missing_topics(self, outputs: Sequence[OutputRecord]) -> None:
        """A topic that is gone looks like a slow broker to the client, and would be tried for ever."""
        try:
            gone = missing_topics(self._kafka, sorted({output.topic for output in outputs}))
        except (BrokerUnavailable, BrokerRefused):
            return
        if gone:
            raise Fatal(
                ExitCode.TOPIC_MISSING,
                f"no such topic: {', '.join(gone)}; moodstream topics create makes the topics that it needs",
            )

    def _renew(self) -> KafkaProducer | None:
        self._producer = open_patiently(self._kafka, self._open_once, self._stop)
        return self._producer


class TransactionalCheckpoint(BaseCheckpoint):
    """Begin, send, await every future, offsets, commit: in this order, and all of it counts or nothing does.

    `open` goes before the consumer joins its group: it ends what a killed worker in the same slot left open.
    Inference goes before `commit`: the transaction's clock starts at its first send.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        sink: SinkSettings,
        source: SourceSettings,
        delivery: DeliverySettings,
        *,
        watchdog: Watchdog | None = None,
    ) -> None:
        options = producer_options(kafka, sink, delivery) | {
            "transactional_id": slot_name(source.group_id, delivery.slot),
            "transaction_timeout_ms": delivery.transaction_timeout_ms,
        }
        super().__init__(kafka, delivery, options, watchdog)

    def _run(
        self,
        producer: KafkaProducer,
        outputs: Sequence[OutputRecord],
        offsets: Mapping[TopicPartition, int],
        snapshot: ConsumerGroupMetadata,
    ) -> None:
        producer.begin_transaction()
        sent = send_all(producer, outputs, self._turn)
        await_all(producer, sent, self._flush_limit_s)
        if offsets:
            producer.send_offsets_to_transaction(next_offsets(offsets), snapshot)
        self._phase = Phase.ENDING
        producer.commit_transaction()

    def _open_once(self) -> KafkaProducer:
        producer = KafkaProducer(**self._options)
        try:
            guards.refuse_topic_creation(producer)
            guards.protect(producer)
            producer.init_transactions()
        except BaseException:
            guards.discard(producer)
            raise
        return producer


def next_offsets(offsets: Mapping[TopicPartition, int]) -> dict[ClientTopicPartition, OffsetAndMetadata]:
    """Last processed offsets as Kafka wants them: the next one to read."""
    return {
        ClientTopicPartition(part.topic, part.partition): OffsetAndMetadata(offset + 1, "", -1)
        for part, offset in offsets.items()
    }


CommitOffsets = Callable[[Mapping[TopicPartition, int]], None]
"""Commits the last processed offset of each partition as the group's member, or raises a KafkaError."""


class AtLeastOnceCheckpoint(BaseCheckpoint):
    """Outputs are acknowledged before the offsets are committed; a crash in between repeats the outputs.

    `commit_offsets` is `Source.commit`. After ABORTED outputs may have been written all the same; they come
    again with the same `event_id`.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        sink: SinkSettings,
        delivery: DeliverySettings,
        commit_offsets: CommitOffsets,
        *,
        watchdog: Watchdog | None = None,
    ) -> None:
        super().__init__(kafka, delivery, producer_options(kafka, sink, delivery), watchdog)
        self._commit_offsets = commit_offsets

    def _run(
        self,
        producer: KafkaProducer,
        outputs: Sequence[OutputRecord],
        offsets: Mapping[TopicPartition, int],
        snapshot: ConsumerGroupMetadata,  # noqa: ARG002 - the consumer commits as the member that it is
    ) -> None:
        sent = send_all(producer, outputs, self._turn)
        await_all(producer, sent, self._flush_limit_s)
        self._phase = Phase.ENDING
        if offsets:
            self._commit_offsets(offsets)

    def _open_once(self) -> KafkaProducer:
        producer = KafkaProducer(**self._options)
        guards.refuse_topic_creation(producer)
        return producer
