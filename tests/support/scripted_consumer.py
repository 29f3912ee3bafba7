"""A consumer that does what a test tells it, and writes down what it was asked."""

import threading
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata, TopicPartition

from worker.kafka.source import Source

Make = Callable[..., tuple[Source, "Scripted"]]
"""Of the fixture `make`."""

P0, P1 = TopicPartition("posts", 0), TopicPartition("posts", 1)


def row(part: TopicPartition, offset: int, value: bytes = b"v") -> Any:
    """A ConsumerRecord, as far as the source looks at it."""
    return SimpleNamespace(
        topic=part.topic,
        partition=part.partition,
        offset=offset,
        timestamp=1,
        key=None,
        value=value,
        headers=[],
    )


class Scripted:
    """Stands in for KafkaConsumer. `script` holds what each poll does; polls after it find nothing."""

    def __init__(self) -> None:
        self.assigned = {P0, P1}
        self.metadata = ConsumerGroupMetadata("group", 1, "member-1", "group.0", MemberState.STABLE)
        self.committed_offsets: dict[TopicPartition, int] = {}
        self.committed_error: Exception | None = None
        self.script: list[Callable[[], dict[TopicPartition, list[Any]]]] = []
        self.seeks: list[tuple[TopicPartition, int | str]] = []
        self.paused: set[TopicPartition] = set()
        self.max_records: list[int] = []
        self.commits: list[Any] = []
        self.begins: dict[TopicPartition, int] = defaultdict(int)
        self.ends: dict[TopicPartition, int] = defaultdict(int)
        self.listener: Any = None
        self.topic_partitions = {0, 1}
        self.asked_committed: list[MemberState] = []
        self._coordinator = SimpleNamespace(
            _lock=threading.RLock(),
            state=MemberState.STABLE,
            fetch_committed_offsets=self._fetch_committed_offsets,
            need_rejoin=lambda: False,
        )
        self._subscription = SimpleNamespace(assignment={})
        self._cluster = SimpleNamespace(
            config={"allow_auto_create_topics": True}, partitions_for_topic=lambda _topic: {0}
        )
        self._fetcher = SimpleNamespace(_next_partition_records=None)

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self.max_records.append(max_records)
        return self.script.pop(0)() if self.script else {}

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    def group_metadata(self) -> ConsumerGroupMetadata:
        return self.metadata

    def _fetch_committed_offsets(self, parts: list[TopicPartition], timeout_ms: int) -> dict[Any, Any]:
        self.asked_committed.append(self.metadata.state)
        if self.committed_error is not None:
            raise self.committed_error
        return {
            part: OffsetAndMetadata(self.committed_offsets[part], "", -1)
            for part in parts
            if part in self.committed_offsets
        }

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self.topic_partitions

    def highwater(self, part: TopicPartition) -> int | None:
        return self.ends.get(part)

    def stand(self, part: TopicPartition, offset: int) -> None:
        """Set the position that the client holds."""
        position = OffsetAndMetadata(offset, "", -1)
        self._subscription.assignment[part] = SimpleNamespace(position=position)

    def stick(self, part: TopicPartition, offset: int) -> None:
        """Have a batch in hand whose parser failed at this offset."""
        self._fetcher._next_partition_records = SimpleNamespace(
            topic_partition=part, next_fetch_offset=offset, drain=lambda: None
        )

    def seek(self, part: TopicPartition, offset: int) -> None:
        self.seeks.append((part, offset))

    def seek_to_beginning(self, *parts: TopicPartition) -> None:
        self.seeks += [(part, "beginning") for part in parts]

    def beginning_offsets(self, parts: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return {part: self.begins[part] for part in parts}

    def end_offsets(self, parts: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return {part: self.ends[part] for part in parts}

    def commit(self, offsets: Any, timeout_ms: int) -> None:
        self.commits.append(offsets)
        self.committed_offsets |= {part: entry.offset for part, entry in offsets.items()}

    def pause(self, *parts: TopicPartition) -> None:
        self.paused |= set(parts)

    def resume(self, *parts: TopicPartition) -> None:
        self.paused -= set(parts)

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        self.assigned = set()

    def rebalance(self, *assigned: TopicPartition) -> None:
        """What the client does inside a poll."""
        self.listener.on_partitions_revoked(self.assigned)
        self.assigned = set(assigned)
        self.metadata = self.metadata._replace(generation_id=self.metadata.generation_id + 1)
        self.listener.on_partitions_assigned(self.assigned)


def rebalance(consumer: Scripted, *parts: TopicPartition, rows: Any = None) -> Callable[[], Any]:
    """A poll that meets a rebalance, and brings rows all the same."""

    def act() -> Any:
        consumer.rebalance(*parts)
        return rows or {}

    return act


def rows(**counts: int) -> Callable[[], Any]:
    """A poll that brings so many rows of partition `p0` and of `p1`."""
    parts = {"p0": P0, "p1": P1}
    return lambda: {
        parts[name]: [row(parts[name], n) for n in range(count)] for name, count in counts.items()
    }


def failing(error: Exception) -> Callable[[], Any]:
    """A poll that raises."""

    def act() -> Any:
        raise error

    return act
