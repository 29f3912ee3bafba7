"""What every Kafka client shares: options, the first connection and why it failed, guards, topics."""

from worker.connect.errors import BrokerRefused, BrokerUnavailable
from worker.connect.first import first_connection
from worker.connect.options import client_options, slot_name
from worker.connect.probe import probe
from worker.connect.reasons import explain
from worker.connect.topics import (
    ROOM_FOR_LARGE_RECORDS,
    TopicSpec,
    admin_client,
    create_topics,
    missing_topics,
    partition_counts,
)

__all__ = [
    "ROOM_FOR_LARGE_RECORDS",
    "BrokerRefused",
    "BrokerUnavailable",
    "TopicSpec",
    "admin_client",
    "client_options",
    "create_topics",
    "explain",
    "first_connection",
    "missing_topics",
    "partition_counts",
    "probe",
    "slot_name",
]
