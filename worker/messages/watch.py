"""Notices settings that match nothing: a misspelt path costs no message, and would stay unseen."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from worker.errors import printable
from worker.messages.scalars import names_of

BODIES = 1_000
"""After so many objects the watch ends."""

_NAMES = 30
_NAME_LENGTH = 40


class Unmatched(NamedTuple):
    """The settings that matched none of the first objects, and the names of fields that these had.

    The names are safe for a log and bounded in number and length; a dot goes one level deeper. `objects` is
    how many were looked at: `BODIES`, or all there were.
    """

    settings: tuple[str, ...]
    fields: tuple[str, ...]
    objects: int = BODIES


class Watch:
    """Looks at the first objects of a stream.

    Args:
        checks: for each setting whether it matches an object.
        filtered: the name of the filter, if there is one.
        report: called when the watch ends and a setting has matched nothing. If the filter lets nothing
            through, it is the only one to be reported.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[object], bool]],
        filtered: str | None,
        report: Callable[[Unmatched], None],
    ) -> None:
        self._open = dict(checks)
        self._filtered = filtered
        self._report = report
        self._left = BODIES
        self._names: dict[str, None] = {}

    def look(self, body: Mapping[str, object], *, wanted: bool) -> bool:
        """Look at one object. `wanted`: the filter lets it through. Returns whether the watch has ended."""
        self._left -= 1
        self._remember(body)
        if wanted:
            self._filtered = None
            for name in [name for name, matches in self._open.items() if matches(body)]:
                del self._open[name]
        if not self._left:
            self.end()
        return not self._left or not self._unmatched

    def end(self) -> None:
        """Report what has matched none of the objects, if there was any object."""
        if self._unmatched and self._left < BODIES:
            self._report(Unmatched(self._unmatched, tuple(self._names), BODIES - self._left))

    @property
    def _unmatched(self) -> tuple[str, ...]:
        return (self._filtered,) if self._filtered is not None else tuple(self._open)

    def _remember(self, body: object) -> None:
        if len(self._names) < _NAMES:
            for name in names_of(body):
                short = name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
                self._names[printable(short)] = None
            while len(self._names) > _NAMES:
                self._names.popitem()
