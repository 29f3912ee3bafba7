"""Topics: which are missing, how many partitions they have, and making them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from worker.errors import BrokerRefused, BrokerUnavailable
from worker.kafka.diagnose import probe
from worker.kafka.options import client_options
from worker.settings.groups import KafkaSettings

ROOM_FOR_LARGE_RECORDS = {"max.message.bytes": str(8 * 1024 * 1024)}
"""For the output and dead-letter topics. A dead letter is its input plus headers: an input just under the
broker's usual limit of 1 MiB would not fit into a topic with that same limit."""

Created = Literal["created", "exists"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to make. `partitions` or `replication` of -1 take the broker's own default."""

    name: str
    partitions: int = -1
    replication: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def admin_client(kafka: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """An admin client for a `with` block.

    Raises:
        BrokerRefused, BrokerUnavailable: with the reason, for the connection and for what is done inside.
    """
    probe(kafka)
    try:
        admin = KafkaAdminClient(**client_options(kafka))
        try:
            yield admin
        finally:
            admin.close()
    except AuthorizationError as error:
        raise BrokerRefused(f"the broker denies access: {error}") from error
    except KafkaError as error:
        raise (BrokerUnavailable if error.retriable else BrokerRefused)(
            f"the broker says: {error}"
        ) from error


def partition_counts(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """How many partitions each topic has; a topic that does not exist is left out.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    counts: dict[str, int] = {}
    with admin_client(kafka) as admin:
        for topic in admin.describe_topics(list(names)):
            error = for_code(topic["error_code"])
            if issubclass(error, UnknownTopicOrPartitionError):
                continue
            if topic["error_code"]:
                raise error(topic["name"])
            counts[topic["name"]] = len(topic["partitions"])
    return counts


def missing_topics(kafka: KafkaSettings, names: Sequence[str]) -> list[str]:
    """The topics that do not exist, in the order of `names`.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    there = partition_counts(kafka, names)
    return [name for name in names if name not in there]


def create_topics(kafka: KafkaSettings, topics: Sequence[TopicSpec]) -> dict[str, Created]:
    """Make the topics that do not exist and wait until each has its leaders. Existing ones are left alone.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`; refused also when the broker does not take a
            topic's numbers, such as more replicas than there are brokers.
    """
    wanted: dict[str, dict[str, Any]] = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": topic.replication,
            "configs": dict(topic.config),
        }
        for topic in topics
    }
    result: dict[str, Created] = {}
    if not wanted:
        return result
    with admin_client(kafka) as admin:
        for made in admin.create_topics(wanted, raise_errors=False)["topics"]:
            error = for_code(made["error_code"])
            if issubclass(error, TopicAlreadyExistsError):
                result[made["name"]] = "exists"
            elif made["error_code"]:
                raise BrokerRefused(f"topic {made['name']}: {made.get('error_message') or error.__name__}")
            else:
                result[made["name"]] = "created"
        admin.wait_for_topics(list(wanted))
    return result
