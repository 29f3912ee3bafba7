"""Header names of a dead letter, as the tools that people have know them.

Sources: Kafka Connect's errant-record headers (KIP-298) and Spring Kafka's `KafkaHeaders.DLT_*`.

The dead letter itself.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from worker.types import Failure, Headers, OutputRecord, Record

CONNECT_PREFIX = "__connect.errors."
SPRING_PREFIX = "kafka_dlt-"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes the dead letter: the consumer group and the worker's slot in it."""

    group: str
    slot: str


def connect_headers(record: Record, failure: Failure, origin: Origin) -> Headers:
    """Kafka Connect's headers. Every value is UTF-8 text, numbers too."""
    values = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "connector.name": origin.group,
        "task.id": origin.slot,
        "stage": failure.stage,
        "class.name": f"worker.{failure.stage}",
        "exception.class.name": failure.exception,
        "exception.message": failure.message,
        "exception.stacktrace": f"{failure.exception}: {failure.message}",
    }
    return tuple((CONNECT_PREFIX + name, value.encode()) for name, value in values.items())


def spring_headers(record: Record, failure: Failure, origin: Origin) -> Headers:
    """Spring Kafka's headers. Partition, offset and timestamp are big-endian numbers of 4, 8 and 8 bytes."""
    values = {
        "original-topic": record.topic.encode(),
        "original-partition": struct.pack(">i", record.partition),
        "original-offset": struct.pack(">q", record.offset),
        "original-timestamp": struct.pack(">q", record.timestamp_ms),
        "original-consumer-group": origin.group.encode(),
        "exception-fqcn": failure.exception.encode(),
        "exception-message": failure.message.encode(),
    }
    return tuple((SPRING_PREFIX + name, value) for name, value in values.items())


REASON_HEADER = "moodstream.reason"
_PROFILES = {"connect": connect_headers, "spring": spring_headers}


class DeadLetters:
    """Makes dead letters for one topic.

    Args:
        topic: the dead-letter topic.
        profile: whose header names to use.
        origin: who writes them.
    """

    def __init__(self, topic: str, profile: Literal["connect", "spring"], origin: Origin) -> None:
        self._topic = topic
        self._headers = _PROFILES[profile]
        self._origin = origin

    def letter(self, record: Record, failure: Failure) -> OutputRecord:
        """Make the dead letter: key, value, timestamp and headers byte for byte, then the reason."""
        added = (
            *self._headers(record, failure, self._origin),
            (REASON_HEADER, failure.reason.encode()),
        )
        timestamp_ms = record.timestamp_ms if record.timestamp_ms >= 0 else None
        return OutputRecord(self._topic, record.key, record.value, (*record.headers, *added), timestamp_ms)
