"""A growing pause between failed checkpoints."""

import threading

FIRST_S = 0.1
LONGEST_S = 2.0


class Backoff:
    """Waits 0.1 s, 0.2 s, 0.4 s … up to 2 s, until a success resets it."""

    def __init__(self) -> None:
        self._failures = 0

    @property
    def next_s(self) -> float:
        """How long the next wait lasts. Seconds."""
        return float(min(LONGEST_S, FIRST_S * 2**self._failures))

    def wait(self, stop: threading.Event) -> None:
        """Wait, or return at once when `stop` is set."""
        pause = self.next_s
        self._failures = min(self._failures + 1, 16)
        stop.wait(pause)

    def reset(self) -> None:
        """After a success."""
        self._failures = 0
