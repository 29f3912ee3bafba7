"""Windows: when one is complete, how much labelling fits into one, and whether windows get committed.

Time is an argument everywhere, so that the decisions can be tested without waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.messages.decode import MOST_MESSAGES
from worker.types import Record

MESSAGE_COST, LONGEST_COST = 100, 4_096
"""What a message costs in addition to its bytes, and the most bytes that are counted for a row of the model,
since a long text is read in few rows. In bytes."""

FIRST_RATE = 20_000.0
"""Cost per second that is assumed before anything was measured: about that of one slow core."""

_SLACK = 1.25
_BLANKS = 64
"""Bytes at the beginning of a value in which an array is looked for."""

_FASTER = 0.3


@dataclass(slots=True)
class Window:
    """How full a window is: open from its first message, closed by count, by bytes or by time.

    Args:
        max_messages: messages in one window.
        max_bytes: size of their keys and values; the message that exceeds the limit is still included.
        max_wait_s: how long after its first message a window stays open. Seconds.
    """

    max_messages: int
    max_bytes: int
    max_wait_s: float
    messages: int = 0
    bytes: int = 0
    opened_at: float | None = None

    def add(self, messages: int, size: int, now: float) -> None:
        """Count messages that came in at `now` (seconds of any monotonic clock), `size` bytes in all."""
        if messages and self.opened_at is None:
            self.opened_at = now
        self.messages += messages
        self.bytes += size

    def room(self) -> int:
        """Messages that still fit."""
        return max(0, self.max_messages - self.messages)

    def remaining_s(self, now: float) -> float:
        """Seconds that the window stays open from `now`; the whole time while it is empty."""
        if self.opened_at is None:
            return self.max_wait_s
        return max(0.0, self.opened_at + self.max_wait_s - now)

    def complete(self, now: float) -> bool:
        """Whether to process the window now. An empty one is never complete."""
        if self.opened_at is None:
            return False
        return self.room() == 0 or self.bytes >= self.max_bytes or self.remaining_s(now) <= 0


class Pace:
    """How many messages can be labelled in the time that one window may take.

    Estimated from earlier windows: a message costs its bytes, up to a limit, and a little more. A slower
    window lowers the estimate at once, a faster one raises it gradually, so that a burst of long texts gets
    short windows.

    Args:
        max_window_s: how long labelling one window may take. Seconds.
        rows: in how many rows the model reads a long text at most.
    """

    def __init__(self, max_window_s: float, rows: int = 1) -> None:
        self._max_window_s = max_window_s
        self._rows = rows
        self._rate = FIRST_RATE
        self._message_cost: float = MESSAGE_COST

    def expected(self) -> int:
        """How many messages like the last ones fit into a window; at least one."""
        return max(1, int(self._rate * self._max_window_s / self._message_cost))

    def fitting(self, records: Sequence[Record]) -> int:
        """How many of the first records fit into a window; at least one, if there are any.

        All of them if they are only a little over the estimate.
        """
        budget = self._rate * self._max_window_s
        costs = [cost(record, self._rows) for record in records]
        if sum(costs) <= budget * _SLACK:
            return len(records)
        total = 0
        for count, of_one in enumerate(costs):
            total += of_one
            if count and total > budget:
                return count
        return len(records)

    def measured(self, records: Sequence[Record], seconds: float) -> None:
        """Update the estimate with how long labelling these records took."""
        if not records or seconds <= 0:
            return
        total = sum(cost(record, self._rows) for record in records)
        self._message_cost = total / len(records)
        rate = total / seconds
        self._rate = rate if rate < self._rate else self._rate + _FASTER * (rate - self._rate)


def cost(record: Record, rows: int = 1) -> int:
    """What labelling a record costs, each message read in at most so many rows, in bytes of text."""
    messages = _messages(record.value)
    return messages * MESSAGE_COST + min(record.size, messages * rows * LONGEST_COST)


def _messages(value: bytes | None) -> int:
    """About how many messages a value holds: an array may hold one in each of its objects or strings."""
    if value is None or value[:_BLANKS].lstrip()[:1] != b"[":
        return 1
    return max(1, min(MOST_MESSAGES, value.count(b"{") or value.count(b'"') // 2))


class Progress:
    """Whether a group that rebalances still gets something committed.

    Args:
        limit: after this many rebalances with work and without a commit, the group is stuck.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.rebalances = 0
        """Rebalances since the last commit, or since the last time when there was nothing to do."""

    @property
    def stuck(self) -> bool:
        """Whether the limit is reached."""
        return self.rebalances >= self._limit

    def rebalanced(self) -> bool:
        """Count a rebalance; true when it makes the group stuck, and again every `limit` rebalances."""
        self.rebalances += 1
        return self.rebalances % self._limit == 0

    def reset(self) -> None:
        """Start again: something was committed, or nothing is left to do."""
        self.rebalances = 0
