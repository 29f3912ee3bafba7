"""The first connection: patient while nobody answers, short with a refusal.

A growing pause between failed checkpoints.
"""

import threading
import time
from collections.abc import Callable

from worker.errors import BrokerUnavailable
from worker.kafka.diagnose import probe
from worker.settings.groups import KafkaSettings

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


ATTEMPT_S = 5.0
"""The longest that one attempt may take."""

PAUSE_S = 2.0
"""Between two attempts, so that a person sees a line every few seconds and the broker is left in peace."""

RetryListener = Callable[[str, float], None]
"""Called with the reason and the seconds waited so far."""


def first_connection(
    kafka: KafkaSettings,
    *,
    limit_s: float,
    on_retry: RetryListener | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Return once a broker can be worked with.

    `on_retry(reason, waited_s)` is called after each attempt that found nobody. Returns early, without a
    connection, when `stop` is set.

    Raises:
        BrokerRefused: at once, when a broker refuses.
        BrokerUnavailable: when none has answered for `limit_s` seconds.
    """
    started = time.monotonic()
    stop = stop or threading.Event()
    while not stop.is_set():
        left = limit_s - (time.monotonic() - started)
        try:
            probe(kafka, timeout_s=min(ATTEMPT_S, max(left, 0.5)))
        except BrokerUnavailable as problem:
            waited = time.monotonic() - started
            if waited + PAUSE_S >= limit_s:
                raise BrokerUnavailable(
                    f"gave up after {waited:.0f} s: {problem}; the limit is kafka.connect_limit_s"
                ) from problem
            if on_retry is not None:
                on_retry(str(problem), waited)
            stop.wait(PAUSE_S)
        else:
            return
