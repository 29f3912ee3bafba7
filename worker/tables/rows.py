"""What the readers yield, and how names from outside are shown in messages."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from worker.errors import printable

JSON = "application/json"
TEXT = "text/plain"

_NAMES_SHOWN = 12
_NAME_LENGTH = 60


class Row(NamedTuple):
    """One row of an input, as bytes that are decoded like the value of a Kafka record.

    `number` counts rows from 0 (blank lines are not rows), `place` is the line (in Parquet the row) counted
    from 1. `content_type` None means: JSON when it begins with `{`, else text. `kept` holds the columns of a
    table's row that go into the output; None where they are the fields of the JSON object in `value`.
    """

    number: int
    place: int
    value: bytes
    content_type: str | None
    kept: dict[str, Any] | None = None


class Cells(NamedTuple):
    """The wanted fields of one row of a table, in the order in which they were asked for."""

    number: int
    place: int
    values: tuple[Any, ...]


class BadRow(NamedTuple):
    """A row that cannot be read. `reason` never contains its text."""

    number: int
    place: int
    reason: str


class Pause(NamedTuple):
    """Nothing more has arrived for now: whoever gathers rows should process those it has."""


Item = Row | BadRow | Pause


def listed(names: Sequence[str]) -> str:
    """Return names for an error message; long lists and long names are shortened."""
    parts = [
        printable(name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "…")
        for name in names[:_NAMES_SHOWN]
    ]
    return ", ".join(parts) + (", …" if len(names) > _NAMES_SHOWN else "")


def unnamed(place: int, taken: Sequence[str]) -> str:
    """Return a name for a column whose own is empty: `column_1` for the first one of the table."""
    name = f"column_{place + 1}"
    while name in taken:
        name += "_"
    return name
