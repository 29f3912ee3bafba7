"""The first connection: patient while nobody answers, short with a refusal."""

import threading
import time
from collections.abc import Callable

from worker.connect.errors import BrokerUnavailable
from worker.connect.probe import probe
from worker.settings.groups import KafkaSettings

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
