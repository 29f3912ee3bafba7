"""Tell a call into the client that hangs from one that waits for brokers to come back."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from worker.errors import BrokerUnavailable, ExitCode
from worker.kafka.diagnose import describe
from worker.kafka.retry import Waiting

LOOK_EVERY_S = 5.0
"""A call that takes longer than this is looked at, and again after each such time."""

_log = structlog.get_logger(__name__)


class Watchdog:
    """Ends the process when something watched hangs for `limit_s` seconds although a broker answers.

    The client has calls without a time limit of their own (offsets, commit). A thread that hangs in one
    cannot be interrupted, and a worker that hangs looks alive; so the process ends at once, without clean-up,
    and its supervisor starts it again. While no broker answers, such a call waits as it should: that time
    does not count, and `limit_s` begins anew once a broker is back. The wait itself ends at
    `connect_limit_s`.

    Args:
        limit_s: how long a call may take while a broker can be reached. Seconds.
        reach: returns when a broker answers, in a few seconds at most; BrokerUnavailable when none does.
        connect_limit_s: how long to wait for brokers. Seconds.
        on_wait: called repeatedly, on the watchdog's thread, while no broker answers.
        look_every_s: how often to call `reach`. Seconds.
        exit: ends the process. For tests.
    """

    def __init__(
        self,
        limit_s: float,
        reach: Callable[[], object],
        *,
        connect_limit_s: float,
        on_wait: Callable[[], None] | None = None,
        look_every_s: float = LOOK_EVERY_S,
        exit: Callable[[int], object] = os._exit,  # noqa: A002 - it is exit
    ) -> None:
        self._limit_s = limit_s
        self._reach = reach
        self._connect_limit_s = connect_limit_s
        self._on_wait = on_wait
        self._look_every_s = look_every_s
        self._exit = exit

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Watch the block; `what` names it in the log."""
        done = threading.Event()
        thread = threading.Thread(
            target=self._look_on, args=(what, done), name="moodstream-watchdog", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            done.set()

    def _look_on(self, what: str, done: threading.Event) -> None:
        began = counted_from = time.monotonic()
        # A broker that comes and goes begins the limit anew each time; this is the end of it all the same.
        last = began + self._connect_limit_s + self._limit_s
        waiting = Waiting(
            "a broker to answer", limit_s=self._connect_limit_s, stop=done, on_wait=self._on_wait
        )
        while not done.wait(
            min(self._look_every_s, max(0.0, counted_from + self._limit_s - time.monotonic()))
        ):
            problem = self._problem()
            while problem is not None and not done.is_set():
                try:
                    waiting.failed(problem)
                except BrokerUnavailable as gave_up:
                    self._end(done, str(gave_up), what, gave_up.exit_code)
                    return
                counted_from = time.monotonic()
                problem = self._problem()
            waiting.succeeded()
            now = time.monotonic()
            if now - counted_from >= self._limit_s or now >= last:
                self._end(
                    done,
                    "hangs; the worker ends so that its supervisor starts it again",
                    what,
                    ExitCode.WATCHDOG,
                )
                return

    def _problem(self) -> BrokerUnavailable | None:
        """Why no broker can be reached; None when one answers."""
        try:
            self._reach()
        except BrokerUnavailable as problem:
            return problem
        except Exception as error:  # noqa: BLE001 - the watchdog must outlive whatever the question meets
            _log.debug("a broker answers", reason=describe(error))
        return None

    def _end(self, done: threading.Event, reason: str, what: str, code: ExitCode) -> None:
        if done.is_set():
            return
        _log.critical(reason, what=what, limit_s=self._limit_s, exit_code=code)
        self._exit(code)
