"""The half that both checkpoints share: a producer that is replaced after every failure."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from kafka.structs import ConsumerGroupMetadata

from worker import exitcodes
from worker.checkpoint.backoff import Backoff
from worker.checkpoint.outcome import Fatal, Outcome, Phase, judge, one_line
from worker.checkpoint.producers import delivery_timeout_ms, open_patiently
from worker.checkpoint.watchdog import Watchdog
from worker.connect import BrokerRefused, BrokerUnavailable, guards, missing_topics
from worker.settings.groups import DeliverySettings, KafkaSettings
from worker.types import OutputRecord, TopicPartition

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
                exitcodes.TOPIC_MISSING,
                f"no such topic: {', '.join(gone)}; moodstream topics create makes the topics that it needs",
            )

    def _renew(self) -> KafkaProducer | None:
        self._producer = open_patiently(self._kafka, self._open_once, self._stop)
        return self._producer
