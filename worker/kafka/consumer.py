"""The group's consumer: its settings, and what it tells about rebalances."""

from typing import Any

from kafka import ConsumerRebalanceListener
from kafka.consumer.fetcher import ConsumerRecord

from worker.kafka.options import client_options, slot_name
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.types import Record

FETCH_MAX_BYTES = 16 * 1024 * 1024
"""The most that waits inside the client for a poll. A larger record still comes."""


def consumer_options(kafka: KafkaSettings, source: SourceSettings, slot: str) -> dict[str, Any]:
    """Keyword arguments of the consumer. No deserialiser: one that raises makes poll spin for ever."""
    return {
        **client_options(kafka),
        "group_id": source.group_id,
        "group_instance_id": slot_name(source.group_id, slot),
        "auto_offset_reset": source.auto_offset_reset,
        "enable_auto_commit": False,
        # Also makes the group's offsets wait for open transactions, which exactly-once needs for any input.
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "session_timeout_ms": source.session_timeout_ms,
        "heartbeat_interval_ms": min(3_000, source.session_timeout_ms // 3),
        "max_poll_interval_ms": source.max_poll_interval_ms,
        "request_timeout_ms": 10_000,
        "fetch_max_bytes": FETCH_MAX_BYTES,
        "metrics_enabled": False,
    }


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Counts what happens to the assignment.

    The client calls it inside `poll`, but on its own thread, where a call into the consumer would raise. So
    it only counts, and the source acts when its poll returns.
    """

    def __init__(self) -> None:
        self.changes = 0
        """Partitions were taken, lost or given: whatever was read before counts no more."""
        self.assigned = 0
        """Rebalances that ended with an assignment."""

    def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002 - the client's signature
        """Before a join."""
        self.changes += 1

    def on_partitions_lost(self, lost: Any) -> None:  # noqa: ARG002 - the client's signature
        """The group went on without this member."""
        self.changes += 1

    def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ARG002 - the client's signature
        """After a join."""
        self.changes += 1
        self.assigned += 1


def to_record(row: ConsumerRecord) -> Record:
    """The client's row as a Record."""
    return Record(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        timestamp_ms=-1 if row.timestamp is None else row.timestamp,
        key=row.key,
        value=row.value,
        headers=tuple(row.headers or ()),
    )
