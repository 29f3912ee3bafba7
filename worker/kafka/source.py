"""Kafka in: poll, rebalances, flow control, lag.

Batches that are damaged on the broker's disk.

Where each partition is read from: back to what is committed.

Out of the group for good: what a stop that was asked for does and a crash cannot.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import structlog
from kafka import KafkaConsumer
from kafka.admin import MemberToRemove
from kafka.errors import CommitFailedError, CorruptRecordError, KafkaError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

from worker.errors import BrokerRefused, BrokerUnavailable, SourceFenced
from worker.kafka import guards
from worker.kafka.consumer import Rebalances, consumer_options, to_record
from worker.kafka.diagnose import probe, raise_if_final
from worker.kafka.flow import Flow, fitting
from worker.kafka.options import slot_name
from worker.kafka.topics import admin_client
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.types import Record, TopicPartition

CorruptListener = Callable[[TopicPartition, int], None]
"""Called for each offset that cannot be read from the broker's disk and is passed over."""

_log = structlog.get_logger(__name__)


class CorruptBatches:
    """Steps over what fails its checksum, and tells each offset once.

    No dead letter is possible, for the original bytes are gone: the log and the listener are all there is.
    """

    def __init__(self, listener: CorruptListener | None) -> None:
        self._listener = listener
        self._told: set[tuple[str, int, int]] = set()

    def pass_over(self, consumer: KafkaConsumer, error: CorruptRecordError) -> None:
        """Step over one offset; seeking is what frees the client.

        One by one, because the batch's own word for where it ends cannot be trusted.

        Raises:
            CorruptRecordError: the error itself, when the client does not say where it is.
        """
        stuck = guards.stuck_partition(consumer)
        if stuck is None:
            raise error
        part, offset = stuck
        consumer.seek(part, offset + 1)
        place = (part.topic, part.partition, offset)
        if place in self._told:  # after a rewind
            return
        self._told.add(place)
        _log.error(
            "corrupt on the broker's disk, passed over: this message is lost to the stream",
            topic=part.topic,
            partition=part.partition,
            offset=offset,
            reason=" ".join(str(error).split()),
        )
        if self._listener is not None:
            self._listener(TopicPartition(part.topic, part.partition), offset)


LIMIT_MS = 5_000
"""How long one question to the broker may take."""


class Positions:
    """Rewinds the partitions of one consumer."""

    def __init__(self, consumer: KafkaConsumer, reset: Literal["earliest", "latest"]) -> None:
        self._consumer = consumer
        self._reset = reset
        self._clean: frozenset[ClientTopicPartition] | None = None

    def moved(self) -> None:
        """Records were handed out, or the group has moved: the next rewind asks the broker again."""
        self._clean = None

    def rewind(self) -> None:
        """Seek every assigned partition to its committed offset.

        Where nothing is committed: to the beginning, or, for `latest`, to the end, which is committed then as
        the group's starting point. Without that a worker that dies before its first commit, or hands the
        partition on, would begin at a later end and skip what came in between.

        Raises:
            KafkaError: the broker did not answer in time, or refused; positions may be partly rewound.
        """
        assigned = frozenset(self._consumer.assignment())
        if assigned == self._clean:
            return
        self._clean = None
        for part in assigned:
            offset = self._consumer.committed(part, timeout_ms=LIMIT_MS)
            if offset is not None and offset >= 0:
                self._consumer.seek(part, offset)
            elif self._reset == "earliest":
                self._consumer.seek_to_beginning(part)
            else:
                self._pin_to_end(part)
        self._clean = assigned

    def _pin_to_end(self, part: ClientTopicPartition) -> None:
        end = self._consumer.end_offsets([part], timeout_ms=LIMIT_MS)[part]
        self._consumer.commit({part: OffsetAndMetadata(end, "", -1)}, timeout_ms=LIMIT_MS)
        self._consumer.seek(part, end)


def who_leaves(member: ConsumerGroupMetadata) -> MemberToRemove | None:
    """Whom the broker is to take out, or None where this worker never asked to join.

    By name and member id, so that a successor in the slot is never hit. A first join that has no answer yet
    has no member id: the name alone must do then. Left in, the group would wait for a member that is gone,
    first to take up its share and then until its session ends; and all of it stands still meanwhile.
    """
    if not member.member_id and member.state is not MemberState.REBALANCING:
        return None
    return MemberToRemove(member_id=member.member_id or None, group_instance_id=member.group_instance_id)


def leave_group(kafka: KafkaSettings, group: str, leaving: MemberToRemove) -> None:
    """Take a static member out of its group, which it does not do by itself (KIP-345).

    Never raises: what fails here, the session timeout mends.
    """
    try:
        with admin_client(kafka) as admin:
            admin.remove_group_members(group, [leaving])
    except (BrokerUnavailable, BrokerRefused, KafkaError) as error:
        _log.info("could not leave the group", reason=" ".join(str(error).split()))


SETTLE_LIMIT_S = 3.0
"""How long one poll may take to see a rebalance through. A poll that ends before it starts the join anew."""

SETTLE_STEP_MS, COMMIT_LIMIT_MS = 100, 15_000
PAUSE_S = 0.5
"""Rest after trouble with the connection, so that a broker that is away does not make the loop spin."""


class Source:
    """One member of the consumer group, in its slot.

    Belongs to one thread (the one that polls); only `commit` may come from another, while nobody polls. It
    connects at its first poll, which must come after the checkpoint's `open`. Trouble with the connection is
    logged and shows as empty polls.

    `on_corrupt(partition, offset)` is called for each offset that is passed over because its batch fails its
    checksum (see `CorruptBatches`).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        source: SourceSettings,
        slot: str,
        *,
        on_corrupt: CorruptListener | None = None,
    ) -> None:
        self._kafka = kafka
        self._settings = source
        self._slot = slot
        self._corrupt = CorruptBatches(on_corrupt)
        self._consumer: KafkaConsumer | None = None
        self._positions: Positions | None = None
        self._rebalances = Rebalances()
        self._flow = Flow(source.max_in_flight_messages, source.max_in_flight_bytes)
        self._snapshot: ConsumerGroupMetadata | None = None
        self._seen_changes = 0
        self._rewind_due = False
        self._paused = False
        self._logged: list[str] = []

    @property
    def generation(self) -> int:
        """Changes whenever partitions were taken, lost or given. Records of another generation are void."""
        return self._rebalances.changes

    @property
    def rebalances(self) -> int:
        """How often the group has shared out its partitions since the start."""
        return self._rebalances.assigned

    @property
    def in_flight(self) -> tuple[int, int]:
        """Messages and bytes between poll and settle."""
        return self._flow.messages, self._flow.bytes

    def poll(self, max_messages: int, timeout_s: float) -> list[Record]:
        """Up to `max_messages` records, in order for each partition; empty after `timeout_s` without any.

        A poll that meets a rebalance returns nothing, has rewound already, and leaves `generation` changed.
        It may take `SETTLE_LIMIT_S` longer than asked.

        Raises:
            SourceFenced: another worker is in this slot.
            BrokerRefused: the broker refuses (rights, login, a setting).
        """
        consumer = self._consumer or self._connect(timeout_s)
        if consumer is None:
            return []
        if guards.heartbeats_stopped(consumer):
            raise SourceFenced(self._twin())
        if self._rewind_due and not self._try_rewind():
            self._fetch(consumer, 1, timeout_s)  # stay a member; the rewind makes whatever comes void
            return []
        self._apply_flow(consumer)
        room, room_bytes = self._flow.room()
        rows = self._fetch(consumer, max(1, min(max_messages, room)), timeout_s)
        self._settle_group(consumer)
        if self._rebalances.changes != self._seen_changes:
            self._start_generation(consumer)
            return []
        if self._rewind_due or not rows:
            return []
        return self._hand_out(consumer, rows, room_bytes)

    def snapshot(self) -> ConsumerGroupMetadata | None:
        """The membership right after the last poll that returned records; None when it was lost.

        For the checkpoint: the broker takes offsets only from the generation that read them.
        """
        return self._snapshot

    def rewind(self) -> None:
        """Go back to what is committed, or to where the source began where nothing is.

        Nothing is in flight afterwards. When the broker is away it is made up for before the next record.
        """
        self._flow.reset()
        self._snapshot = None
        self._rewind_due = True
        if self._consumer is not None:
            self._try_rewind()

    def settle(self, records: Iterable[Record]) -> None:
        """Records that are done with, committed or dropped: makes room for others."""
        self._flow.settle(records)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the last processed offset of each partition, outside any transaction: for at-least-once.

        Raises:
            KafkaError: as the client raises it; CommitFailedError when the group has moved on.
        """
        if self._consumer is None:
            raise CommitFailedError("the source is closed")
        self._consumer.commit(
            {_theirs(part): OffsetAndMetadata(offset + 1, "", -1) for part, offset in offsets.items()},
            timeout_ms=COMMIT_LIMIT_MS,
        )

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that are this worker's now."""
        if self._consumer is None:
            return frozenset()
        return frozenset(TopicPartition(*part) for part in self._consumer.assignment())

    @property
    def joined(self) -> bool:
        """Whether this worker is a member of its group now: false before the first join and while brokers
        are away."""
        return self._consumer is not None and guards.in_group(self._consumer)

    def lag(self) -> dict[TopicPartition, int]:
        """Records behind the end of each partition whose end the broker has told. On the polling thread."""
        behind: dict[TopicPartition, int] = {}
        if self._consumer is None or self._rewind_due:
            return behind
        for part in self._consumer.assignment():
            end = self._consumer.highwater(part)
            if end is None:
                continue
            try:
                position = self._consumer.position(part, timeout_ms=SETTLE_STEP_MS)
            except KafkaError:
                continue
            if position is not None:
                behind[TopicPartition(*part)] = max(0, end - position)
        return behind

    def leave(self) -> None:
        """Disconnect and give the partitions to the other workers at once, for a stop that was asked for.

        Without it a static member's partitions would lie idle until `source.session_timeout_ms` has passed.
        Also right in the middle of a join. Never raises: what fails here, the session timeout mends.
        """
        if self._consumer is None:
            return
        member = self._consumer.group_metadata()
        self.close()
        leaving = who_leaves(member)
        if leaving is not None:
            leave_group(self._kafka, self._settings.group_id, leaving)

    def close(self) -> None:
        """Disconnect. The slot's partitions stay reserved for `source.session_timeout_ms`. Never raises."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close(autocommit=False, timeout_ms=5_000)
        except Exception as error:  # noqa: BLE001 - it is over either way
            _log.debug("consumer did not close cleanly", error=str(error))

    def _connect(self, timeout_s: float) -> KafkaConsumer | None:
        try:
            # The client's constructor hides why it fails, and leaves a thread behind.
            probe(self._kafka)
            consumer = KafkaConsumer(**consumer_options(self._kafka, self._settings, self._slot))
        except (BrokerUnavailable, KafkaError) as problem:
            if isinstance(problem, KafkaError):
                raise_if_final(problem, self._twin())
            self._trouble(problem, timeout_s)
            return None
        guards.refuse_topic_creation(consumer)
        consumer.subscribe(self._settings.topics, listener=self._rebalances)
        guards.know_topics(consumer, self._settings.topics)
        self._consumer = consumer
        self._positions = Positions(consumer, self._settings.auto_offset_reset)
        return consumer

    def _fetch(self, consumer: KafkaConsumer, max_rows: int, timeout_s: float) -> dict[Any, list[Any]]:
        guards.finish_join(consumer)
        try:
            return dict(consumer.poll(timeout_ms=max(0, round(timeout_s * 1_000)), max_records=max_rows))
        except CorruptRecordError as error:
            self._corrupt.pass_over(consumer, error)
        except KafkaError as error:
            raise_if_final(error, self._twin())
            self._trouble(error, timeout_s)
        return {}

    def _settle_group(self, consumer: KafkaConsumer) -> None:
        """See a rebalance through. Rows that come meanwhile are void, for the generation changes."""
        if consumer.group_metadata().state is MemberState.STABLE:
            return
        self._rebalances.changes += 1  # also when no listener was called, as with the coordinator away
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while consumer.group_metadata().state is not MemberState.STABLE and time.monotonic() < deadline:
            self._fetch(consumer, 1, SETTLE_STEP_MS / 1_000)

    def _start_generation(self, consumer: KafkaConsumer) -> None:
        self._seen_changes = self._rebalances.changes
        # A partition that comes back keeps its old position and pause, past rows that are dropped now; and
        # another member may have had it meanwhile.
        assert self._positions is not None  # noqa: S101 - made together with the consumer
        self._positions.moved()
        self.rewind()
        self._paused = False
        assigned = consumer.assignment()
        if assigned:
            consumer.resume(*assigned)
        names = sorted(f"{part.topic}-{part.partition}" for part in assigned)
        if names != self._logged:
            _log.info("partitions assigned", slot=self._slot, partitions=names)
            self._logged = names

    def _try_rewind(self) -> bool:
        assert self._positions is not None  # noqa: S101 - made together with the consumer
        try:
            self._positions.rewind()
        except KafkaError as error:
            raise_if_final(error, self._twin())
            _log.warning("cannot go back to the committed offsets yet", reason=_one_line(error))
            return False
        self._rewind_due = False
        return True

    def _apply_flow(self, consumer: KafkaConsumer) -> None:
        full = self._flow.full
        assigned = consumer.assignment()
        if full != self._paused and assigned:
            (consumer.pause if full else consumer.resume)(*assigned)
            self._paused = full
            _log.debug("paused" if full else "resumed", in_flight=self._flow.messages, bytes=self._flow.bytes)

    def _hand_out(
        self, consumer: KafkaConsumer, rows: Mapping[Any, list[Any]], room_bytes: int
    ) -> list[Record]:
        assert self._positions is not None  # noqa: S101 - made together with the consumer
        metadata = consumer.group_metadata()
        records = [to_record(row) for part_rows in rows.values() for row in part_rows]
        count = fitting(records, room_bytes)
        for record in reversed(records[count:]):
            # What does not fit is read again later; the earliest of each partition seeks last.
            consumer.seek(_theirs(record.topic_partition), record.offset)
        records = records[:count]
        self._positions.moved()
        self._flow.add(records)
        lost = metadata.generation_id < 0 or not metadata.member_id
        self._snapshot = None if lost else metadata
        return records

    def _trouble(self, error: Exception, timeout_s: float) -> None:
        _log.warning("cannot read from Kafka; trying again", reason=_one_line(error))
        time.sleep(min(PAUSE_S, timeout_s))

    def _twin(self) -> str:
        name = slot_name(self._settings.group_id, self._slot)
        return f"another worker has taken slot {name}; give each worker its own delivery.slot"


def _theirs(part: TopicPartition) -> ClientTopicPartition:
    return ClientTopicPartition(*part)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
