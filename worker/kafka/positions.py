"""Where each partition is read from: committed offsets, gaps in the log, and data that cannot be read."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import structlog
from kafka import KafkaConsumer
from kafka.errors import CorruptRecordError, LogTruncationError
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as ClientTopicPartition

from worker.errors import SourceUnreadable
from worker.kafka import guards
from worker.kafka.diagnose import describe
from worker.types import TopicPartition

LIMIT_MS = 5_000
"""How long one question to the broker may take."""

STUCK_AFTER = 3
"""This many failures at one place, with nothing read in between, end the worker."""

GapReason = Literal["new_partition", "retention", "truncated"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """A partition is read from an offset other than the one that was due.

    `new_partition`: it was added to a topic that the group reads already, and is read from its beginning.
    `retention`: the broker has removed `messages` messages before they were read.
    `truncated`: the log ends before the offset that was due; it was recreated or has lost messages.
    """

    partition: TopicPartition
    reason: GapReason
    due: int
    """The offset that would have been read next; for a new partition its end, where `latest` would begin."""

    offset: int
    """The offset that is read instead."""

    @property
    def messages(self) -> int:
        """How many offsets lie between the two."""
        return abs(self.offset - self.due)


GapListener = Callable[[Gap], None]
CorruptListener = Callable[[TopicPartition, int, int], None]
"""Called once for each range that cannot be read and is skipped, with its first and last offset."""

_SAID: dict[GapReason, str] = {
    "new_partition": "partition added: read from its beginning, whatever source.auto_offset_reset says",
    "retention": "the broker removed messages before they were read; going on with the earliest that is left",
    "truncated": "the partition ends before the offset to read: it was made anew or has lost messages",
}


class Positions:
    """Sets the positions of one consumer, whose own reset policy must be `none`.

    Args:
        consumer: the consumer.
        reset: where a group without committed offsets begins.
        on_gap: called once for each gap, in addition to the log line.
    """

    def __init__(
        self, consumer: KafkaConsumer, reset: Literal["earliest", "latest"], on_gap: GapListener | None = None
    ) -> None:
        self._consumer = consumer
        self._reset = reset
        self._on_gap = on_gap
        self._told: set[Gap] = set()
        self._clean: frozenset[ClientTopicPartition] | None = None

    def moved(self) -> None:
        """Records were handed out, or the group has rebalanced: the next rewind asks the broker again."""
        self._clean = None

    def rewind(self) -> bool:
        """Seek every assigned partition to its committed offset, or to where the group begins.

        Not while the group rebalances: the request would wait for the join, which would then end outside
        `poll`, where the client discards its result.

        Returns:
            False when another worker has yet to say where the group begins (`latest` only): ask again.

        Raises:
            KafkaError: the broker did not answer in time, or refused; positions may be partly set.
        """
        assigned = frozenset(self._consumer.assignment())
        if assigned == self._clean:
            return True
        self._clean = None
        committed = guards.committed_offsets(self._consumer, assigned, LIMIT_MS)
        for part, offset in committed.items():
            self._consumer.seek(part, offset)
        missing = assigned - committed.keys()
        if missing and self._reset == "earliest":
            self._consumer.seek_to_beginning(*missing)
        elif missing and not self._begin_at_the_end(missing):
            return False
        self._clean = assigned
        return True

    def out_of_range(self, offsets: Mapping[ClientTopicPartition, int]) -> None:
        """Go on after the broker has reported that it does not have these offsets (any more).

        Raises:
            KafkaError: the broker did not answer in time.
        """
        parts = list(offsets)
        begins = self._consumer.beginning_offsets(parts, timeout_ms=LIMIT_MS)
        ends = self._consumer.end_offsets(parts, timeout_ms=LIMIT_MS)
        for part, offset in offsets.items():
            if offset < begins[part]:
                self._go_on(part, "retention", offset, begins[part])
            elif offset > ends[part]:
                start = begins[part] if self._reset == "earliest" else ends[part]
                self._go_on(part, "truncated", offset, start)
            else:  # it exists by now: a new leader had not caught up
                self._consumer.seek(part, offset)

    def truncated(self, error: LogTruncationError) -> None:
        """Go on where a partition's log diverges from what was read before its leader was lost."""
        for part, found in error.divergent_offsets.items():
            due = guards.position(self._consumer, part)
            if due is None:
                continue
            if found is None:
                self.out_of_range({part: due})
            else:
                self._go_on(part, "truncated", due, found.offset)

    def _begin_at_the_end(self, missing: Iterable[ClientTopicPartition]) -> bool:
        """Record where a group with `latest` begins: at the current end of each existing partition.

        The worker with a topic's first partition commits the ends of all of them, in one request. So a worker
        that dies before its first commit, or passes a partition on, does not begin at a later end, and a
        partition without an offset whose siblings have one is known to be new.
        """
        by_topic: dict[str, list[ClientTopicPartition]] = defaultdict(list)
        for part in missing:
            by_topic[part.topic].append(part)
        begun = [self._begin_topic(topic, parts) for topic, parts in by_topic.items()]
        return all(begun)

    def _begin_topic(self, topic: str, missing: list[ClientTopicPartition]) -> bool:
        numbers = self._consumer.partitions_for_topic(topic) or {part.partition for part in missing}
        every = [ClientTopicPartition(topic, number) for number in sorted(numbers)]
        known = guards.committed_offsets(self._consumer, every, LIMIT_MS)
        if not known:
            if every[0] not in self._consumer.assignment():
                return False
            ends = self._consumer.end_offsets(every, timeout_ms=LIMIT_MS)
            self._consumer.commit(
                {part: OffsetAndMetadata(end, "", -1) for part, end in ends.items()}, timeout_ms=LIMIT_MS
            )
            known = ends
        new = [part for part in missing if part not in known]
        for part in set(missing) - set(new):
            self._consumer.seek(part, known[part])
        if new:
            begins = self._consumer.beginning_offsets(new, timeout_ms=LIMIT_MS)
            ends = self._consumer.end_offsets(new, timeout_ms=LIMIT_MS)
            for part in new:
                self._go_on(part, "new_partition", ends[part], begins[part])
        return True

    def _go_on(self, part: ClientTopicPartition, reason: GapReason, due: int, offset: int) -> None:
        self._consumer.seek(part, offset)
        gap = Gap(TopicPartition(*part), reason, due, offset)
        if gap in self._told:  # after a rewind
            return
        self._told.add(gap)
        (_log.warning if reason == "new_partition" else _log.error)(
            _SAID[reason],
            topic=part.topic,
            partition=part.partition,
            from_offset=min(due, offset),
            to_offset=max(due, offset),
            messages=gap.messages,
        )
        if self._on_gap is not None:
            self._on_gap(gap)


class CorruptBatches:
    """Skips batches that fail their checksum, and reports each place once.

    No dead letter is possible, because the client does not hand out what it does not trust: only the log line
    and the listener report it.
    """

    def __init__(self, listener: CorruptListener | None) -> None:
        self._listener = listener
        self._told: set[tuple[ClientTopicPartition, int, int]] = set()
        self._failures: dict[ClientTopicPartition, tuple[int, int]] = {}

    def rewound(self) -> None:
        """After a rewind the same places come up again, which does not mean that reading is stuck."""
        self._failures.clear()

    def pass_over(self, consumer: KafkaConsumer, error: CorruptRecordError) -> None:
        """Skip one offset of a batch that fails its checksum.

        One by one, because the end offset in the batch itself cannot be trusted.

        Raises:
            SourceUnreadable: the client does not say where it is, or is still at the same place.
        """
        reason = describe(error)
        place = guards.stuck_partition(consumer)
        if place is None:
            raise SourceUnreadable(f"the client cannot read and does not say where: {reason}")
        part, offset = place
        before, failures = self._failures.get(part, (-1, 0))
        failures = failures + 1 if offset <= before else 1
        self._failures[part] = (offset, failures)
        if failures >= STUCK_AFTER:
            raise SourceUnreadable(
                f"topic {part.topic}, partition {part.partition} cannot be read past offset {offset}; "
                f"move the group past it with kafka-consumer-groups.sh --reset-offsets: {reason}"
            )
        consumer.seek(part, offset + 1)
        self._tell(part, offset, offset, f"the batch is damaged on the broker's disk: {reason}")

    def _tell(self, part: ClientTopicPartition, first: int, last: int, reason: str) -> None:
        if (part, first, last) in self._told:  # after a rewind
            return
        self._told.add((part, first, last))
        _log.error(
            "cannot be read and is skipped: lost to the stream",
            topic=part.topic,
            partition=part.partition,
            offset=first,
            last_offset=last,
            reason=reason,
        )
        if self._listener is not None:
            self._listener(TopicPartition(*part), first, last)
