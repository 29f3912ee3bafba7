"""Output messages in Avro, in the framing of Confluent's schema registry: a zero byte and the schema's id.

Needs fastavro, which the extra `registry` brings.
"""

import json
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import Any, Protocol

from worker.errors import SettingsError
from worker.heads import claim_name
from worker.messages.headers import output_headers
from worker.messages.output_formats import Columns, Writer, remove_text
from worker.messages.schema import Column
from worker.types import Headers

CONTENT_TYPE = b"application/vnd.apache.avro"
_FRAME = struct.Struct(">bI")
_LONG: dict[str, Any] = {"type": "array", "items": "long"}
_TYPES: dict[str, Any] = {
    "string": "string",
    "long": "long",
    "double": "double",
    "boolean": "boolean",
    "strings": {"type": "array", "items": "string"},
    "ranges": {"type": "array", "items": _LONG},
}


class SchemaRegistry(Protocol):
    """What is needed of a schema registry."""

    def register(self, subject: str, schema: str, kind: str) -> int:
        """Register a schema if it is new, and return its id."""


def avro_names(columns: Sequence[Column]) -> list[str]:
    """Make the columns' names in Avro, which allows ASCII letters, digits and `_`; all are different."""
    taken: set[str] = set()
    found = []
    for column in columns:
        name = re.sub(r"[^A-Za-z0-9_]", "_", column.name)
        name = name if re.match(r"[A-Za-z_]", name) else f"_{name}"
        found.append(claim_name(name, taken))
    return found


def avro_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """Make the schema of a record.

    Whatever depends on the pack or the settings may be null and is so by default: another pack then makes a
    schema that is compatible with the one before, in both directions.
    """
    fields = []
    for column, name in zip(columns, avro_names(columns), strict=True):
        kind = _TYPES[column.kind]
        field: dict[str, Any] = {"name": name, "type": ["null", kind] if column.optional else kind}
        if column.optional:
            field["default"] = None
        if column.doc:
            field["doc"] = column.doc
        fields.append(field)
    return {"type": "record", "name": "OutputMessage", "namespace": "moodstream", "fields": fields}


class AvroFormat:
    """Avro with a schema registry. The subject is the output topic's name with `-value`.

    Args:
        topic: output topic.

    Raises:
        SettingsError: fastavro is missing.
    """

    def __init__(self, topic: str) -> None:
        try:
            import fastavro  # noqa: F401, PLC0415 - an extra brings it
        except ImportError:
            raise SettingsError(
                ["sink.format avro needs the extra `registry`: pip install 'moodstream[registry]'"]
            ) from None
        self.subject = f"{topic}-value"
        self._words: set[str] = set()
        self._writers: list[AvroWriter] = []
        self._by_id: dict[int, AvroWriter] = {}

    def writer(self, columns: Columns, *, words: Collection[str] = ()) -> Writer:
        """Make the writer for the columns of a pack. It can write once `register` has given it an id."""
        self._words.update(words)
        writer = AvroWriter(columns())
        self._writers.append(writer)
        return writer

    def register(self, registry: SchemaRegistry) -> None:
        """Register the schemas of all packs.

        Raises:
            MoodstreamError: the registry does not answer, or refuses a schema.
        """
        for writer in self._writers:
            writer.id = registry.register(self.subject, json.dumps(writer.schema), "AVRO")
            self._by_id[writer.id] = writer

    def without_text(self, value: bytes) -> bytes | None:
        """Remove the text and the marked words from a value."""
        _, number = _FRAME.unpack_from(value)
        writer = self._by_id[number]
        body = writer.read(value)
        return writer.write(body) if remove_text(body, self._words) else None


class AvroWriter:
    """Writes the messages of one pack in Avro.

    Args:
        columns: the columns of the output.
    """

    kept_as_strings = True

    def __init__(self, columns: Sequence[Column]) -> None:
        import fastavro  # noqa: PLC0415 - an extra brings it

        self.schema = avro_schema(columns)
        self.id = 0
        """The schema's id in the registry."""
        self._parsed = fastavro.parse_schema(self.schema)
        self._write, self._read = fastavro.schemaless_writer, fastavro.schemaless_reader
        pairs = [(column.name, name) for column, name in zip(columns, avro_names(columns), strict=True)]
        self._names = pairs if any(ours != theirs for ours, theirs in pairs) else None

    def write(self, body: Mapping[str, object]) -> bytes:
        """Write the frame and the record.

        Raises:
            TypeError: there is something in the message that Avro cannot hold.
        """
        if self._names is not None:
            body = {theirs: body.get(ours) for ours, theirs in self._names}
        into = BytesIO()
        into.write(_FRAME.pack(0, self.id))
        try:
            self._write(into, self._parsed, body)
        except (ValueError, OverflowError, KeyError):
            raise TypeError("the output has a value that Avro cannot hold") from None
        return into.getvalue()

    def read(self, value: bytes) -> dict[str, Any]:
        """Read a message that `write` has written."""
        record = self._read(BytesIO(value[_FRAME.size :]), self._parsed, None)
        assert isinstance(record, dict)  # noqa: S101 - for the type checker: the schema is a record
        if self._names is not None:
            return {ours: record[theirs] for ours, theirs in self._names}
        return record

    def headers(self, headers: Headers, body: Mapping[str, object]) -> Headers:  # noqa: ARG002 - the protocol's
        """Make the headers: those of the input that are also true of the output."""
        return output_headers(headers, CONTENT_TYPE)
