"""When a window is complete. Time is an argument, so that the decision can be tested without waiting."""

from dataclasses import dataclass


@dataclass(slots=True)
class Window:
    """How full a window is: open from its first message, closed by number, by bytes or by time.

    Args:
        max_messages: messages in one window.
        max_bytes: their keys and values; the message that passes the bound still belongs to the window.
        max_wait_s: how long after its first message a window stays open. Seconds.
    """

    max_messages: int
    max_bytes: int
    max_wait_s: float
    messages: int = 0
    bytes: int = 0
    opened_at: float | None = None

    def add(self, messages: int, size: int, now: float) -> None:
        """Count messages that came in at `now` (seconds of any steady clock), `size` bytes in all."""
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
        """Tell whether the window is to be processed now. An empty one never is."""
        if self.opened_at is None:
            return False
        return self.room() == 0 or self.bytes >= self.max_bytes or self.remaining_s(now) <= 0
