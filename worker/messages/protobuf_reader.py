"""Reads Protobuf values with the schema that wrote them.

The registry holds schemas as text, which the compiler of grpcio-tools makes into descriptors, within the
process. Needs the extra `protobuf`.
"""

import base64
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_tools import protoc

from worker.errors import SchemaMismatch, SchemaUnusable
from worker.messages.registry import Schema

_MAIN = "moodstream_schema.proto"
_MOST_INDEXES = 32
_MOST_VALUES = 500_000
"""Values of one message, those included that it leaves at their defaults."""


class ProtobufReader:
    """Reads the values of one schema.

    Args:
        schema: the schema, with those that it imports.

    Raises:
        SchemaUnusable: it does not compile.
    """

    def __init__(self, schema: Schema) -> None:
        self._file = _compiled(schema)

    def type_of(self, indexes: Sequence[int]) -> Descriptor:
        """Return the message type at a place: the index in the file, then in the message around, and so on.

        Raises:
            SchemaMismatch: there is none.
        """
        types: list[Descriptor] = list(self._file.message_types_by_name.values())
        for depth, index in enumerate(indexes):
            if index >= len(types):
                raise SchemaMismatch("the frame names a message type that its Protobuf schema does not have")
            if depth == len(indexes) - 1:
                return types[index]
            types = list(types[index].nested_types)
        raise SchemaMismatch("the frame names no message type")

    def types(self) -> Iterator[Descriptor]:
        """Yield all message types, nested ones too."""
        open_types = list(self._file.message_types_by_name.values())
        while open_types:
            each = open_types.pop()
            yield each
            open_types.extend(each.nested_types)

    def read(self, value: bytes, kind: Descriptor) -> object:
        """Read one value, without its frame.

        Raises:
            SchemaMismatch: it is no message of this type, or one of too many values.
        """
        try:
            message = message_factory.GetMessageClass(kind).FromString(value)
            return _Conversion().object(message)
        except SchemaMismatch:
            raise
        except Exception as error:  # noqa: BLE001 - a library over whatever a producer has written
            raise SchemaMismatch(
                f"the value is not what its Protobuf schema says ({type(error).__name__})"
            ) from None


def message_indexes(value: bytes) -> tuple[list[int], int]:
    """Read the place of a message's type from Confluent's frame, and the length of what tells it.

    A count and as many numbers, as zigzag varints; a count of 0 stands for the first type.

    Raises:
        SchemaMismatch: they cannot be read.
    """
    count, at = _varint(value, 0)
    if count == 0:
        return [0], at
    if not 0 < count <= _MOST_INDEXES:
        raise SchemaMismatch("the frame's message indexes cannot be read")
    indexes = []
    for _ in range(count):
        index, at = _varint(value, at)
        if index < 0:
            raise SchemaMismatch("the frame's message indexes cannot be read")
        indexes.append(index)
    return indexes, at


def _varint(value: bytes, at: int) -> tuple[int, int]:
    found = 0
    for place, byte in enumerate(value[at : at + 5]):
        found |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), at + place + 1
    raise SchemaMismatch("the frame's message indexes cannot be read")


def _compiled(schema: Schema) -> FileDescriptor:
    texts = {**dict(schema.references), _MAIN: schema.text}
    found = _descriptors(texts) if _descriptor(schema.text) is not None else _compile(texts)
    pool = descriptor_pool.DescriptorPool()
    try:
        for each in found:
            pool.AddSerializedFile(each.SerializeToString())
        return pool.FindFileByName(_MAIN)
    except (TypeError, KeyError):
        raise SchemaUnusable("the Protobuf schema in the registry contradicts itself") from None


def _descriptors(texts: dict[str, str]) -> list[descriptor_pb2.FileDescriptorProto]:
    """Read schemas that are descriptors in base64, the innermost first.

    Confluent's client for Python registers them so. A registry may give them back as text, or as they came.

    Raises:
        SchemaUnusable: one of them is no descriptor.
    """
    found = []
    for name, text in texts.items():
        descriptor = _descriptor(text)
        if descriptor is None:
            raise SchemaUnusable("the Protobuf schema imports one that is written in another way")
        descriptor.name = name
        found.append(descriptor)
    standard = {each for file in found for each in file.dependency} - texts.keys()
    return [*_compile({_MAIN: "".join(f'import "{name}";\n' for name in sorted(standard))})[:-1], *found]


def _descriptor(text: str) -> descriptor_pb2.FileDescriptorProto | None:
    try:
        data = base64.b64decode(text, validate=True)
        return descriptor_pb2.FileDescriptorProto.FromString(data)
    except (ValueError, DecodeError):
        return None


def _compile(texts: dict[str, str]) -> list[descriptor_pb2.FileDescriptorProto]:
    """Compile schemas, `_MAIN` and what it imports by its name. `_MAIN` comes last.

    Raises:
        SchemaUnusable: they do not compile.
    """
    with tempfile.TemporaryDirectory() as folder, as_file(files("grpc_tools") / "_proto") as standard:
        for name, text in texts.items():
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts or "\0" in name:
                raise SchemaUnusable("the Protobuf schema imports a file by a name that cannot be used")
            target = Path(folder, "in", place)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            except (OSError, UnicodeError):
                raise SchemaUnusable("the Protobuf schema cannot be stored for its compiler") from None
        made = Path(folder, "descriptors")
        options = [f"-I{folder}/in", f"-I{standard}", "--include_imports", f"--descriptor_set_out={made}"]
        if protoc.main(["protoc", *options, _MAIN]) != 0:
            raise SchemaUnusable("the Protobuf schema in the registry does not compile")
        return list(descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file)


class _Conversion:
    """Makes of one message what JSON can hold. Numbers remain numbers, 64 bits too; names are the schema's.

    A field without presence that is not set has its default; one with presence is left out.
    """

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def object(self, message: Message) -> Any:
        kind = message.DESCRIPTOR
        if kind.full_name.startswith("google.protobuf."):
            return self._well_known(message)
        found: dict[str, Any] = {}
        for field in kind.fields:
            self._count(1)
            value = getattr(message, field.name)
            if field.is_repeated:
                found[field.name] = self._several(field, value)
            elif not field.has_presence or message.HasField(field.name):
                found[field.name] = self._one(field, value)
        return found

    def _several(self, field: Any, values: Any) -> Any:
        self._count(len(values))
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            of_value = inner.fields_by_name["value"]
            return {str(key): self._one(of_value, values[key]) for key in values}
        return [self._one(field, each) for each in values]

    def _one(self, field: Any, value: Any) -> Any:
        if field.message_type is not None:
            return self.object(value)
        if field.enum_type is not None:
            named = field.enum_type.values_by_number.get(value)
            return value if named is None else named.name
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value

    def _well_known(self, message: Message) -> Any:
        """Times as text, wrappers as what they wrap, `Struct` as an object: as JSON has them.

        None for what JSON has no form for: a time outside of the years 1 to 9999, infinity.
        """
        name = message.DESCRIPTOR.full_name
        if name.endswith("Value") and "value" in message.DESCRIPTOR.fields_by_name:
            return self._one(message.DESCRIPTOR.fields_by_name["value"], message.value)  # type: ignore[attr-defined]
        self._count(message.ByteSize())
        try:
            return json_format.MessageToDict(message)
        except (ValueError, TypeError, json_format.Error):
            return None

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise SchemaMismatch(f"the message holds more than {_MOST_VALUES} values")
