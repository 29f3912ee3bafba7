"""Flow control: how much has been read and not yet committed, and when to pause."""

from collections.abc import Iterable

from worker.types import Record


class Flow:
    """Counts records from poll to release. Full at a limit, free again at half of it."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._sizes: dict[tuple[str, int, int], int] = {}
        self._bytes = 0
        self._full = False

    @property
    def messages(self) -> int:
        """Records in flight."""
        return len(self._sizes)

    @property
    def bytes(self) -> int:
        """Their keys and values. Bytes."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether to stop reading: once a limit is reached, until both counts are down to half of theirs."""
        if self.messages >= self._max_messages or self._bytes >= self._max_bytes:
            self._full = True
        elif self.messages * 2 <= self._max_messages and self._bytes * 2 <= self._max_bytes:
            self._full = False
        return self._full

    def room(self) -> tuple[int, int]:
        """Messages and bytes that still fit."""
        return max(0, self._max_messages - self.messages), max(0, self._max_bytes - self._bytes)

    def add(self, records: Iterable[Record]) -> None:
        """Records handed out."""
        for record in records:
            place = (record.topic, record.partition, record.offset)
            self._bytes += record.size - self._sizes.get(place, 0)
            self._sizes[place] = record.size

    def release(self, records: Iterable[Record]) -> None:
        """Records committed or dropped. One that is not in flight (after a reset, say) is ignored."""
        for record in records:
            self._bytes -= self._sizes.pop((record.topic, record.partition, record.offset), 0)

    def reset(self) -> None:
        """Forget everything in flight."""
        self._sizes.clear()
        self._bytes = 0
        self._full = False


def fitting(records: list[Record], max_bytes: int) -> int:
    """How many of the first records fit into `max_bytes`: at least one, for a single one may be larger."""
    total = 0
    for count, record in enumerate(records):
        total += record.size
        if count and total > max_bytes:
            return count
    return len(records)
