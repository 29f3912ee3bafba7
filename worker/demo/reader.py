"""Reads what the worker has committed to the output and dead-letter topics."""

import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from worker.connect import client_options
from worker.settings.groups import KafkaSettings
from worker.types import Record

_END_S = 10.0


class ReaderError(Exception):
    """The topics cannot be read; `str()` is one line."""


class Reader:
    """A consumer without a group, on every partition of the topics, from their beginning.

    With `read_committed`: an output of a transaction that is not committed is never seen.

    Raises:
        ReaderError: a topic is not there.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str]) -> None:
        self._consumer = KafkaConsumer(
            **client_options(kafka),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )
        self._partitions: list[KafkaPartition] = []
        for topic in topics:
            numbers = self._consumer.partitions_for_topic(topic)
            if not numbers:
                raise ReaderError(f"the topic {topic} is not there")
            self._partitions += [KafkaPartition(topic, number) for number in sorted(numbers)]
        self._consumer.assign(self._partitions)

    def read(self, timeout_s: float) -> list[Record]:
        """What is there, after waiting `timeout_s` seconds at most.

        Raises:
            ReaderError: the broker does not answer.
        """
        try:
            batches = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            raise ReaderError(f"the answers cannot be read: {error}") from error
        return [_record(record) for batch in batches.values() for record in batch]

    def read_to_end(self) -> list[Record]:
        """Everything that is committed by now and was not read yet.

        Raises:
            ReaderError: the end was not reached within ten seconds.
        """
        ends = self._consumer.end_offsets(self._partitions)
        records: list[Record] = []
        deadline = time.monotonic() + _END_S
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise ReaderError("the answers could not be read to their end")
            records += self.read(0.1)
        return records

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def _record(record: Any) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )
