"""The one retry policy: how long to pause, what to log meanwhile, and when to give up."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from kafka.errors import KafkaError

from worker.errors import BrokerUnavailable
from worker.kafka.diagnose import describe, explain
from worker.kafka.probe import ATTEMPT_S, probe
from worker.settings.groups import KafkaSettings

FIRST_S, LONGEST_S = 0.1, 2.0
"""The first pause after a failure, and the longest; each is twice the one before."""

TELL_EVERY_S = 5.0
"""How often a line says what the worker is waiting for."""

Result = TypeVar("Result")
OnWait = Callable[[str, float], None]
"""Called with the reason and the seconds waited so far, instead of the log line."""

_log = structlog.get_logger(__name__)


class Waiting:
    """A wait for Kafka: growing pauses, a line every few seconds, and an end at the limit.

    Args:
        what: what to wait for, as in `a broker to answer`.
        limit_s: how long from the first failure on; None for no limit. Seconds.
        stop: ends a pause at once.
        on_wait: called before each pause.
        say: called where a line is due, instead of logging one.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        what: str,
        *,
        limit_s: float | None = None,
        stop: threading.Event | None = None,
        on_wait: Callable[[], None] | None = None,
        say: OnWait | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._limit_s = limit_s
        self._stop = stop or threading.Event()
        self._on_wait = on_wait
        self._say = say or self._log_line
        self._clock = clock
        self._failures = 0
        self._since: float | None = None
        self._tell_at = float("-inf")

    @property
    def pause_s(self) -> float:
        """How long the next pause lasts. Seconds."""
        return float(min(LONGEST_S, FIRST_S * 2**self._failures))

    def begin(self) -> None:
        """Start the limit now instead of at the first failure."""
        self._since = self._clock()

    def failed(self, problem: Exception) -> None:
        """Log the problem if a line is due, and pause.

        Raises:
            BrokerUnavailable: the limit has passed.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        waited_s = now - self._since
        left_s = None if self._limit_s is None else self._limit_s - waited_s
        if left_s is not None and left_s <= 0:
            raise BrokerUnavailable(
                f"gave up waiting for {self._what} after {waited_s:.0f} s (kafka.connect_limit_s): "
                f"{describe(problem)}"
            ) from problem
        if now >= self._tell_at:
            self._tell_at = now + TELL_EVERY_S
            self._say(describe(problem), waited_s)
        if self._on_wait is not None:
            self._on_wait()
        self.pause(left_s)

    def pause(self, at_most_s: float | None = None) -> None:
        """Pause, or return at once when `stop` is set."""
        pause_s = self.pause_s
        self._failures = min(self._failures + 1, 16)
        self._stop.wait(pause_s if at_most_s is None else min(pause_s, at_most_s))

    def succeeded(self) -> None:
        """The next failure counts as the first one again."""
        self._failures, self._since, self._tell_at = 0, None, float("-inf")

    def _log_line(self, reason: str, waited_s: float) -> None:
        _log.warning(f"waiting for {self._what}", reason=reason, **since_until(waited_s, self._limit_s))


def patiently(
    what: str,
    attempt: Callable[[], Result],
    *,
    limit_s: float,
    stop: threading.Event | None = None,
    on_wait: Callable[[], None] | None = None,
    say: OnWait | None = None,
) -> Result | None:
    """Call `attempt` until it succeeds. None when `stop` was set before it did.

    Args:
        what: what to wait for, as in `a broker to answer`.
        attempt: raises what Kafka's client or this package raises.
        limit_s: how long to go on while no broker answers. Seconds.
        stop: ends the wait.
        on_wait: called before each pause.
        say: called where a line is due, instead of logging one.

    Raises:
        BrokerUnavailable: the limit has passed.
        MoodstreamError: what `attempt` raises, when waiting cannot help.
    """
    stop = stop or threading.Event()
    waiting = Waiting(what, limit_s=limit_s, stop=stop, on_wait=on_wait, say=say)
    waiting.begin()
    while not stop.is_set():
        try:
            return attempt()
        except BrokerUnavailable as problem:
            waiting.failed(problem)
        except KafkaError as error:
            meaning = explain(error)
            if not isinstance(meaning, BrokerUnavailable):
                raise meaning from error
            waiting.failed(meaning)
    return None


def first_connection(
    kafka: KafkaSettings,
    *,
    limit_s: float,
    stop: threading.Event | None = None,
    on_wait: Callable[[], None] | None = None,
    say: OnWait | None = None,
) -> None:
    """Return once a usable broker is found, or when `stop` is set.

    Raises:
        BrokerRefused: at once, when a broker refuses.
        BrokerUnavailable: when none has answered for `limit_s` seconds.
        SettingsError: at once, when the private key cannot be opened.
    """
    patiently(
        "a broker to answer",
        lambda: probe(kafka, min(ATTEMPT_S, max(limit_s, 0.5))),
        limit_s=limit_s,
        stop=stop,
        on_wait=on_wait,
        say=say,
    )


def since_until(waited_s: float, limit_s: float | None) -> dict[str, object]:
    """For a log line: when a wait began, and when it ends at the latest. UTC, to the second."""
    now = datetime.now(UTC)
    since = now - timedelta(seconds=waited_s)
    times: dict[str, object] = {"since": _clock_time(since), "waited_s": round(waited_s)}
    if limit_s is not None:
        times["until"] = _clock_time(since + timedelta(seconds=min(limit_s, 1e8)))
    return times


def _clock_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
