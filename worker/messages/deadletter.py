"""Dead letters: the original record, with headers that say why it failed, under names that tools know.

Sources: Kafka Connect's errant-record headers (KIP-298) and Spring Kafka's `KafkaHeaders.DLT_*`.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from worker.messages.headers import CONNECT_PREFIX, REASON, SPRING_PREFIX, without_errors
from worker.types import Failure, Headers, OutputRecord, Record


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
    return tuple((CONNECT_PREFIX + name, _utf8(value)) for name, value in values.items())


def spring_headers(record: Record, failure: Failure, origin: Origin) -> Headers:
    """Spring Kafka's headers. Partition, offset and timestamp are big-endian numbers of 4, 8 and 8 bytes."""
    values = {
        "original-topic": _utf8(record.topic),
        "original-partition": struct.pack(">i", record.partition),
        "original-offset": struct.pack(">q", record.offset),
        "original-timestamp": struct.pack(">q", record.timestamp_ms),
        "original-consumer-group": _utf8(origin.group),
        "exception-fqcn": _utf8(failure.exception),
        "exception-message": _utf8(failure.message),
    }
    return tuple((SPRING_PREFIX + name, value) for name, value in values.items())


def _utf8(text: str) -> bytes:
    """Encode text that may come from the environment of the process, which can contain any bytes."""
    return text.encode("utf-8", "backslashreplace")


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
        self.origin = origin
        """Written into dead letters from now on."""

    def to_dead_letter(self, record: Record, failure: Failure) -> OutputRecord:
        """Make the dead letter: key, value, timestamp and headers byte for byte, then the reason.

        Headers of an earlier failure, as in a replayed dead letter, are replaced. Never fails.
        """
        headers = (
            *without_errors(record.headers),
            *self._headers(record, failure, self.origin),
            (REASON, _utf8(failure.reason)),
        )
        timestamp_ms = record.timestamp_ms if record.timestamp_ms >= 0 else None
        return OutputRecord(self._topic, record.key, record.value, headers, timestamp_ms)
