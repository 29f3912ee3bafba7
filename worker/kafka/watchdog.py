"""The last resort: a call into the client that never returns ends the process."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from worker.errors import ExitCode

_log = structlog.get_logger(__name__)


class Watchdog:
    """Ends the process when something watched takes longer than `limit_s` seconds.

    The client has calls without a time limit of their own (offsets, commit). A thread that hangs in one
    cannot be interrupted, and a worker that hangs looks alive; so the process ends at once, without clean-up,
    and its supervisor starts it again. `exit` is for tests.
    """

    def __init__(self, limit_s: float, exit: Callable[[int], object] = os._exit) -> None:  # noqa: A002 - it is exit
        self._limit_s = limit_s
        self._exit = exit

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Watch the block; `what` names it in the log."""
        timer = threading.Timer(self._limit_s, self._fire, args=(what,))
        timer.daemon = True
        timer.name = "moodstream-watchdog"
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _fire(self, what: str) -> None:
        _log.critical(
            "hangs; the worker ends so that its supervisor starts it again",
            what=what,
            limit_s=self._limit_s,
            exit_code=ExitCode.WATCHDOG,
        )
        self._exit(ExitCode.WATCHDOG)
