"""How an output message is written: JSON, Kafka Connect's JSON with its schema, a CloudEvent.

Avro has a module of its own. Sources: Kafka Connect's `JsonConverter` (the envelope of `schema` and
`payload`); CloudEvents 1.0.2 and its Kafka protocol binding, section 3.2 (binary content mode).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson

from worker.messages.headers import output_headers
from worker.messages.schema import Column
from worker.types import Headers

Columns = Callable[[], Sequence[Column]]
"""Gives the columns of an output, for formats that have a schema."""


class Writer(Protocol):
    """Writes the messages of one pack."""

    kept_as_strings: bool
    """Whether the schema wants one type for each kept field, so that those without a type are strings."""

    def write(self, body: Mapping[str, object]) -> bytes:
        """Write a message as a value.

        Raises:
            TypeError: there is something in it that the format cannot hold.
        """

    def headers(self, headers: Headers, body: Mapping[str, object]) -> Headers:
        """Make the headers of the output from those of the input."""


class OutputFormat(Protocol):
    """One of the values of `sink.format`."""

    def writer(self, columns: Columns, *, words: Collection[str] = ()) -> Writer:
        """Make the writer for the columns of a pack; `words` are those that hold marked words."""

    def without_text(self, value: bytes) -> bytes | None:
        """Remove the text and the marked words from a value, and mark it so. None when it has no text."""


class JsonFormat:
    """A flat JSON object. It is also its own writer, since nothing in it depends on the pack."""

    kept_as_strings = False

    def __init__(self) -> None:
        self._words: set[str] = set()

    def writer(self, columns: Columns, *, words: Collection[str] = ()) -> Writer:  # noqa: ARG002 - the protocol's
        """Make a writer."""
        self._words.update(words)
        return self

    def write(self, body: Mapping[str, object]) -> bytes:
        """Write a JSON object.

        Raises:
            TypeError: a string is not Unicode text.
        """
        return orjson.dumps(body)

    def headers(self, headers: Headers, body: Mapping[str, object]) -> Headers:  # noqa: ARG002 - the protocol's
        """Make the headers: those of the input that are also true of the output."""
        return output_headers(headers)

    def without_text(self, value: bytes) -> bytes | None:
        """Remove the text and the marked words from a value."""
        body = orjson.loads(value)
        return orjson.dumps(body) if remove_text(body, self._words) else None


def remove_text(body: dict[str, Any], words: Collection[str]) -> bool:
    """Remove the text and the columns `words` from a message, if it has a text, and mark it so."""
    if body.get("text") is None:
        return False
    for name in ("text", *words):
        body.pop(name, None)
    body["text_omitted"] = True
    return True


class CloudEventsFormat(JsonFormat):
    """A flat JSON object as the data of a CloudEvent in binary mode.

    `ce_id` is `event_id` and `ce_source` the output topic, so that a replay gives the same event. The input's
    own attributes are dropped, except for the trace context of the distributed tracing extension.

    Args:
        topic: output topic.
    """

    def __init__(self, topic: str) -> None:
        super().__init__()
        self._fixed = (
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/moodstream/{topic}".encode()),
            ("ce_type", b"moodstream.labelled.v1"),
        )

    def headers(self, headers: Headers, body: Mapping[str, object]) -> Headers:
        """Make the headers: the event's attributes, and those of the input that are also true of it."""
        attributes: list[tuple[str, bytes | None]] = [*self._fixed, ("ce_id", str(body["event_id"]).encode())]
        if (time := _rfc3339(body["event_time_ms"])) is not None:
            attributes.append(("ce_time", time.encode()))
        traced = [(name.lower(), value) for name, value in headers if name.lower() in _TRACE_ATTRIBUTES]
        return (*output_headers(headers), *attributes, *traced)


_TRACE_ATTRIBUTES = frozenset({"ce_traceparent", "ce_tracestate"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _rfc3339(time_ms: object) -> str | None:
    """Write a Unix time as RFC 3339, which knows the years 1 to 9999; None outside of them."""
    if not isinstance(time_ms, int):
        return None
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ConnectFormat:
    """Kafka Connect's JSON: each value carries its schema, which `JsonConverter` needs to make a struct."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def writer(self, columns: Columns, *, words: Collection[str] = ()) -> Writer:
        """Make the writer for the columns of a pack."""
        self._words.update(words)
        return ConnectWriter(connect_schema(columns()))

    def without_text(self, value: bytes) -> bytes | None:
        """Remove the text and the marked words from a value."""
        message = orjson.loads(value)
        return orjson.dumps(message) if remove_text(message["payload"], self._words) else None


class ConnectWriter:
    """Writes Kafka Connect's JSON.

    Args:
        schema: the struct's schema.
    """

    kept_as_strings = True

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._start = b'{"schema":' + orjson.dumps(schema) + b',"payload":'

    def write(self, body: Mapping[str, object]) -> bytes:
        """Write the envelope.

        Raises:
            TypeError: a string is not Unicode text.
        """
        return self._start + orjson.dumps(body) + b"}"

    def headers(self, headers: Headers, body: Mapping[str, object]) -> Headers:  # noqa: ARG002 - the protocol's
        """Make the headers: those of the input that are also true of the output."""
        return output_headers(headers)


_CONNECT_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "long": {"type": "int64"},
    "double": {"type": "double"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string", "optional": False}},
    "ranges": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "int64", "optional": False}, "optional": False},
    },
}


def connect_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """Make the schema of a struct, as `JsonConverter` reads it."""
    fields = [
        {**_CONNECT_TYPES[column.kind], "optional": column.optional, "field": column.name}
        for column in columns
    ]
    return {"type": "struct", "name": "moodstream.OutputMessage", "optional": False, "fields": fields}
