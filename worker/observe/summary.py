"""The line that says every ten seconds what a worker has done; with nothing to do it says so, then rarely."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

EVERY_S = 10.0
"""Time between two lines, while there is work."""

QUIET_EVERY_S = 600.0
"""Time between two lines without messages, after the first one."""

_GAMMA = 1.02
_SHORTEST_S = 0.001

_log = structlog.get_logger(__name__)


class Quantiles:
    """Quantiles of positive numbers in bounded memory, each right to one percent.

    Numbers are counted in buckets whose limits grow by two percent, as in DDSketch (Masson, Rim and Lee 2019,
    "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB). Those below
    0.001 count as 0.001.
    """

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, values: Iterable[float]) -> None:
        """Count these values."""
        self._buckets.update(math.ceil(math.log(max(_SHORTEST_S, value), _GAMMA)) for value in values)

    def at(self, share: float) -> float | None:
        """The value below which `share` (0 to 1) of all lie; None without values."""
        left = share * self._buckets.total()
        for bucket, count in sorted(self._buckets.items()):
            left -= count
            if left <= 0:
                return 2 * _GAMMA**bucket / (_GAMMA + 1)
        return None


class Summary:
    """Logs one line for every ten seconds with work. All methods are for one thread.

    Args:
        every_s: seconds between two lines.
        quiet_every_s: the same for the lines that say that there are no messages.
        clock: seconds of any monotonic clock.
    """

    def __init__(
        self,
        every_s: float = EVERY_S,
        quiet_every_s: float = QUIET_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every_s = every_s
        self._quiet_every_s = quiet_every_s
        self._clock = clock
        self._quiet_since: float | None = None
        self._quiet_due = 0.0
        self._begin(clock())

    def _begin(self, now: float) -> None:
        self._since = now
        self._messages = self._dead_letters = 0
        self._ages = Quantiles()

    def add(self, messages: int, dead_letters: int, ages: Iterable[float]) -> None:
        """Count committed messages, the dead letters among them, and their ages in seconds."""
        self._messages += messages
        self._dead_letters += dead_letters
        self._ages.add(ages)

    def tick(self, lag: int | None) -> None:
        """Write a line if one is due. `lag` counts the messages that wait; None while that is not known."""
        now = self._clock()
        if now - self._since < self._every_s:
            return
        if self._messages or lag:
            self._quiet_since = None
            self._say(now, lag)
        else:
            self._say_quiet(now)
        self._begin(now)

    def close(self, lag: int | None) -> None:
        """Write what has been counted since the last line."""
        if self._messages:
            now = self._clock()
            self._say(now, lag)
            self._begin(now)

    def _say(self, now: float, lag: int | None) -> None:
        seconds = now - self._since
        fields: dict[str, object] = {
            "seconds": round(seconds, 1),
            "messages": self._messages,
            "per_second": round(self._messages / seconds, 1) if seconds > 0 else None,
            "lag": lag,
            "p95_latency_s": _rounded(self._ages.at(0.95)),
            "dead_letters": self._dead_letters,
        }
        _log.info("summary", **{name: value for name, value in fields.items() if value is not None})

    def _say_quiet(self, now: float) -> None:
        if self._quiet_since is None:
            self._quiet_since = self._since
        elif now < self._quiet_due:
            return
        self._quiet_due = now + self._quiet_every_s
        _log.info("no new messages", seconds=round(now - self._quiet_since))


def _rounded(value: float | None) -> float | None:
    """Three digits: the fourth is not exact anyway."""
    return None if value is None else float(f"{value:.3g}")
