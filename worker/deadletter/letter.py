"""The dead letter itself."""

from typing import Literal

from worker.deadletter.profiles import Origin, connect_headers, spring_headers
from worker.types import Failure, OutputRecord, Record

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
