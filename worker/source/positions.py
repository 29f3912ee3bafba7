"""Where each partition is read from: back to what is committed."""

from typing import Literal

from kafka import KafkaConsumer
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

LIMIT_MS = 5_000
"""How long one question to the broker may take."""


class Positions:
    """Rewinds the partitions of one consumer."""

    def __init__(self, consumer: KafkaConsumer, reset: Literal["earliest", "latest"]) -> None:
        self._consumer = consumer
        self._reset = reset
        self._clean: frozenset[ClientTopicPartition] | None = None

    def moved(self) -> None:
        """Records were handed out, or the group has moved: the next rewind asks the broker again."""
        self._clean = None

    def rewind(self) -> None:
        """Seek every assigned partition to its committed offset.

        Where nothing is committed: to the beginning, or, for `latest`, to the end, which is committed then as
        the group's starting point. Without that a worker that dies before its first commit, or hands the
        partition on, would begin at a later end and skip what came in between.

        Raises:
            KafkaError: the broker did not answer in time, or refused; positions may be partly rewound.
        """
        assigned = frozenset(self._consumer.assignment())
        if assigned == self._clean:
            return
        self._clean = None
        for part in assigned:
            offset = self._consumer.committed(part, timeout_ms=LIMIT_MS)
            if offset is not None and offset >= 0:
                self._consumer.seek(part, offset)
            elif self._reset == "earliest":
                self._consumer.seek_to_beginning(part)
            else:
                self._pin_to_end(part)
        self._clean = assigned

    def _pin_to_end(self, part: ClientTopicPartition) -> None:
        end = self._consumer.end_offsets([part], timeout_ms=LIMIT_MS)[part]
        self._consumer.commit({part: OffsetAndMetadata(end, "", -1)}, timeout_ms=LIMIT_MS)
        self._consumer.seek(part, end)
