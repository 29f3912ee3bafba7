"""Outputs and offsets as one step: exactly once in a Kafka transaction, or at least once without one."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    CommitFailedError,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumberError,
    RetriableError,
    TransactionAbortedError,
    UnknownProducerIdError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

from worker.errors import BrokerRefused, BrokerUnavailable, OutputRefused, TopicMissing
from worker.kafka import guards
from worker.kafka.diagnose import FENCED, describe
from worker.kafka.options import slot_name
from worker.kafka.outcome import REFUSALS, Outcome, Phase, find_rule, judge
from worker.kafka.probe import probe
from worker.kafka.producer import BATCH_BYTES, await_all, delivery_timeout_ms, producer_options, send_all
from worker.kafka.retry import Waiting, patiently
from worker.kafka.topics import group_members, missing_topics
from worker.kafka.watchdog import Watchdog
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings, SourceSettings
from worker.types import OutputRecord, TopicPartition

SAME_FAILURES = 3
"""After this many failures of one kind in a row, without a commit in between, a record is to blame."""

_PASSING = (
    RetriableError,
    CommitFailedError,
    TransactionAbortedError,
    OutOfOrderSequenceNumberError,
    UnknownProducerIdError,
)
"""Failures that no record causes, however often they occur."""

_log = structlog.get_logger(__name__)


class Checkpoint(Protocol):
    """Outputs and offsets as one step."""

    def open(self, stop: threading.Event | None = None) -> None:
        """Connect, within `kafka.connect_limit_s`, or until `stop` is set. Raises MoodstreamError."""

    def commit(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[TopicPartition, int], snapshot: Any | None
    ) -> Outcome:
        """Write outputs and the last processed offsets. Raises MoodstreamError."""

    def close(self) -> None:
        """Close the connection. Never raises."""


class BaseCheckpoint(ABC):
    """Runs a checkpoint with a producer that is replaced after every failure.

    `commit` may run in a thread other than the source's, but never while the source polls.

    Args:
        kafka: how to reach the brokers.
        delivery: limits.
        options: the producer's keyword arguments.
        watchdog: what ends the process when a call into the client hangs.
        on_wait: called repeatedly, on any thread, while no broker answers.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        delivery: DeliverySettings,
        options: Mapping[str, Any],
        watchdog: Watchdog | None,
        on_wait: Callable[[], None] | None,
    ) -> None:
        self._kafka = kafka
        self._options = dict(options)
        self._flush_limit_s = delivery_timeout_ms(delivery) / 1_000 + 5
        self._watchdog = watchdog or Watchdog(
            delivery.watchdog_s,
            lambda: probe(kafka),
            connect_limit_s=kafka.connect_limit_s,
            on_wait=on_wait,
        )
        self._on_wait = on_wait
        self._producer: KafkaProducer | None = None
        self._answers: guards.ProduceAnswers = {}
        self._phase = Phase.OPENING
        self._stop = threading.Event()
        self._waiting = Waiting("a commit to succeed")
        self._last_failure: tuple[type[Exception] | None, int] = (None, 0)
        self._turn = 0

    def open(self, stop: threading.Event | None = None) -> None:
        """Connect. Waits for the brokers within `kafka.connect_limit_s`, or until `stop` is set.

        Raises:
            MoodstreamError: a broker refuses, another worker takes over the slot, or the limit is reached.
        """
        guards.announce()
        if stop is not None:
            self._stop = stop
            self._waiting = Waiting("a commit to succeed", stop=stop)
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
        the source must be rewound. If brokers are away, this call waits for them.

        Raises:
            OutputRefused: Kafka refuses at least one of the outputs. Nothing is committed, the producer is a
                new one, and the same snapshot may be used for other outputs.
            MoodstreamError: the worker must end.
        """
        if snapshot is None or snapshot.generation_id < 0 or not snapshot.member_id:
            # Kafka accepts offsets from "no member" without fencing, so they must never reach it.
            return Outcome.ABORTED
        if not offsets and not outputs:
            return Outcome.COMMITTED
        producer = self._producer or self._renew()
        if producer is None:
            return Outcome.ABORTED
        self._phase = Phase.SENDING
        self._turn += 1
        self._answers.clear()
        try:
            with self._watchdog.watch("checkpoint"):
                self._run(producer, outputs, offsets, snapshot)
        except KafkaError as error:
            return self._fail(producer, error, outputs, snapshot)
        self._waiting.succeeded()
        self._last_failure = (None, 0)
        return Outcome.COMMITTED

    def close(self) -> None:
        """Discard the producer at once. Never raises."""
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
        """Write and commit, and set `_phase` to ENDING just before the step that commits."""

    @abstractmethod
    def _prepare(self, producer: KafkaProducer) -> None:
        """Make a new producer ready for `_run`."""

    def _fail(
        self,
        producer: KafkaProducer,
        error: KafkaError,
        outputs: Sequence[OutputRecord],
        snapshot: ConsumerGroupMetadata,
    ) -> Outcome:
        refusal = isinstance(error, REFUSALS)  # names the topic, unlike the transaction's own error
        cause = error if refusal else guards.transaction_error(producer) or error
        reason = self._reason(cause)
        refused: OutputRefused | None = None
        if self._fenced_itself(cause, snapshot):
            outcome = Outcome.ABORTED
        else:
            try:
                outcome = self._judge(cause, reason)
            except OutputRefused as refusal:
                refused = refusal
        # Offsets of an aborted transaction leak into this client's next one, so there is no next one.
        self.close()
        if refused is not None:
            self._renew()
            raise refused
        _log.warning(
            "checkpoint failed; what was read is done again",
            outcome=outcome.value,
            phase=self._phase.value,
            reason=reason,
        )
        if isinstance(cause, (KafkaTimeoutError, UnknownTopicOrPartitionError)):
            self._refuse_missing_topics(outputs)
        self._waiting.pause()
        self._renew()
        return outcome

    def _judge(self, cause: Exception, reason: str) -> Outcome:
        """The outcome of a failure; the same failure several times in a row blames a record."""
        outcome = judge(cause, self._phase)
        kind, times = self._last_failure
        times = times + 1 if kind is type(cause) else 1
        self._last_failure = (type(cause), times)
        if outcome is Outcome.ABORTED and times >= SAME_FAILURES and not isinstance(cause, _PASSING):
            self._last_failure = (None, 0)
            raise OutputRefused(f"failed {times} times in the same way: {reason}")
        return outcome

    def _reason(self, cause: Exception) -> str:
        """One line. The error of an expired batch lacks the last answer, and an answer the partition."""
        answers = sorted(
            (f"{part.topic}-{part.partition}", answer) for part, answer in dict(self._answers).items()
        )
        if isinstance(cause, KafkaTimeoutError) and answers:
            told = "; ".join(f"{place}: {describe(answer)}" for place, answer in answers)
            return f"{describe(cause)}; the broker's last answer was {told}"
        if places := [place for place, answer in answers if type(answer) is type(cause)]:
            return f"{', '.join(places)}: {describe(cause)}"
        return describe(cause)

    def _fenced_itself(self, cause: Exception, snapshot: ConsumerGroupMetadata) -> bool:  # noqa: ARG002 - for the subclass that can tell
        """Whether a producer was fenced without another worker having taken its slot."""
        return False

    def _refuse_missing_topics(self, outputs: Sequence[OutputRecord]) -> None:
        """To the client a deleted topic looks like a slow broker, so it would retry for ever."""
        try:
            gone = missing_topics(self._kafka, sorted({output.topic for output in outputs}))
        except (BrokerUnavailable, BrokerRefused):
            return
        if gone:
            raise TopicMissing(
                f"no such topic: {', '.join(gone)}; moodstream topics create makes the topics that it needs"
            )

    def _renew(self) -> KafkaProducer | None:
        """Open a producer, however long the brokers take within `kafka.connect_limit_s`."""
        self._producer = patiently(
            "Kafka to accept a producer",
            self._open_once,
            limit_s=self._kafka.connect_limit_s,
            stop=self._stop,
            on_wait=self._on_wait,
        )
        return self._producer

    def _open_once(self) -> KafkaProducer:
        # The client's constructor hides why it fails; the probe reports it, and leaks no connections.
        reached = probe(self._kafka)
        try:
            producer = KafkaProducer(**self._options | {"bootstrap_servers": reached.bootstrap_servers})
            try:
                guards.refuse_topic_creation(producer)
                self._answers = guards.note_answers(producer)
                self._prepare(producer)
            except BaseException:
                guards.discard(producer)
                raise
        except KafkaError as error:
            if find_rule(error, Phase.OPENING) is not None:
                judge(error, Phase.OPENING)
            raise BrokerUnavailable(describe(error)) from error
        return producer


class TransactionalCheckpoint(BaseCheckpoint):
    """Begin, send, await every future, offsets, commit: in this order, all or nothing.

    Call `open` before the consumer joins its group: it ends the transaction that a killed worker in the same
    slot left open. Run inference before `commit`: the transaction's clock starts at its first send.

    With `members_decide` the slot was taken, not assigned: another worker may have opened a producer in it
    without joining the group under its name, so a fenced producer alone does not mean that the slot is lost.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        sink: SinkSettings,
        source: SourceSettings,
        delivery: DeliverySettings,
        *,
        batch_bytes: int = BATCH_BYTES,
        watchdog: Watchdog | None = None,
        on_wait: Callable[[], None] | None = None,
        members_decide: bool = False,
    ) -> None:
        self._group = source.group_id
        self._slot = slot_name(source.group_id, delivery.slot)
        # After the shorter of the two, others may end this worker's transaction.
        self._timeout_s = min(delivery.transaction_timeout_ms, source.session_timeout_ms) / 1_000
        self._members_decide = members_decide
        self._began = (0.0, 0.0)
        options = producer_options(kafka, sink, delivery, batch_bytes) | {
            "transactional_id": self._slot,
            "transaction_timeout_ms": delivery.transaction_timeout_ms,
        }
        super().__init__(kafka, delivery, options, watchdog, on_wait)

    def _run(
        self,
        producer: KafkaProducer,
        outputs: Sequence[OutputRecord],
        offsets: Mapping[TopicPartition, int],
        snapshot: ConsumerGroupMetadata,
    ) -> None:
        self._began = (time.monotonic(), time.time())
        producer.begin_transaction()
        sent = send_all(producer, outputs, self._turn)
        await_all(producer, sent, self._flush_limit_s)
        if offsets:
            producer.send_offsets_to_transaction(next_offsets(offsets), snapshot)
        self._phase = Phase.ENDING
        producer.commit_transaction()

    def _prepare(self, producer: KafkaProducer) -> None:
        guards.protect(producer)
        producer.init_transactions()

    def _fenced_itself(self, cause: Exception, snapshot: ConsumerGroupMetadata) -> bool:
        """Whether the transaction was ended from outside, and no other worker is in the slot.

        A broker ends one that has timed out, and other workers end that of one whose session has. Both fence
        the producer, as a twin does. A worker that was suspended for that long may go on with a new producer;
        the group's members show whether another worker has taken the slot meanwhile.
        """
        if not isinstance(cause, FENCED):
            return False
        # The monotonic clock may stop while the machine is suspended; the wall clock may be set back.
        age_s = max(time.monotonic() - self._began[0], time.time() - self._began[1])
        if age_s < self._timeout_s and not self._members_decide:
            return False
        try:
            members = group_members(self._kafka, self._group)
        except (BrokerUnavailable, BrokerRefused) as problem:
            _log.warning("cannot ask whether another worker is in this slot", reason=describe(problem))
            return False
        if any(one.name == self._slot and one.member_id != snapshot.member_id for one in members):
            return False
        _log.warning(
            "this worker's transaction was ended from outside, as after a long pause; no other worker is in "
            "its slot, so it goes on",
            transaction_age_s=round(age_s, 1),
            slot=self._slot,
        )
        return True


def next_offsets(offsets: Mapping[TopicPartition, int]) -> dict[ClientTopicPartition, OffsetAndMetadata]:
    """Last processed offsets as Kafka expects them: the next one to read."""
    return {
        ClientTopicPartition(part.topic, part.partition): OffsetAndMetadata(offset + 1, "", -1)
        for part, offset in offsets.items()
    }


CommitOffsets = Callable[[Mapping[TopicPartition, int]], None]
"""Commits the last processed offset of each partition as the group's member, or raises a KafkaError."""


class AtLeastOnceCheckpoint(BaseCheckpoint):
    """Outputs are acknowledged before the offsets are committed; a crash in between repeats the outputs.

    `commit_offsets` is `Source.commit`. After ABORTED, outputs may have been written all the same; they are
    written again with the same `event_id`.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        sink: SinkSettings,
        delivery: DeliverySettings,
        commit_offsets: CommitOffsets,
        *,
        batch_bytes: int = BATCH_BYTES,
        watchdog: Watchdog | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        options = producer_options(kafka, sink, delivery, batch_bytes)
        super().__init__(kafka, delivery, options, watchdog, on_wait)
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

    def _prepare(self, producer: KafkaProducer) -> None:
        """Nothing more is needed."""
