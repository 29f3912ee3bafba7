"""Batches that are damaged on the broker's disk."""

from collections.abc import Callable

import structlog
from kafka import KafkaConsumer
from kafka.errors import CorruptRecordError

from worker.connect import guards
from worker.types import TopicPartition

CorruptListener = Callable[[TopicPartition, int], None]
"""Called for each offset that cannot be read from the broker's disk and is passed over."""

_log = structlog.get_logger(__name__)


class CorruptBatches:
    """Steps over what fails its checksum, and tells each offset once.

    No dead letter is possible, for the original bytes are gone: the log and the listener are all there is.
    """

    def __init__(self, listener: CorruptListener | None) -> None:
        self._listener = listener
        self._told: set[tuple[str, int, int]] = set()

    def pass_over(self, consumer: KafkaConsumer, error: CorruptRecordError) -> None:
        """Step over one offset; seeking is what frees the client.

        One by one, because the batch's own word for where it ends cannot be trusted.

        Raises:
            CorruptRecordError: the error itself, when the client does not say where it is.
        """
        stuck = guards.stuck_partition(consumer)
        if stuck is None:
            raise error
        part, offset = stuck
        consumer.seek(part, offset + 1)
        place = (part.topic, part.partition, offset)
        if place in self._told:  # after a rewind
            return
        self._told.add(place)
        _log.error(
            "corrupt on the broker's disk, passed over: this message is lost to the stream",
            topic=part.topic,
            partition=part.partition,
            offset=offset,
            reason=" ".join(str(error).split()),
        )
        if self._listener is not None:
            self._listener(TopicPartition(part.topic, part.partition), offset)
