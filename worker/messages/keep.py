"""The sender's fields in the output (`sink.keep`): their columns, types and values."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from worker.errors import SettingsError
from worker.expressions import KeptType, parse_keep, split_type
from worker.types import Scalar

_LONG = range(-(2**63), 2**63)
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")


class KeptColumn(NamedTuple):
    """One column of `sink.keep`. `entry` is the entry as it was written, `type` None where it names none."""

    name: str
    type: KeptType | None
    entry: str


def read_keep(entries: Iterable[str]) -> tuple[KeptColumn, ...]:
    """Read `sink.keep`: entries `EXPRESSION` or `EXPRESSION as NAME`, either with `:TYPE` at its end."""
    found = []
    for entry in entries:
        rest, kind = split_type(entry)
        found.append(KeptColumn(parse_keep(rest).name, kind, entry))
    return tuple(found)


def check_names(keep: Sequence[KeptColumn], ours: Iterable[str]) -> None:
    """Make sure that no kept column has the name of another column, in whatever case: SQL ignores it.

    Raises:
        SettingsError: with a line for each collision, which names both sides.
    """
    taken = {name.casefold(): f"the column `{name}` of every output" for name in ours}
    lines = []
    for column in keep:
        other = taken.get(column.name.casefold())
        if other is not None:
            lines.append(
                f"sink.keep: `{column.entry}` gives a column `{column.name}`, which is also the name of "
                f"{other}; write `EXPRESSION as NAME` with another name"
            )
        taken.setdefault(column.name.casefold(), f"the column of `{column.entry}`")
    if lines:
        raise SettingsError(lines)


def typed(value: Scalar, kind: KeptType) -> Scalar:
    """Convert a kept value to a type; None where it does not have that type and does not spell it.

    `"12"` is a long, `"1.5"` a double, `"true"` a boolean; a double without a fraction is a long. A string is
    what JSON writes: `true`, `1.5`.
    """
    if value is None:
        return None
    if kind == "string":
        return as_string(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else _spelled_boolean(value)
    if isinstance(value, bool):
        return None
    return _long(value) if kind == "long" else _double(value)


def as_string(value: Scalar) -> str | None:
    """Return a kept value as a string, as JSON writes it."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _spelled_boolean(value: str | int | float) -> bool | None:
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _long(value: str | int | float) -> int | None:
    if isinstance(value, str):
        if _WHOLE.fullmatch(value) is None:
            return None
        value = int(value)
    elif isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if value in _LONG else None


def _double(value: str | int | float) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def add_kept(
    body: dict[str, object], keep: Sequence[KeptColumn], kept: Mapping[str, Scalar], *, strings: bool
) -> None:
    """Write the kept values of a message into its output, null where the sender had none.

    Args:
        body: the output, to which the columns are added; none of its own is ever replaced.
        keep: the columns of `sink.keep`.
        kept: the values by column; those that no entry of `keep` names are written as they are.
        strings: write a value whose entry names no type as a string, for formats with a schema.
    """
    for name, kind, _ in keep:
        value = kept.get(name)
        if kind is not None:
            body[name] = typed(value, kind)
        else:
            body[name] = as_string(value) if strings else value
    for name, value in kept.items():
        body.setdefault(name, value)
