"""What the readers yield, how rows are written as JSON, and how names from outside are shown in messages."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from worker.errors import printable

JSON = "application/json"
TEXT = "text/plain"

_LONG_NUMBER = re.compile(rb"[0-9]{19}")
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


class Wanted(NamedTuple):
    """Which columns of a table are read. A column may be a path, in which dots go deeper.

    Fields:
        text: those that may hold the text: one of them must be there. Nothing is checked if there are none.
        kept: for each field to keep those that it may be in: one of them must be there.
        others: those that are read where they are there; None for all of the table's.
    """

    text: tuple[str, ...] = ()
    kept: tuple[tuple[str, ...], ...] = ()
    others: tuple[str, ...] | None = None


ALL = Wanted()
"""All columns."""


def text_column(name: str) -> Wanted:
    """Want the text in this column, and its language."""
    return Wanted((name,), others=("lang",))


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


def to_json(row: Mapping[str, Any]) -> bytes:
    """Return a row as JSON. Bytes become text, what JSON does not know becomes a string.

    Raises:
        ValueError: it is nested too deeply.
    """
    try:
        return orjson.dumps(row, default=_plain)
    except TypeError:  # a whole number of more than 64 bits, or half a surrogate pair: JSON can hold both
        try:
            return json.dumps(_finite(row), default=_plain, allow_nan=False).encode()
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None


def from_json(line: bytes) -> Any:
    """Read JSON. Whole numbers of any size stay whole, where orjson alone would make them fractions.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        if _LONG_NUMBER.search(line):
            return json.loads(line)
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            return json.loads(line)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


_TOO_DEEP = "objects or lists are nested too deeply"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null, as orjson does."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell_text(value: Any) -> str | None:
    """Return a value as the text of a cell; objects and lists as JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else _json_text(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _json_text(value: Any) -> str:
    """Return any value as JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)
