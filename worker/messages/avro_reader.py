"""Reads Avro values with the schema that wrote them.

A value is small and its schema is a stranger's, so what a schema can make of a few bytes is limited first: an
array of nulls may have 2**60 of them in ten bytes. Needs fastavro, which the extra `registry` brings.
"""

import base64
import io
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

from worker.errors import SchemaMismatch, SchemaUnusable
from worker.messages.registry import Schema

_MOST_VALUES = 10_000
"""Values in the smallest message that a schema allows."""

_MOST_VALUES_A_BYTE = 8
"""The same for one byte of the elements of an array or a map."""

_TIMES = frozenset(
    {
        *("date", "time-millis", "time-micros"),
        *("timestamp-millis", "timestamp-micros", "local-timestamp-millis", "local-timestamp-micros"),
    }
)
_OURS = "moodstream-"
"""Before the name of a logical type that fastavro is to read with `_lenient`."""

_SIZES = {"null": 0, "float": 4, "double": 8}
_CONVERTED = ('"logicalType"', '"bytes"', '"fixed"')


class AvroReader:
    """Reads the values of one schema.

    Args:
        schema: the schema, with those that it refers to.

    Raises:
        SchemaUnusable: it is no Avro schema, or one whose messages could use any amount of memory.
    """

    def __init__(self, schema: Schema) -> None:
        texts = [*(text for _, text in schema.references), schema.text]
        import fastavro  # noqa: PLC0415 - an extra brings it
        from fastavro import _read_py  # noqa: PLC0415

        self._named: dict[str, Any] = {}
        try:
            _teach(fastavro.read.LOGICAL_READERS)
            *_, self._schema = [
                fastavro.parse_schema(_renamed(orjson.loads(text)), named_schemas=self._named)
                for text in texts
            ]
        except Exception:  # noqa: BLE001 - a library over whatever a registry holds
            raise SchemaUnusable("the schema in the registry is not a valid Avro schema") from None
        limits = _Limits(self._named)
        if limits.of(self._schema)[1] > _MOST_VALUES:
            raise SchemaUnusable(f"the smallest message of the schema has more than {_MOST_VALUES} values")
        # fastavro's compiled reader recurses without a limit and crashes the process; its other one raises.
        self._read: Callable[..., Any] = (
            _read_py.schemaless_reader if limits.recursive else fastavro.schemaless_reader
        )
        self._converts = any(mark in text for text in texts for mark in _CONVERTED)

    @property
    def fields(self) -> list[str] | None:
        """The names of the fields of a message; None if messages are no records."""
        records = [each for each in self._alternatives() if isinstance(each, dict) and "fields" in each]
        return [field["name"] for each in records for field in each["fields"]] if records else None

    def read(self, value: bytes) -> object:
        """Read one value, without its frame.

        Raises:
            SchemaMismatch: it is not what the schema says.
        """
        stream = io.BytesIO(value)
        try:
            found: object = self._read(stream, self._schema, None)
            found = _plain(found) if self._converts else found
        except Exception as error:  # noqa: BLE001 - a library over whatever a producer has written
            raise SchemaMismatch(
                f"the value is not what its Avro schema says ({type(error).__name__})"
            ) from None
        if stream.tell() != len(value):
            raise SchemaMismatch("the value is longer than its Avro schema says")
        return found

    def _alternatives(self) -> Iterator[Any]:
        top = self._schema
        for each in top if isinstance(top, list) else [top]:
            yield self._named.get(each, each) if isinstance(each, str) else each


class _Limits:
    """How many bytes the smallest value of a type takes, and how many values it holds."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._known: dict[str, tuple[int, int]] = {}
        self._open: set[str] = set()
        self.recursive = False

    def of(self, schema: Any) -> tuple[int, int]:
        """Bytes and values of the smallest value of a type.

        Raises:
            SchemaUnusable: an array or a map in it has elements that take next to no bytes.
        """
        if isinstance(schema, list):
            for each in schema:
                self.of(each)
            return 1, 1
        if isinstance(schema, str):
            return self._of_name(schema)
        kind = schema["type"]
        if kind in {"array", "map"}:
            size, values = self.of(schema["items" if kind == "array" else "values"])
            if values > _MOST_VALUES_A_BYTE * (size + (kind == "map")):
                raise SchemaUnusable("the schema has an array or a map of elements that take no bytes")
            return 1, 1
        if kind in {"record", "error"}:
            return self._of_record(schema)
        if kind == "fixed":
            return schema["size"], 1
        return self.of(kind) if kind != "enum" else (1, 1)

    def _of_name(self, name: str) -> tuple[int, int]:
        if name not in self._named:
            return _SIZES.get(name, 1), 1
        if name in self._open:
            self.recursive = True
            return 1, 1
        return self._known[name] if name in self._known else self.of(self._named[name])

    def _of_record(self, schema: dict[str, Any]) -> tuple[int, int]:
        name = schema["name"]
        if name not in self._known:
            self._open.add(name)
            parts = [self.of(field["type"]) for field in schema["fields"]]
            self._open.discard(name)
            self._known[name] = sum(size for size, _ in parts), 1 + sum(values for _, values in parts)
        return self._known[name]


def _teach(readers: dict[str, Callable[..., Any]]) -> None:
    """Add readers that make null of a time outside of the years 1 to 9999: it costs itself, not the message.

    Adding to this dictionary is how fastavro's documentation says to read logical types of one's own.
    """
    for name, read in list(readers.items()):
        kind, _, logical = name.partition("-")
        if logical in _TIMES:
            readers.setdefault(f"{kind}-{_OURS}{logical}", _lenient(read))


def _lenient(read: Callable[..., Any]) -> Callable[..., Any]:
    def read_or_null(*arguments: Any) -> Any:
        try:
            return read(*arguments)
        except (OverflowError, ValueError):
            return None

    return read_or_null


def _renamed(schema: Any) -> Any:
    """The schema with our names for the logical types of times."""
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _renamed(each) for name, each in schema.items()}
    if isinstance(logical := found.get("logicalType"), str) and logical in _TIMES:
        found["logicalType"] = _OURS + logical
    return found


def _plain(value: Any) -> Any:
    """Make of a value what JSON can hold: times in ISO 8601, bytes in base64, decimals and UUIDs as text."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)
