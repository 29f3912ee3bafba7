"""Values of a message as columns, ids and times."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson

from worker.types import Scalar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"-?[0-9]{9,20}(\.[0-9]{1,20})?")
"""A Unix time in a string. One with fewer digits is a date, as in `20240701`."""

_UNITS = ((1e11, 1_000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6))
"""Up to which size a Unix time is in seconds, milliseconds, microseconds and nanoseconds, and what makes
milliseconds of it."""


def time_ms(value: object) -> int | None:
    """Read a time: ISO 8601 (without a zone it is UTC), or Unix time, a number or a string with one.

    A number's size tells its unit: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else
    nanoseconds. So seconds reach to the year 5138, and milliseconds begin in March 1973.

    Returns:
        Unix time in milliseconds; None for what is no time, or lies outside the years 1 to 9999.
    """
    if isinstance(value, datetime):
        return _of_datetime(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _of_number(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _of_number(float(text) if "." in text else int(text))
    try:
        return _of_datetime(datetime.fromisoformat(text))
    except ValueError:
        return None


def _of_datetime(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def _of_number(number: float) -> int | None:
    for limit, factor in _UNITS:
        if abs(number) < limit:
            if isinstance(number, int) and factor < 1:
                return number // round(1 / factor)
            return math.floor(number * factor + (0.5 if factor > 1 else 0)) if factor != 1 else int(number)
    return None


def identifier(value: object) -> str | None:
    """Read an id: a string that is not empty, or a whole number."""
    if isinstance(value, str):
        return repaired(value) or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def scalar(value: object) -> Scalar:
    """Make a value fit for a column. An object or an array becomes its JSON.

    A whole number that 64 bits do not hold becomes a fraction; what no column takes (infinity, JSON nested
    too deep to be written) becomes None.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else _finite(value)
    if isinstance(value, float):
        return _finite(value)
    return as_json(value)


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_json(value: object) -> str | None:
    """Write a value as JSON, whatever JSON can hold; None for what is nested too deep."""
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # half a surrogate pair, a number of more than 64 bits
        pass
    try:
        return json.dumps(value, ensure_ascii=True, default=str, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None


def repaired(text: str) -> str:
    """Join halves of surrogate pairs; a half without its other becomes a replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def names_of(value: object) -> list[str]:
    """Return the dotted names of the fields of an object, two levels deep."""
    if not isinstance(value, Mapping):
        return []
    names: list[str] = []
    for name, inner in value.items():
        names.append(str(name))
        if isinstance(inner, Mapping):
            names += [f"{name}.{below}" for below in inner]
    return names
