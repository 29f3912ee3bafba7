"""At least once: outputs first, offsets after them."""

from collections.abc import Callable, Mapping, Sequence

from kafka import KafkaProducer
from kafka.structs import ConsumerGroupMetadata

from worker.checkpoint.base import BaseCheckpoint
from worker.checkpoint.outcome import Phase
from worker.checkpoint.producers import producer_options
from worker.checkpoint.sending import await_all, send_all
from worker.checkpoint.watchdog import Watchdog
from worker.connect import guards
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings
from worker.types import OutputRecord, TopicPartition

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
