"""Exactly once: outputs and offsets in one Kafka transaction."""

from collections.abc import Mapping, Sequence

from kafka import KafkaProducer
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

from worker.checkpoint.base import BaseCheckpoint
from worker.checkpoint.outcome import Phase
from worker.checkpoint.producers import producer_options
from worker.checkpoint.sending import await_all, send_all
from worker.checkpoint.watchdog import Watchdog
from worker.connect import guards, slot_name
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings, SourceSettings
from worker.types import OutputRecord, TopicPartition


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
