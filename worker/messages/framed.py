"""Values in the framing of Confluent's schema registry, read with the schemas that it holds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from worker.errors import SchemaMismatch, SchemaUnusable, SchemaWithoutText, SettingsError
from worker.messages.avro_reader import AvroReader
from worker.messages.framing import has_long_id
from worker.messages.headers import SCHEMA_ID
from worker.messages.registry import Registry, Schema

if TYPE_CHECKING:
    from worker.messages.protobuf_reader import ProtobufReader

NOT_FRAMED = object()
"""What `Framed.read` returns for a value that needs no schema: it has no frame, or is JSON."""

_MOST_READERS = 200
_MOST_NAMED = 30
_ID_LENGTH, _GUID_LENGTH = 5, 17


class Framed:
    """Reads framed values. Schemas come from the registry once, and are compiled once.

    Args:
        registry: where the schemas are.
        text_names: fields of which a schema must have one, for there to be a text; none to leave this open.
    """

    def __init__(self, registry: Registry, text_names: Sequence[str] = ()) -> None:
        self._registry = registry
        self._text_names = frozenset(text_names)
        self._readers: dict[int | str, AvroReader | ProtobufReader | SchemaUnusable | None] = {}

    def read(self, value: bytes, headers: Mapping[str, str]) -> object:
        """Read a value whose frame is in front of it, or in the header `__value_schema_id`.

        Returns:
            The body, or `NOT_FRAMED`.

        Raises:
            SchemaUnknown, SchemaUnusable, SchemaMismatch: this message cannot be read.
            SchemaWithoutText: the schema has no field with the text.
            RegistryError: the registry does not answer, or refuses the login.
        """
        found = _frame(value, headers)
        if found is None:
            return NOT_FRAMED
        schema_id, indexes, value = found
        reader = self._reader(schema_id)
        if reader is None:
            return NOT_FRAMED
        if isinstance(reader, AvroReader):
            self._check_text(schema_id, reader.fields)
            return reader.read(value)
        return self._protobuf(reader, schema_id, indexes, value)

    def _protobuf(
        self, reader: "ProtobufReader", schema_id: int | str, indexes: bytes | None, value: bytes
    ) -> object:
        from worker.messages.protobuf_reader import message_indexes  # noqa: PLC0415 - see `_made`

        place, length = message_indexes(value if indexes is None else indexes)
        kind = reader.type_of(place)
        names = [field.name for field in kind.fields]
        if self._text_names and not self._text_names.intersection(names):
            others = (field.name for each in reader.types() for field in each.fields)
            if self._text_names.intersection(others):
                raise SchemaMismatch("the Protobuf message is of another type than those with a text")
            self._check_text(schema_id, names)
        return reader.read(value[length:] if indexes is None else value, kind)

    def _check_text(self, schema_id: int | str, fields: Sequence[str] | None) -> None:
        if fields is None or not self._text_names or self._text_names.intersection(fields):
            return
        raise SchemaWithoutText(
            f"the messages have no text: schema {schema_id} has no field "
            f"{' or '.join(f'`{name}`' for name in sorted(self._text_names))} (source.text_field), but "
            f"{', '.join(f'`{name}`' for name in fields[:_MOST_NAMED]) or 'none'}"
        )

    def _reader(self, schema_id: int | str) -> "AvroReader | ProtobufReader | None":
        if schema_id not in self._readers:
            schema = self._registry.schema(schema_id)
            if len(self._readers) >= _MOST_READERS:
                del self._readers[next(iter(self._readers))]
            try:
                self._readers[schema_id] = _made(schema)
            except SchemaUnusable as error:
                self._readers[schema_id] = error
        reader = self._readers[schema_id]
        if isinstance(reader, SchemaUnusable):
            raise SchemaUnusable(f"{reader} (schema id {schema_id})")
        return reader


def _made(schema: Schema) -> "AvroReader | ProtobufReader | None":
    """Compile a schema; None for JSON, which needs none.

    Raises:
        SchemaUnusable: it cannot be compiled, or is of an unknown kind.
        SettingsError: the extra for its kind is missing.
    """
    try:
        match schema.kind.upper():
            case "AVRO":
                return AvroReader(schema)
            case "PROTOBUF":
                from worker.messages.protobuf_reader import ProtobufReader  # noqa: PLC0415 - an extra brings it

                return ProtobufReader(schema)
            case "JSON":
                return None
    except ImportError:
        extra = "registry" if schema.kind.upper() == "AVRO" else "protobuf"
        raise SettingsError(
            [f"messages in {schema.kind} need the extra `{extra}`: pip install 'moodstream[{extra}]'"]
        ) from None
    raise SchemaUnusable("the schema in the registry is neither Avro, Protobuf nor JSON")


def _frame(value: bytes, headers: Mapping[str, str]) -> tuple[int | str, bytes | None, bytes] | None:
    """Return a schema's id or GUID, the message indexes if they stand apart, and the value itself.

    Sources: Confluent's wire format, and its clients' `SchemaId`: a zero byte and a 4-byte id, or a one and a
    16-byte GUID. Its serializers write ids before the value and GUIDs into the header; its deserializers read
    either in both places, the header first.
    """
    said = headers.get(SCHEMA_ID)
    if said is not None:
        found = _schema_id(said.encode("utf-8", "surrogateescape"))
        return None if found is None else (found[0], found[1] or b"\0", value)
    if has_long_id(value):
        return None  # JSON needs no schema
    found = _schema_id(value)
    return None if found is None else (found[0], None, found[1])


def _schema_id(frame: bytes) -> tuple[int | str, bytes] | None:
    """A schema's id or GUID at the beginning of some bytes, and those after it."""
    if frame[:1] == b"\0" and len(frame) >= _ID_LENGTH:
        # As Java reads them: a registry has no negative ids, and says "not found" for them in its own way.
        return int.from_bytes(frame[1:_ID_LENGTH], "big", signed=True), frame[_ID_LENGTH:]
    if frame[:1] == b"\1" and len(frame) >= _GUID_LENGTH:
        return str(UUID(bytes=frame[1:_GUID_LENGTH])), frame[_GUID_LENGTH:]
    return None
