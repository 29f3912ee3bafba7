"""SIGTERM and SIGINT, from the first moment of a run to its end.

Imports nothing that takes time: `listen` comes before all that does.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_asked = threading.Event()


def listen() -> None:
    """Keep a signal for the run that is about to start. Without this it would end the process.

    Does nothing in any other thread than the main one: Python allows handlers only there.
    """
    with contextlib.suppress(ValueError):
        for number in _SIGNALS:
            signal.signal(number, _keep)


def _keep(number: int, _frame: FrameType | None) -> None:
    if _asked.is_set():
        os._exit(128 + number)
    _asked.set()


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event, limit_s: float, give_up: Callable[[], None]) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `stop`, also one that came since `listen`.

    A second signal ends the process. Ending at once is safe at any moment: what is not committed is read
    again.

    Args:
        stop: set by the first signal.
        limit_s: how long after the first signal to call `give_up`. Seconds.
        give_up: called on another thread.
    """

    def begin_to_stop() -> None:
        stop.set()
        deadline = threading.Timer(limit_s, give_up)
        deadline.daemon = True
        deadline.start()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        begin_to_stop()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    if _asked.is_set():
        _asked.clear()
        begin_to_stop()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
