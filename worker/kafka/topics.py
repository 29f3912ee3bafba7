"""What the admin client is used for: topics and their partitions, members and offsets of a group."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from kafka import KafkaAdminClient
from kafka.errors import (
    GroupIdNotFoundError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from worker.errors import BrokerRefused, TopicMissing
from worker.kafka.diagnose import explain
from worker.kafka.options import client_options
from worker.kafka.outcome import unwrap
from worker.kafka.probe import probe
from worker.settings.groups import KafkaSettings

ROOM_FOR_LARGE_RECORDS = {"max.message.bytes": str(8 * 1024 * 1024)}
"""For the output and dead-letter topics. A dead letter is its input plus headers: an input just under the
broker's usual limit of 1 MiB would not fit into a topic with that same limit."""

REQUEST_LIMIT_MS = 8_000
"""How long one request may take: a broker that has just been killed answers nothing at all."""

_LATEST = -1
"""The time that stands for a partition's end in a ListOffsets request."""

Created = Literal["created", "exists"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to create. A `partitions` or `replication` of -1 means the broker's default."""

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
    # The client's constructor hides why it fails, and may wait for a server that never answers.
    reached = probe(kafka)
    try:
        admin = KafkaAdminClient(**client_options(reached), request_timeout_ms=REQUEST_LIMIT_MS)
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        raise explain(error) from error


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


def topic_names(kafka: KafkaSettings) -> list[str]:
    """The names of all topics that this client may see, sorted; without Kafka's own.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    with admin_client(kafka) as admin:
        return sorted(name for name in admin.list_topics() if not name.startswith("__"))


def require_topics(kafka: KafkaSettings, names: Sequence[str]) -> None:
    """Make sure that the topics exist.

    Raises:
        TopicMissing: names those that do not.
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    missing = missing_topics(kafka, names)
    if missing:
        raise TopicMissing(f"no such topic: {', '.join(missing)}; `moodstream topics create` makes them")


class Member(NamedTuple):
    """A member of a consumer group."""

    member_id: str
    name: str | None
    """Its static name (`group.instance.id`), if it has one."""

    process: str = ""
    """Which process it is, if it says so (see `predecessor`) and the group is not rebalancing."""


def group_members(kafka: KafkaSettings, group: str) -> list[Member]:
    """The members of a consumer group, none when there is no such group.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    with admin_client(kafka) as admin:
        return members_of(admin, group)


def members_of(admin: KafkaAdminClient, group: str) -> list[Member]:
    """The members of a consumer group, asked with a client that is there already.

    Raises:
        KafkaError: the coordinator refuses, or has yet to load the group.
    """
    described = admin.describe_groups([group])[group]
    if described["error"]:  # only as text, with its class in it
        error = unwrap(KafkaError(described["error"]))
        if isinstance(error, GroupIdNotFoundError):
            return []
        raise error if type(error) is KafkaError else type(error)(group)
    return [
        Member(one["member_id"], one.get("group_instance_id"), _user_data(one["member_metadata"]))
        for one in described["members"] or []
    ]


def _user_data(metadata: Any) -> str:
    """What a member has said of itself when it joined; empty while the group rebalances."""
    told = metadata.get("user_data") if isinstance(metadata, dict) else None
    return told if isinstance(told, str) else ""


def committed_anyhow(kafka: KafkaSettings, group: str) -> int:
    """How many partitions the group has offsets for, read without waiting for unfinished transactions.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    with admin_client(kafka) as admin:
        return len(admin.list_group_offsets(group).get(group, {}))


def group_lag(kafka: KafkaSettings, group: str) -> int:
    """How many messages lie between the group's committed offsets and the ends of the partitions.

    Partitions without a committed offset are left out.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`.
    """
    with admin_client(kafka) as admin:
        entries = admin.list_group_offsets(group).get(group, {})
        committed = {part: entry.offset for part, entry in entries.items() if entry.offset >= 0}
        if not committed:
            return 0
        ends = admin.list_partition_offsets(dict.fromkeys(committed, _LATEST))
    return sum(max(0, ends[part].offset - offset) for part, offset in committed.items() if part in ends)


def create_topics(kafka: KafkaSettings, topics: Sequence[TopicSpec]) -> dict[str, Created]:
    """Create the topics that do not exist and wait until each has its leaders. Existing ones are left alone.

    Raises:
        BrokerRefused, BrokerUnavailable: see `admin_client`; BrokerRefused also when the broker rejects a
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
