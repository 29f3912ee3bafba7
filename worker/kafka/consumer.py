"""The group's consumer: its settings, what it reports about rebalances, and how it leaves its group."""

from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.admin import MemberToRemove
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, MemberState

from worker.errors import BrokerRefused, BrokerUnavailable
from worker.kafka.diagnose import describe
from worker.kafka.options import client_options, slot_name
from worker.kafka.predecessor import ASSIGNORS
from worker.kafka.records import Unreadable
from worker.kafka.topics import admin_client
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.types import Record

FETCH_MAX_BYTES = 16 * 1024 * 1024
"""The most that the client buffers between polls. A larger record is still delivered."""

_log = structlog.get_logger(__name__)


def consumer_options(kafka: KafkaSettings, source: SourceSettings, slot: str) -> dict[str, Any]:
    """Keyword arguments of the consumer. No deserialiser: one that raises makes poll spin for ever."""
    return {
        **client_options(kafka),
        "group_id": source.group_id,
        "group_instance_id": slot_name(source.group_id, slot),
        "partition_assignment_strategy": ASSIGNORS,
        # positions.py decides where to begin: the client would skip messages silently.
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        # Also makes the group's offsets wait for open transactions, which exactly-once needs for any input.
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "session_timeout_ms": source.session_timeout_ms,
        # Members learn of a rebalance by their next heartbeat, so this adds to every take-over.
        "heartbeat_interval_ms": min(1_000, source.session_timeout_ms // 3),
        "max_poll_interval_ms": source.max_poll_interval_ms,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "request_timeout_ms": 10_000,
        "fetch_max_bytes": FETCH_MAX_BYTES,
        "metrics_enabled": False,
    }


def subscribe(consumer: KafkaConsumer, source: SourceSettings, listener: ConsumerRebalanceListener) -> None:
    """Subscribe to the topics, or to all whose whole name matches the pattern."""
    if source.topic_pattern is None:
        consumer.subscribe(source.topics, listener=listener)
    else:
        # The client matches the beginning of a name only.
        consumer.subscribe(pattern=rf"(?:{source.topic_pattern})\Z", listener=listener)


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Counts what happens to the assignment.

    The client calls it inside `poll`, but on its own thread, where a call into the consumer would raise. So
    it only counts, and the source acts when `poll` has returned.
    """

    def __init__(self) -> None:
        self.changes = 0
        """Partitions were revoked, lost or assigned: what was read before is void."""
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
    headers, unreadable = row.headers, None
    if isinstance(headers, Unreadable):
        unreadable = headers.reason
        if headers.first < row.offset:
            unreadable += f"; this holds offsets {headers.first} to {row.offset}"
    return Record(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        timestamp_ms=-1 if row.timestamp is None else row.timestamp,
        key=row.key,
        value=row.value,
        headers=tuple(headers or ()),
        unreadable=unreadable,
    )


def who_leaves(member: ConsumerGroupMetadata) -> MemberToRemove | None:
    """The member that the broker is to remove, or None where this worker never asked to join.

    By name and member id, so that a successor in the slot is never removed. A first join that has not been
    answered yet has no member id, so the name alone must do. Without the removal the group would wait for a
    member that is gone, first to take its share and then until its session ends, and would stall meanwhile.
    """
    if not member.member_id and member.state is not MemberState.REBALANCING:
        return None
    return MemberToRemove(member_id=member.member_id or None, group_instance_id=member.group_instance_id)


def leave_group(kafka: KafkaSettings, group: str, leaving: MemberToRemove) -> None:
    """Remove a static member from its group, which it does not do by itself (KIP-345).

    Never raises: if this fails, the member leaves when its session times out.
    """
    try:
        with admin_client(kafka) as admin:
            admin.remove_group_members(group, [leaving])
    except (BrokerUnavailable, BrokerRefused, KafkaError) as error:
        _log.info("could not leave the group", reason=describe(error))
