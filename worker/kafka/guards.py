"""Every line that reaches into kafka-python's private parts, and why.

Seen on kafka-python 3.0.12. Each guard answers a fault that lost or doubled data, hung, or hid a reason;
`tests/kafka/test_connect_guards.py` fails when one stops working. `missing()` is the start-up check: it names
the parts that a newer client no longer has, and `announce()` says so loudly.
"""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from kafka import KafkaConsumer, KafkaProducer
from kafka.coordinator.base import BaseCoordinator
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import TransactionManager
from kafka.structs import MemberState
from kafka.version import __version__ as client_version

SEEN_ON = "3.0.12"
"""The client version that the guards were written and tested for."""

COORDINATOR_PAUSE_S = 0.1
"""How long the sender rests before it looks for a lost coordinator again."""

METADATA_ROUNDS, METADATA_WAIT_MS = 3, 5_000
"""How often and how long each time a new consumer asks for its topics' partitions."""

_CLASS_PARTS: tuple[tuple[type, str], ...] = (
    (TransactionManager, "_supports_epoch_bump"),
    (TransactionManager, "last_error"),
    (KafkaNetClient, "await_ready"),
    (Sender, "force_close"),
    (KafkaTCPTransport, "_sock_recv"),
    (KafkaSSLTransport, "_sock_recv"),
    (BaseCoordinator, "need_rejoin"),
    (BaseCoordinator, "request_rejoin"),
    (BaseCoordinator, "coordinator_unknown"),
    (BaseCoordinator, "_disable_heartbeat"),
)

_log = structlog.get_logger(__name__)


def missing(parts: tuple[tuple[type, str], ...] = _CLASS_PARTS) -> list[str]:
    """The private parts that this client no longer has, as `Class.attribute`; empty when all are there."""
    return [f"{owner.__name__}.{name}" for owner, name in parts if not hasattr(owner, name)]


def announce() -> bool:
    """Check at start-up; one loud line when a guard cannot work. True when all is as it should be."""
    gone = missing()
    if gone:
        _warn(gone)
    return not gone


def protect(producer: KafkaProducer) -> None:
    """Put the guards on a transactional producer, before `init_transactions()`."""
    try:
        refuse_epoch_bump(producer)
        retry_lost_coordinator(producer)
    except AttributeError as error:
        _warn([str(error)])


def refuse_epoch_bump(producer: KafkaProducer) -> None:
    """Make a sequence error fail the transaction.

    Left alone, the client asks for a new epoch in the middle of a commit and forgets the transaction: the
    commit returns, and all of it is lost. A fenced producer does the same and fences the new owner back.
    """
    manager = producer._transaction_manager
    manager._supports_epoch_bump  # noqa: B018 - raises AttributeError where the part is gone
    manager._supports_epoch_bump = lambda: False


def retry_lost_coordinator(producer: KafkaProducer) -> None:
    """Make the sender try again when the transaction coordinator's broker goes away.

    Left alone, the exception out of `await_ready` drops the pending request, and the call that waits for it
    (offsets, commit or abort) waits for ever. A False makes the sender look the coordinator up again.
    """
    client = producer._sender._client
    await_ready = client.await_ready

    def patient(node_id: Any, timeout_ms: float = 30_000) -> bool:
        try:
            return bool(await_ready(node_id, timeout_ms=timeout_ms))
        except KafkaConnectionError:
            time.sleep(COORDINATOR_PAUSE_S)
            return False

    client.await_ready = patient


def refuse_topic_creation(client: KafkaConsumer | KafkaProducer) -> None:
    """Keep the client from making topics that are missing, as most brokers do for whoever asks.

    The client takes `allow_auto_create_topics=False` and does not hand it on to what asks for metadata. A
    mistyped topic would come into being, empty and with the wrong number of partitions.
    """
    cluster = getattr(client, "_cluster", None) or getattr(client, "_metadata", None)
    if cluster is None or "allow_auto_create_topics" not in cluster.config:
        _warn(["ClusterMetadata.config[allow_auto_create_topics]"])
        return
    cluster.config["allow_auto_create_topics"] = False


def transaction_error(producer: KafkaProducer) -> Exception | None:
    """What put the producer into its error state.

    The client's own exception for the next call («cannot execute … in an error state») hides the class, and
    the class decides between going on and exiting.
    """
    error = getattr(getattr(producer, "_transaction_manager", None), "last_error", None)
    return error if isinstance(error, Exception) else None


def discard(producer: KafkaProducer) -> None:
    """Close a failed producer at once, without waiting for what it still wants to send.

    `close()` flushes first and raises when that does not finish, which leaves the sender thread running and
    resending; it is told to stop then.
    """
    try:
        producer.close(timeout=0)
    except Exception as error:  # noqa: BLE001 - it is thrown away whatever it says
        _log.debug("producer did not close by itself", error=str(error))
        sender = getattr(producer, "_sender", None)
        if sender is not None:
            sender.force_close()


def heartbeats_stopped(consumer: KafkaConsumer) -> bool:
    """Whether the group's coordinator has fenced this static member.

    The heartbeat loop meets FencedInstanceIdError, logs it and stops, and `poll()` goes on as if nothing had
    happened. A stable member that wants no rejoin and yet sends no heartbeats is a fenced one.
    """
    coordinator = consumer._coordinator
    with coordinator._lock:
        return bool(
            coordinator.state is MemberState.STABLE
            and not coordinator.rejoin_needed
            and not getattr(coordinator, "_heartbeat_enabled", True)
        )


def finish_join(consumer: KafkaConsumer) -> None:
    """Make the next poll take up a join that is under way.

    A group leader rejoins when the partitions of a topic change, and decides by comparing two snapshots.
    The join itself makes them equal. When it completes between two polls, nothing tells the next poll that
    there is a join to finish: it neither takes the result nor sends heartbeats, and the member is out of the
    group for good, in silence. Seen at one in some twenty starts on a busy machine, when the first join came
    before the first metadata.
    """
    coordinator = consumer._coordinator
    with coordinator._lock:
        if coordinator.state is MemberState.REBALANCING:
            coordinator.request_rejoin()


def know_topics(consumer: KafkaConsumer, topics: Sequence[str]) -> None:
    """Ask which partitions the topics have, before the first join.

    A group leader that does not know yet assigns none to anybody, and joins anew once it knows. Killed in
    between, its static successor gets that assignment without a rebalance (KIP-345) and is not told that it
    leads (KIP-814, which the client lacks): nobody looks at the topics again, and the whole group stays
    without partitions until somebody joins or leaves. Seen once in some hundred kills right after a start.
    """
    cluster = consumer._cluster
    for _ in range(METADATA_ROUNDS):  # the first may be one that was under way without these topics
        if all(cluster.partitions_for_topic(topic) is not None for topic in topics):
            return
        try:
            consumer._net.run(consumer._manager.wait_for, cluster.request_update(), METADATA_WAIT_MS)
        except KafkaError as error:
            _log.debug("topics are not known before the first join", error=str(error))
            return


def in_group(consumer: KafkaConsumer) -> bool:
    """Whether this member is in its group and knows the coordinator.

    While the brokers are away the client goes on calling itself stable: it cannot be told otherwise.
    """
    coordinator = consumer._coordinator
    with coordinator._lock:
        return coordinator.state is MemberState.STABLE and not coordinator.coordinator_unknown()


def stuck_partition(consumer: KafkaConsumer) -> tuple[Any, int] | None:
    """The partition and offset whose batch made `poll()` raise, or None when none is in hand."""
    fetcher = getattr(consumer, "_fetcher", None)
    part = getattr(fetcher, "_next_partition_records", None)
    if part is None:
        return None
    return part.topic_partition, int(part.next_fetch_offset)


def hand_over_last_bytes(transport: Any) -> Any:
    """Make a connection read what came before the end of the stream.

    A broker answers a wrong password and closes at once. The client reads answer and end in one go and throws
    the answer away; with this, the end is met at the next read, after the answer was understood.
    """
    receive = transport._sock_recv

    def receive_data_first() -> tuple[bytes, Exception | None]:
        data, error = receive()
        return (data, None) if data else (data, error)

    transport._sock_recv = receive_data_first
    return transport


def _warn(gone: list[str]) -> None:
    _log.error(
        "kafka-python has changed under the guards: exactly-once is NOT assured with this version",
        installed=client_version,
        guards_written_for=SEEN_ON,
        missing=gone,
        remedy=f"install kafka-python {SEEN_ON}",
    )
