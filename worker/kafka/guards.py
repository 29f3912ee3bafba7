"""Every line that relies on kafka-python's private parts, and why.

Written for kafka-python 3.0.12. Each guard fixes a fault that lost or doubled data, hung, or hid a reason;
`tests/kafka/test_connect_guards.py` fails when one stops working. `missing()` is the start-up check: it names
the parts that a newer client no longer has, and `announce()` says so loudly.
"""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import TransactionDescription
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.base import BaseCoordinator
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import (
    BrokerResponseError,
    ConcurrentTransactionsError,
    CorruptRecordError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    for_code,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import TransactionManager
from kafka.protocol.producer.transaction import InitProducerIdRequest
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.structs import MemberState, TopicPartition
from kafka.version import __version__ as client_version

from worker.kafka.records import LenientRecordBatch

SEEN_ON = "3.0.12"
"""The client version that the guards were written and tested for."""

COORDINATOR_PAUSE_S = 0.1
"""How long the sender rests before it looks for a lost coordinator again."""

METADATA_ROUNDS, METADATA_WAIT_MS = 3, 5_000
"""How often and how long each time a new consumer asks for its topics' partitions."""

SHORTEST_REST_S, LONGEST_REST_S = 0.005, 0.05
"""How long a consumer rests after empty answers that came at once: each time twice as long."""

_CLASS_PARTS: tuple[tuple[type, str], ...] = (
    (TransactionManager, "_supports_epoch_bump"),
    (TransactionManager, "last_error"),
    (KafkaNetClient, "await_ready"),
    (KafkaConnectionManager, "run"),
    (KafkaConnectionManager, "send"),
    (KafkaConnectionManager, "close"),
    (Sender, "force_close"),
    (Sender, "_can_retry"),
    (KafkaTCPTransport, "_sock_recv"),
    (KafkaSSLTransport, "_sock_recv"),
    (BaseCoordinator, "need_rejoin"),
    (BaseCoordinator, "request_rejoin"),
    (BaseCoordinator, "coordinator_unknown"),
    (BaseCoordinator, "_disable_heartbeat"),
    (ConsumerCoordinator, "fetch_committed_offsets"),
    (Fetcher, "fetch_records"),
    (Fetcher, "_handle_fetch_response"),
    (Fetcher, "PartitionRecords"),
    (Fetcher.PartitionRecords, "take"),
    (Fetcher.PartitionRecords, "drain"),
    (DefaultRecordBatch, "_pos"),
    (DefaultRecordBatch, "_buffer"),
    (DefaultRecordBatch, "_num_records"),
    (DefaultRecordBatch, "_next_record_index"),
    (DefaultRecordBatch, "_decompressed"),
)

_log = structlog.get_logger(__name__)


def missing(parts: tuple[tuple[type, str], ...] = _CLASS_PARTS) -> list[str]:
    """The private parts that this client no longer has, as `Class.attribute`; empty when all are there."""
    return [f"{owner.__name__}.{name}" for owner, name in parts if not hasattr(owner, name)]


def announce() -> bool:
    """Check at start-up, and log an error when a guard cannot work. True when all guards can."""
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

    Left alone, the exception from `await_ready` drops the pending request, and the call that waits for it
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

    The client accepts `allow_auto_create_topics=False` but does not pass it on to its metadata requests. A
    mistyped topic would be created, empty and with the wrong number of partitions.
    """
    cluster = getattr(client, "_cluster", None) or getattr(client, "_metadata", None)
    if cluster is None or "allow_auto_create_topics" not in cluster.config:
        _warn(["ClusterMetadata.config[allow_auto_create_topics]"])
        return
    cluster.config["allow_auto_create_topics"] = False


def transaction_error(producer: KafkaProducer) -> Exception | None:
    """What put the producer into its error state.

    The client's own exception for the next call ("cannot execute … in an error state") hides the class, and
    the class decides between going on and exiting.
    """
    error = getattr(getattr(producer, "_transaction_manager", None), "last_error", None)
    return error if isinstance(error, Exception) else None


ProduceAnswers = dict[TopicPartition, Exception]
"""The broker's last answer about records that it has not accepted yet, for each partition."""


def note_answers(producer: KafkaProducer) -> ProduceAnswers:
    """Keep what brokers answer to records that the client sends again, such as NotEnoughReplicas.

    Left alone, the answer is only in the client's log: when the client gives up on the record, its error says
    how long it waited, but not why.
    """
    answers: ProduceAnswers = {}
    sender = getattr(producer, "_sender", None)
    can_retry = getattr(sender, "_can_retry", None)
    if can_retry is None:
        return answers

    def note(batch: Any, error_class: type[Exception]) -> bool:
        if issubclass(error_class, BrokerResponseError):
            answers[batch.topic_partition] = error_class()
        return bool(can_retry(batch, error_class))

    sender._can_retry = note  # type: ignore[union-attr]  # kafka-python has no types
    return answers


def end_transaction(admin: KafkaAdminClient, name: str, seen: TransactionDescription) -> None:
    """Abort the open transaction of a producer that is gone, and fence that producer.

    The client offers this only as `init_transactions()`, which fences whoever has the name at that moment.
    With the producer id and epoch that were seen (KIP-360), the broker leaves a successor alone that has
    opened the name since, unless it has a transaction of its own already.

    Raises:
        KafkaError: the broker refuses; ProducerFencedError when there is such a successor.
    """
    request = InitProducerIdRequest(
        transactional_id=name,
        transaction_timeout_ms=seen.transaction_timeout_ms,
        producer_id=seen.producer_id,
        producer_epoch=seen.producer_epoch,
        min_version=3,
    )
    manager = getattr(admin, "_manager", None)
    if manager is None:
        raise KafkaError(f"kafka-python {client_version} has no KafkaAdminClient._manager")

    async def ask() -> Any:
        return await manager.send(request, node_id=seen.coordinator_id)

    error = for_code(manager.run(ask).error_code)
    if error not in (NoError, ConcurrentTransactionsError):  # the latter says that it is being aborted
        raise error(name)


def discard(producer: KafkaProducer) -> None:
    """Close a failed producer at once, without waiting for what it still wants to send.

    `close()` flushes first and raises when that does not finish, which leaves the sender thread running and
    resending; it is told to stop then.
    """
    try:
        producer.close(timeout=0)
    except Exception as error:  # noqa: BLE001 - the producer is discarded whatever the error
        _log.debug("producer did not close by itself", error=str(error))
        sender = getattr(producer, "_sender", None)
        if sender is not None:
            sender.force_close()


def heartbeats_stopped(consumer: KafkaConsumer) -> bool:
    """Whether the group's coordinator has fenced this static member.

    The heartbeat loop meets FencedInstanceIdError, logs it and stops, and `poll()` goes on as if nothing had
    happened. A stable member that needs no rejoin and yet sends no heartbeats has been fenced.
    """
    coordinator = consumer._coordinator
    with coordinator._lock:
        return bool(
            coordinator.state is MemberState.STABLE
            and not coordinator.rejoin_needed
            and not getattr(coordinator, "_heartbeat_enabled", True)
        )


class _FinishedJoin:
    """A join that has succeeded, in the shape of one that is still under way, which `poll` waits for."""

    is_done = False

    def __init__(self, assignment: bytes) -> None:
        self._assignment = assignment

    def add_callback(self, call: Callable[[bytes], object]) -> None:
        call(self._assignment)

    def add_errback(self, call: Callable[[Exception], object]) -> None:
        """Nothing to call: the join has not failed."""


def finish_join(consumer: KafkaConsumer) -> None:
    """Make the next poll continue a join that is under way, or that has ended since the last poll.

    When a join completes between two polls, the client throws its result away: the next poll sends another
    JoinGroup, and all other members have to join again. Two workers whose windows take seconds rebalanced for
    minutes that way. Worse, a group leader rejoins when the partitions of a topic change, and decides by
    comparing two snapshots, which the join itself makes equal: then the next poll does not know that there is
    a join to finish, and the member silently stays out of the group for good. Seen in about one of twenty
    starts on a busy machine, when the first join came before the first metadata.
    """
    coordinator = consumer._coordinator
    with coordinator._lock:
        if coordinator.state is not MemberState.REBALANCING:
            return
        coordinator.request_rejoin()
        join = getattr(coordinator, "_join_task", None)
        if join is not None and join.is_done and not isinstance(join, _FinishedJoin) and join.succeeded():
            coordinator._join_task = _FinishedJoin(join.value)


def waiting_join(consumer: KafkaConsumer) -> object | None:
    """The join that waits for its answer: the same object for as long as it does. None if none waits."""
    coordinator = consumer._coordinator
    with coordinator._lock:
        join = getattr(coordinator, "_join_task", None)
        waits = join is not None and not join.is_done and not isinstance(join, _FinishedJoin)
        return join if waits and coordinator.state is MemberState.REBALANCING else None


def join_again(consumer: KafkaConsumer) -> None:
    """Break the connection to the group's coordinator, so that a join that waits there is sent anew.

    The client waits for the answer of a JoinGroup as long as `max_poll_interval_ms`. The embedded broker
    forgets two joins when the second comes in the moment in which the first one's wait ends (seen once in
    ten starts of two workers at 0.3 s from each other); the member that joins anew is answered. To Apache
    Kafka it is a member whose connection broke: a static one takes its own place again (KIP-345).
    """
    node = consumer._coordinator.coordinator_id
    if node is None:  # close() would take that for all connections
        return

    async def end() -> None:
        consumer._manager.close(node_id=node)

    consumer._net.run(end)


def must_rejoin(consumer: KafkaConsumer) -> bool:
    """Whether the next poll rejoins the group, because a heartbeat or the metadata requires it."""
    coordinator = consumer._coordinator
    with coordinator._lock:
        return coordinator.state is not MemberState.STABLE or bool(coordinator.need_rejoin())


def know_topics(consumer: KafkaConsumer, topics: Sequence[str]) -> None:
    """Ask which partitions the topics have, before the first join.

    A group leader that does not know them yet assigns no partitions to anybody, and rejoins once it does. If
    it is killed in between, its static successor gets that assignment without a rebalance (KIP-345) and does
    not learn that it is the leader (KIP-814, which the client lacks): nobody looks at the topics again, and
    the whole group stays without partitions until somebody joins or leaves. Seen about once in a hundred
    kills right after a start.
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

    While the brokers are away the client still reports itself as stable, so its state alone is not enough.
    """
    coordinator = consumer._coordinator
    with coordinator._lock:
        return coordinator.state is MemberState.STABLE and not coordinator.coordinator_unknown()


def read_leniently() -> None:
    """Make every consumer of this process read batches through `LenientRecordBatch`. Idempotent.

    Left alone, one header name that is not UTF-8 makes its batch unreadable, because the client parses a
    batch from its first record whatever the position: seeking past the record returns to it for ever. Also
    turns any other parsing error into a `CorruptRecordError`, which the source handles.
    """
    memory_records.DefaultRecordBatch = LenientRecordBatch
    records = Fetcher.PartitionRecords
    take = records.take
    if hasattr(take, "__wrapped__"):
        return

    @functools.wraps(take)
    def take_or_say_corrupt(self: Any, n: int | None = None) -> Any:
        try:
            return take(self, n)
        except (KafkaError, MemoryError):
            raise
        except Exception as error:
            raise CorruptRecordError(f"{type(error).__name__} while a batch was parsed") from error

    records.take = take_or_say_corrupt


def stuck_partition(consumer: KafkaConsumer) -> tuple[TopicPartition, int] | None:
    """The partition and offset whose batch made `poll()` raise, or None when the client holds no batch.

    Drops that batch: otherwise the client would go on reading from a parser that has ended, and the next poll
    would never return.
    """
    records = getattr(getattr(consumer, "_fetcher", None), "_next_partition_records", None)
    if records is None:
        return None
    part, offset = records.topic_partition, int(records.next_fetch_offset)
    records.drain()
    return part, max(offset, position(consumer, part) or 0)


def position(consumer: KafkaConsumer, part: TopicPartition) -> int | None:
    """The offset that is read next, as far as the client knows; None before it does.

    The client's own `position()` asks the broker to confirm each one: for a thousand partitions once a
    second, that cost three quarters of the throughput.
    """
    state = consumer._subscription.assignment.get(part)
    found = None if state is None else state.position
    return None if found is None else int(found.offset)


def committed_offsets(
    consumer: KafkaConsumer, parts: Iterable[TopicPartition], timeout_ms: int
) -> dict[TopicPartition, int]:
    """The group's committed offsets in one request; a partition without one is left out.

    The client's own `committed()` asks for one partition at a time.

    Raises:
        KafkaError: the broker did not answer in time, or refused.
    """
    found = consumer._coordinator.fetch_committed_offsets(list(parts), timeout_ms=timeout_ms)
    return {part: int(entry.offset) for part, entry in found.items() if entry.offset >= 0}


def hand_over_last_bytes(transport: Any) -> Any:
    """Make a connection deliver the data that came before the end of the stream.

    A broker answers a wrong password and closes at once. The client reads the answer and the end in one go
    and discards the answer; with this guard it sees the end only at the next read, after handling the answer.
    """
    receive = transport._sock_recv

    def receive_data_first() -> tuple[bytes, Exception | None]:
        data, error = receive()
        return (data, None) if data else (data, error)

    transport._sock_recv = receive_data_first
    return transport


class _Rests:
    """Rests between the fetches of one consumer, as long as its broker has nothing and does not wait."""

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher
        self._fetch_records = fetcher.fetch_records
        self._handle = fetcher._handle_fetch_response
        # A broker that waits takes nearly all of this time.
        self._at_once_s = fetcher.config["fetch_max_wait_ms"] / 2_000
        self._rest_s = 0.0
        self._until = 0.0

    def answered(self, node_id: Any, offsets: Any, sent_at: float, answer: Any) -> None:
        """On the client's own thread, once for each answer to a fetch."""
        parts = [part for topic in answer.responses for part in topic.partitions]
        empty = not any(part.records or part.error_code for part in parts)
        now = time.monotonic()
        if empty and now - sent_at < self._at_once_s:
            self._rest_s = min(LONGEST_REST_S, max(SHORTEST_REST_S, 2 * self._rest_s))
            self._until = now + self._rest_s
        else:
            self._rest_s = self._until = 0.0
        self._handle(node_id, offsets, sent_at, answer)

    def fetch_records(
        self, max_records: int | None = None, update_offsets: bool = True, timeout_ms: float | None = None
    ) -> Any:
        """On the thread that polls; sends the next fetch."""
        rest_s = self._until - time.monotonic()
        if timeout_ms and rest_s > 0 and not self._fetcher._completed_fetches:
            time.sleep(min(rest_s, timeout_ms / 1_000))
        return self._fetch_records(max_records, update_offsets=update_offsets, timeout_ms=timeout_ms)


def rest_between_empty_answers(consumer: KafkaConsumer) -> None:
    """Make a consumer rest when its broker answers a fetch at once although it has nothing.

    Apache Kafka keeps a fetch for up to `fetch.max.wait.ms` until there is a record. The embedded broker
    answers at once, and the client, which relies on the wait, asks again at once: an idle worker sent more
    than a thousand fetches a second and used more than half of a core.
    """
    fetcher = getattr(consumer, "_fetcher", None)
    try:
        rests = _Rests(fetcher)
    except (AttributeError, KeyError) as error:
        _warn([f"Fetcher: {error}"])
        return
    fetcher._handle_fetch_response = rests.answered  # type: ignore[union-attr]  # kafka-python has no types
    fetcher.fetch_records = rests.fetch_records  # type: ignore[union-attr]  # kafka-python has no types


def _warn(gone: list[str]) -> None:
    _log.error(
        "kafka-python has changed under the guards: exactly-once is NOT assured with this version",
        installed=client_version,
        guards_written_for=SEEN_ON,
        missing=gone,
        remedy=f"install kafka-python {SEEN_ON}",
    )
