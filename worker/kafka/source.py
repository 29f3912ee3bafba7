"""Kafka in: poll, rebalances, flow control and lag of one member of the consumer group."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from kafka import KafkaConsumer
from kafka.errors import (
    CommitFailedError,
    CorruptRecordError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

from worker.errors import BrokerUnavailable, Fenced
from worker.kafka import guards
from worker.kafka.consumer import Rebalances, consumer_options, leave_group, subscribe, to_record, who_leaves
from worker.kafka.diagnose import OWN_SLOTS, describe, raise_if_final
from worker.kafka.flow import Flow, fitting
from worker.kafka.options import slot_name
from worker.kafka.positions import CorruptBatches, CorruptListener, GapListener, Positions
from worker.kafka.probe import probe
from worker.kafka.retry import since_until
from worker.kafka.withheld import Withheld
from worker.settings.groups import KafkaSettings, SourceSettings
from worker.types import Record, TopicPartition

SETTLE_LIMIT_S = 5.0
"""How long one poll may wait for a rebalance to end. The next poll goes on waiting for the same one."""

SETTLE_STEP_S = 0.5
"""How often that poll checks whether the rebalance has ended, or the worker must stop."""

COMMIT_LIMIT_MS = 15_000
PAUSE_S = 0.5
"""Pause after trouble with the connection, so that a broker that is away does not make the loop spin."""

JOIN_SESSIONS = 2.0
"""After so many session time-outs a join that has no answer is sent again. After one, a group waits for no
dead member any more."""

TELL_EVERY_S = 5.0
"""How often a line says that the broker cannot be read from."""

_log = structlog.get_logger(__name__)


class Source:
    """One member of the consumer group, in its slot.

    Belongs to the thread that polls; only `commit` may come from another, while nobody polls. It connects at
    its first poll, which must come after the checkpoint's `open`. Trouble with the connection is logged and
    shows as empty polls.

    Args:
        kafka: how to reach the brokers.
        source: what to read.
        slot: the worker's place in the group.
        stop: when set, a poll does not wait for a rebalance to end.
        on_corrupt: called for what cannot be read and is skipped (see `CorruptBatches`).
        on_gap: called when a partition is read from an offset other than the one due (see `Gap`).
        on_withheld: called with whether Kafka withholds the group's offsets (see `Withheld`).
        on_assigned: called after each rebalance, and while offsets cannot be read: who had these partitions
            before may have left a transaction open.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        source: SourceSettings,
        slot: str,
        *,
        stop: threading.Event | None = None,
        on_corrupt: CorruptListener | None = None,
        on_gap: GapListener | None = None,
        on_withheld: Callable[[bool], None] = lambda _: None,
        on_assigned: Callable[[], None] = lambda: None,
    ) -> None:
        self._kafka = kafka
        self._settings = source
        self._slot = slot
        self._stop = stop or threading.Event()
        self._on_gap = on_gap
        self._on_assigned = on_assigned
        self._corrupt = CorruptBatches(on_corrupt)
        self._withheld = Withheld(kafka, source.group_id, on_withheld)
        self._consumer: KafkaConsumer | None = None
        self._positions: Positions | None = None
        self._rebalances = Rebalances()
        self._flow = Flow(source.max_in_flight_messages, source.max_in_flight_bytes)
        self._snapshot: ConsumerGroupMetadata | None = None
        self._seen_changes = 0
        self._rewind_due = False
        self._paused = False
        self._join: object | None = None
        self._join_since = 0.0
        self._logged: list[str] | None = None
        self._trouble_since: float | None = None
        self._tell_trouble_at = 0.0

    @property
    def generation(self) -> int:
        """Changes whenever partitions were revoked, lost or assigned. Records of another one are void."""
        return self._rebalances.changes

    @property
    def group(self) -> str:
        """The consumer group."""
        return self._settings.group_id

    @property
    def rebalances(self) -> int:
        """How often the group has assigned its partitions since the start."""
        return self._rebalances.assigned

    @property
    def in_flight(self) -> tuple[int, int]:
        """Messages and bytes between poll and release."""
        return self._flow.messages, self._flow.bytes

    @property
    def must_rejoin(self) -> bool:
        """Whether the next poll rejoins the group, so that what has not been committed by then is void."""
        return self._consumer is not None and guards.must_rejoin(self._consumer)

    def poll(self, max_messages: int, timeout_s: float) -> list[Record]:
        """Up to `max_messages` records, in order for each partition; empty after `timeout_s` without any.

        A poll during a rebalance returns nothing and changes `generation`. It may take `SETTLE_LIMIT_S`
        longer than asked; if the rebalance is not over by then, the next poll goes on waiting.

        Raises:
            Fenced: another worker is in this slot.
            SourceUnreadable: a partition cannot be read any further.
            CommitUnfinished: Kafka has withheld the group's offsets for too long.
            BrokerRefused: the broker refuses (rights, login, a setting).
        """
        consumer = self._consumer or self._connect(timeout_s)
        if consumer is None:
            return []
        if guards.heartbeats_stopped(consumer):
            raise Fenced(self._twin())
        if self._rewind_due and _stable(consumer) and not self._try_rewind():
            self._fetch(consumer, 1, timeout_s)  # stay a member; the rewind voids whatever is fetched
            return []
        self._apply_flow(consumer)
        room, room_bytes = self._flow.room()
        rows = self._fetch(consumer, max(1, min(max_messages, room)), timeout_s)
        self._settle(consumer)
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
        """Go back to the committed offsets, or to where the source began if there are none.

        Nothing is in flight afterwards. While the group rebalances or the broker is away, the next polls
        rewind before they return a record.
        """
        self._flow.reset()
        self._corrupt.rewound()
        self._snapshot = None
        self._rewind_due = True
        if self._consumer is not None and _stable(self._consumer):
            self._try_rewind()

    def release(self, records: Iterable[Record]) -> None:
        """Count these records as committed or dropped, which makes room for others."""
        self._flow.release(records)

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
        """The partitions that this worker has now."""
        if self._consumer is None:
            return frozenset()
        return frozenset(TopicPartition(*part) for part in self._consumer.assignment())

    @property
    def joined(self) -> bool:
        """Whether this worker is a member of its group now: false before the first join and while brokers
        are away."""
        return self._consumer is not None and guards.in_group(self._consumer)

    def lag(self) -> dict[TopicPartition, int]:
        """Records behind the end of each partition whose end is known. Call it on the polling thread.

        Sends the broker no request: position and end are those that the client already has.
        """
        behind: dict[TopicPartition, int] = {}
        if self._consumer is None or self._rewind_due:
            return behind
        for part in self._consumer.assignment():
            end = self._consumer.highwater(part)
            position = guards.position(self._consumer, part)
            if end is not None and position is not None:
                behind[TopicPartition(*part)] = max(0, end - position)
        return behind

    def leave(self, *, fenced: bool = False) -> None:
        """Disconnect and give the partitions to the other workers at once, for a requested stop.

        Without it a static member's partitions would lie idle until `source.session_timeout_ms` has passed.
        Also safe in the middle of a join. Never raises: if it fails, the session times out. With `fenced`
        the slot's name may be another worker's by now, so this one leaves by its member id or not at all.
        """
        if self._consumer is None:
            return
        member = self._consumer.group_metadata()
        self.close()
        leaving = None if fenced and not member.member_id else who_leaves(member)
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
        guards.read_leniently()
        try:
            # The client's constructor hides why it fails, and leaves a thread behind.
            reached = probe(self._kafka)
            consumer = KafkaConsumer(**consumer_options(reached, self._settings, self._slot))
        except (BrokerUnavailable, KafkaError) as problem:
            if isinstance(problem, KafkaError):
                raise_if_final(problem, self._twin())
            self._trouble(problem, timeout_s)
            return None
        guards.refuse_topic_creation(consumer)
        guards.rest_between_empty_answers(consumer)
        subscribe(consumer, self._settings, self._rebalances)
        guards.know_topics(consumer, self._settings.topics)
        self._consumer = consumer
        self._positions = Positions(consumer, self._settings.auto_offset_reset, self._on_gap)
        return consumer

    def _fetch(self, consumer: KafkaConsumer, max_rows: int, timeout_s: float) -> dict[Any, list[Any]]:
        guards.finish_join(consumer)
        try:
            rows: dict[Any, list[Any]] = consumer.poll(
                timeout_ms=max(0, round(timeout_s * 1_000)), max_records=max_rows
            )
        except (CorruptRecordError, UnsupportedCodecError) as error:
            self._corrupt.pass_over(consumer, error)
        except NoOffsetForPartitionError:
            self._rewind_later()
            if self._rebalances.changes == self._seen_changes:  # another worker has yet to commit the start
                time.sleep(min(PAUSE_S, timeout_s))
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._find_place(error, timeout_s)
        except KafkaError as error:
            raise_if_final(error, self._twin())
            self._trouble(error, timeout_s)
        else:
            self._trouble_since = None
            return rows
        return {}

    def _find_place(self, error: OffsetOutOfRangeError | LogTruncationError, timeout_s: float) -> None:
        """Find where to go on when the broker does not have the next offset. A pending rewind does so too."""
        if self._rewind_due or self._positions is None:
            return
        try:
            if isinstance(error, LogTruncationError):
                self._positions.truncated(error)
            else:
                self._positions.out_of_range(error.args[0])
        except KafkaError as problem:
            raise_if_final(problem, self._twin())
            self._trouble(problem, timeout_s)

    def _settle(self, consumer: KafkaConsumer) -> None:
        """Wait for a rebalance to end. Rows fetched meanwhile are void, because the generation changes."""
        if _stable(consumer):
            self._join = None
            return
        if self._rebalances.changes == self._seen_changes:
            self._rebalances.changes += 1  # no listener was called, as with the coordinator away
        self._join_again(consumer)
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while not _stable(consumer) and time.monotonic() < deadline and not self._stop.is_set():
            self._fetch(consumer, 1, SETTLE_STEP_S)

    def _join_again(self, consumer: KafkaConsumer) -> None:
        """Send a join again that has had no answer for too long."""
        join, now = guards.waiting_join(consumer), time.monotonic()
        if join is not self._join:
            self._join, self._join_since = join, now
        limit_s = JOIN_SESSIONS * self._settings.session_timeout_ms / 1_000
        if join is not None and now - self._join_since >= limit_s:
            _log.info("the group has not answered this worker's join; joining again", group=self.group)
            guards.join_again(consumer)
            self._join = None

    def _start_generation(self, consumer: KafkaConsumer) -> None:
        self._rewind_later()
        if _stable(consumer):
            self._on_assigned()  # first: the offsets may have to wait for it
        self.rewind()
        if not _stable(consumer):
            return  # the next poll comes here again
        self._seen_changes = self._rebalances.changes
        # A partition that is assigned again keeps its old position, past rows that are dropped now, and its
        # pause; and another member may have had it meanwhile.
        self._paused = False
        assigned = consumer.assignment()
        if assigned:
            consumer.resume(*assigned)
        names = sorted(f"{part.topic}-{part.partition}" for part in assigned)
        if names != self._logged:
            _log.info("partitions assigned", slot=self._slot, partitions=names)
            self._logged = names

    def _rewind_later(self) -> None:
        """Forget the positions; they are set again before the next record is returned."""
        self._rewind_due = True
        if self._positions is not None:
            self._positions.moved()

    def _try_rewind(self) -> bool:
        if self._positions is None:
            return False
        try:
            done = self._positions.rewind()
        except KafkaError as error:
            raise_if_final(error, self._twin())
            self._withheld.failed(error)
            self._on_assigned()
            return False
        self._withheld.succeeded()
        self._rewind_due = not done
        return done

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
        metadata = consumer.group_metadata()
        records = [to_record(row) for part_rows in rows.values() for row in part_rows]
        count = fitting(records, room_bytes)
        for record in reversed(records[count:]):
            # What does not fit is read again later. In reverse, so that each partition's earliest seek wins.
            consumer.seek(_theirs(record.topic_partition), record.offset)
        records = records[:count]
        if self._positions is not None:
            self._positions.moved()
        self._flow.add(records)
        lost = metadata.generation_id < 0 or not metadata.member_id
        self._snapshot = None if lost else metadata
        return records

    def _trouble(self, error: Exception, timeout_s: float) -> None:
        now = time.monotonic()
        since = self._trouble_since = self._trouble_since or now
        if now >= self._tell_trouble_at:
            self._tell_trouble_at = now + TELL_EVERY_S
            _log.warning(
                "waiting for Kafka to be read from",
                reason=describe(error),
                **since_until(now - since, self._kafka.connect_limit_s),
            )
        time.sleep(min(PAUSE_S, timeout_s))

    def _twin(self) -> str:
        name = slot_name(self._settings.group_id, self._slot)
        return f"another worker has taken slot {name}; {OWN_SLOTS}"


def _stable(consumer: KafkaConsumer) -> bool:
    """Whether the group has assigned its partitions, as far as this member knows."""
    return consumer.group_metadata().state is MemberState.STABLE


def _theirs(part: TopicPartition) -> ClientTopicPartition:
    return ClientTopicPartition(*part)
