"""Avro and Protobuf with a schema registry: what is read, and one clear answer for what cannot be."""

import base64
import io
import struct
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from confluent_kafka.schema_registry import (
    SchemaRegistryClient,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2
from google.protobuf.message_factory import GetMessageClass

from tests.support.scripted_registry import ScriptedRegistry
from worker.errors import RegistryUnavailable, SchemaWithoutText
from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.messages.protobuf_reader import ProtobufReader
from worker.messages.registry import Registry, Schema
from worker.settings.groups import SourceSettings
from worker.types import Failure, Filtered, Message, Record

fastavro = pytest.importorskip("fastavro")

POST: dict[str, Any] = {
    "type": "record",
    "name": "Post",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "likes", "type": ["null", "long"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
PROTO = """
syntax = "proto3";
package posts;
import "google/protobuf/timestamp.proto";
message Like { int64 post = 1; }
message Post {
  string text = 1;
  int64 likes = 2;
  google.protobuf.Timestamp at = 3;
  message Reply { string text = 1; }
}
"""


JSON_SCHEMA = """
{"$schema": "http://json-schema.org/draft-07/schema#", "title": "Post", "type": "object"}
"""


@pytest.fixture
def server() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry() as running:
        yield running


def decoder(server: ScriptedRegistry, **settings: Any) -> Decoder:
    return Decoder(Fields.of(SourceSettings(**settings), ["likes"]), Registry(server.url))


def one(reader: Decoder, value: bytes, *headers: tuple[str, bytes]) -> Message | Failure:
    [item] = reader.decode(Record("posts", 0, 5, 17, None, value, headers))
    assert isinstance(item.decoded, (Message, Failure))
    return item.decoded


def avro(schema: Any, body: object) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), body)
    return stream.getvalue()


def framed(number: int, data: bytes) -> bytes:
    return b"\0" + struct.pack(">I", number) + data


def hold(server: ScriptedRegistry, schema: Any, kind: str = "AVRO") -> None:
    text = schema if isinstance(schema, str) else orjson.dumps(schema).decode()
    server.schemas[3] = {"schema": text, "schemaType": kind}


BODY = {"text": "so good", "likes": 2**40, "at": 1_700_000_000_000}


@pytest.mark.parametrize("in_header", [False, True])
def test_avro(server: ScriptedRegistry, in_header: bool) -> None:
    hold(server, POST)
    reader = decoder(server, time_field="at")
    data = avro(POST, BODY)
    header = ("__value_schema_id", framed(3, b""))
    found = one(reader, data, header) if in_header else one(reader, framed(3, data))
    assert found == Message("so good", "posts:0:5", 1_700_000_000_000, None, {"likes": 2**40})
    assert server.asked == ["/schemas/ids/3"]


GUID = "89791762-2336-4186-9674-299b90a802e2"
GUID_FRAME = b"\x01" + uuid.UUID(GUID).bytes


@pytest.mark.parametrize("in_header", [False, True])
def test_a_guid_names_a_schema(server: ScriptedRegistry, in_header: bool) -> None:
    server.guids[GUID] = {"schema": orjson.dumps(POST).decode()}
    reader, data = decoder(server), avro(POST, BODY)
    header = ("__value_schema_id", GUID_FRAME)
    for _ in range(2):
        found = one(reader, data, header) if in_header else one(reader, GUID_FRAME + data)
        assert isinstance(found, Message)
        assert found.text == "so good"
    assert server.asked == [f"/schemas/guids/{GUID}"]


@pytest.mark.parametrize("form", ["AVRO", "JSON", "PROTOBUF"])
@pytest.mark.parametrize("place", [header_schema_id_serializer, prefix_schema_id_serializer])
def test_what_confluents_serializers_write_is_read(server: ScriptedRegistry, form: str, place: Any) -> None:
    value, headers = written_by_confluent(server.url, form, place)
    found = one(decoder(server), value, *headers)
    assert isinstance(found, Message)
    assert found.text == "so good"
    assert bool(headers) == (place is header_schema_id_serializer)


def written_by_confluent(
    url: str, form: str, place: Any, topic: str = "posts"
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A value and its headers, as confluent-kafka's serializers write them with the registry at `url`."""
    headers: list[tuple[str, Any]] = []
    context = SerializationContext(topic, MessageField.VALUE, headers)
    client, conf = SchemaRegistryClient({"url": url}), {"schema.id.serializer": place}
    body: Any = BODY
    write: Any
    match form:
        case "AVRO":
            write = AvroSerializer(client, orjson.dumps(POST).decode(), conf=conf)
        case "JSON":
            write = JSONSerializer(JSON_SCHEMA, client, conf=conf)
        case _:
            kind = GetMessageClass(ProtobufReader(Schema("PROTOBUF", PROTO)).type_of([1]))
            body = kind(text="so good", likes=5)
            write = ProtobufSerializer(kind, client, conf=conf)
    return write(body, context), headers


def test_json_with_a_guid_is_read_as_json(server: ScriptedRegistry) -> None:
    server.guids[GUID] = {"schema": "{}", "schemaType": "JSON"}
    data = b'{"text": "so good"}'
    for found in (
        one(decoder(server), data, ("__value_schema_id", GUID_FRAME)),
        one(decoder(server), GUID_FRAME + data),
    ):
        assert isinstance(found, Message)
        assert found.text == "so good"


def test_an_unknown_guid(server: ScriptedRegistry) -> None:
    found = one(decoder(server), avro(POST, BODY), ("__value_schema_id", GUID_FRAME))
    assert isinstance(found, Failure)
    assert (found.reason, GUID in found.message) == ("schema_unknown", True)


def test_an_unknown_id(server: ScriptedRegistry) -> None:
    found = one(decoder(server), framed(9, b"\x02a"))
    assert isinstance(found, Failure)
    assert found.reason == "schema_unknown"


def test_a_registry_that_is_away_gives_no_dead_letter(server: ScriptedRegistry) -> None:
    hold(server, POST)
    server.down = True
    reader, data = decoder(server), framed(3, avro(POST, BODY))
    with pytest.raises(RegistryUnavailable):
        one(reader, data)
    server.down = False
    assert isinstance(one(reader, data), Message)


def test_a_schema_without_the_text_names_its_fields(server: ScriptedRegistry) -> None:
    hold(server, POST)
    with pytest.raises(SchemaWithoutText, match=r"schema 3 has no field `body`.*but `text`, `likes`, `at`"):
        one(decoder(server, text_field="body"), framed(3, avro(POST, BODY)))


def test_json_behind_a_frame(server: ScriptedRegistry) -> None:
    hold(server, {}, "JSON")
    assert isinstance(one(decoder(server), framed(3, b'{"text": "so good"}')), Message)


LIST: dict[str, Any] = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "text", "type": "string"}, {"name": "next", "type": ["null", "Node"]}],
}
NULLS: dict[str, Any] = {
    "type": "record",
    "name": "Nulls",
    "fields": [{"name": "text", "type": "string"}, {"name": "n", "type": {"type": "array", "items": "null"}}],
}


@pytest.mark.parametrize(
    ("schema", "data", "reason"),
    [
        (POST, b"\x04a", "schema_mismatch"),
        (POST, avro(POST, BODY) + b"!", "schema_mismatch"),
        (POST, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", "schema_mismatch"),
        (LIST, b"\x02a\x02" * 300_000, "schema_mismatch"),
        (NULLS, b"\x02a" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", "schema_unusable"),
        ({"type": "reco"}, b"", "schema_unusable"),
    ],
    ids=["short", "long", "huge string", "deep", "nulls", "no schema"],
)
def test_avro_that_cannot_be_read(server: ScriptedRegistry, schema: Any, data: bytes, reason: str) -> None:
    hold(server, schema)
    found = one(decoder(server), framed(3, data))
    assert isinstance(found, Failure)
    assert found.reason == reason


YEAR_50_000_MS = 1_515_730_000_000_000


@pytest.mark.parametrize(
    ("kind", "logical", "value"),
    [
        ("long", "timestamp-millis", YEAR_50_000_MS),
        ("long", "timestamp-millis", -YEAR_50_000_MS),
        ("long", "timestamp-micros", YEAR_50_000_MS * 1000),
        ("long", "local-timestamp-millis", YEAR_50_000_MS),
        ("int", "date", YEAR_50_000_MS // 86_400_000),
        ("int", "time-millis", 2**31 - 1),
        ("long", "time-micros", 2**62),
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_a_time_that_no_calendar_has_costs_itself_and_not_the_message(
    server: ScriptedRegistry, kind: str, logical: str, value: int, nullable: bool
) -> None:
    time: Any = {"type": kind, "logicalType": logical}
    schema = {
        "type": "record",
        "name": "Post",
        "fields": [
            {"name": "text", "type": "string"},
            {"name": "likes", "type": ["null", time] if nullable else time},
        ],
    }
    hold(server, schema)
    raw = {**schema, "fields": [schema["fields"][0], {"name": "likes", "type": ["null", kind]}]}
    data = avro(raw, {"text": "so good", "likes": value})
    if not nullable:
        data = data.replace(b"\x0eso good\x02", b"\x0eso good")  # without the branch of the union
    found = one(decoder(server, time_field="likes"), framed(3, data))
    assert found == Message("so good", "posts:0:5", 17, None, {"likes": None})


def test_times_are_kept_in_iso_8601(server: ScriptedRegistry) -> None:
    schema = {**POST, "fields": [*POST["fields"][:1], {**POST["fields"][2], "name": "likes"}]}
    hold(server, schema)
    found = one(decoder(server), framed(3, avro(schema, {"text": "x", "likes": 1_700_000_000_000})))
    assert isinstance(found, Message)
    assert found.kept == {"likes": "2023-11-14T22:13:20+00:00"}


def test_a_short_list_of_a_recursive_schema_is_read(server: ScriptedRegistry) -> None:
    hold(server, LIST)
    value = avro(LIST, {"text": "a", "next": {"text": "b", "next": None}})
    assert isinstance(one(decoder(server), framed(3, value)), Message)


class TestProtobuf:
    """Messages in Protobuf."""

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("grpc_tools")

    POST = b"\x0a\x07so good\x10\x05\x1a\x06\x08\x80\xe2\xcf\xaa\x06"

    def test_a_message(self, server: ScriptedRegistry) -> None:
        hold(server, PROTO, "PROTOBUF")
        reader = decoder(server, time_field="at")
        want = Message("so good", "posts:0:5", 1_700_000_000_000, None, {"likes": 5})
        assert one(reader, framed(3, b"\x02\x02" + self.POST)) == want
        assert one(reader, self.POST, ("__value_schema_id", framed(3, b"\x02\x02"))) == want
        server.guids[GUID] = server.schemas[3]
        assert one(reader, self.POST, ("__value_schema_id", GUID_FRAME + b"\x02\x02")) == want
        assert one(reader, GUID_FRAME + b"\x02\x02" + self.POST) == want
        nested = one(reader, framed(3, b"\x04\x02\x00\x0a\x02hi"))
        assert isinstance(nested, Message)
        assert nested.text == "hi"

    def test_a_time_in_the_year_50_000_costs_itself_and_not_the_message(
        self, server: ScriptedRegistry
    ) -> None:
        hold(server, PROTO, "PROTOBUF")
        kind: Any = GetMessageClass(ProtobufReader(Schema("PROTOBUF", PROTO)).type_of([1]))
        post = kind(text="so good", likes=5, at={"seconds": YEAR_50_000_MS // 1000})
        found = one(decoder(server, time_field="at"), framed(3, b"\x02\x02" + post.SerializeToString()))
        assert found == Message("so good", "posts:0:5", 17, None, {"likes": 5})

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"\x00\x08\x05", "another type"),
            (b"\x02\x10", "does not have"),
            (b"\x02\x02\xff\xff", "DecodeError"),
            (b"\xff\xff\xff\xff\xff\xff", "cannot be read"),
        ],
    )
    def test_what_cannot_be_read(self, server: ScriptedRegistry, data: bytes, message: str) -> None:
        hold(server, PROTO, "PROTOBUF")
        found = one(decoder(server), framed(3, data))
        assert isinstance(found, Failure)
        assert found.reason == "schema_mismatch"
        assert message in found.message

    def test_a_schema_without_the_text_names_its_fields(self, server: ScriptedRegistry) -> None:
        hold(server, PROTO, "PROTOBUF")
        with pytest.raises(SchemaWithoutText, match=r"no field `body`.*but `text`, `likes`, `at`"):
            one(decoder(server, text_field="body"), framed(3, b"\x02\x02" + self.POST))

    def test_descriptors_in_place_of_text(self, server: ScriptedRegistry) -> None:
        other = descriptor_pb2.FileDescriptorProto(name="x", package="p", syntax="proto3")
        other.message_type.add(name="Place").field.add(name="town", number=1, type=9, label=1)
        main = descriptor_pb2.FileDescriptorProto(name="y", syntax="proto3", dependency=["place.proto"])
        post = main.message_type.add(name="Post")
        post.field.add(name="text", number=1, type=9, label=1)
        post.field.add(name="at", number=2, type=11, label=1, type_name=".p.Place")

        def held(file: descriptor_pb2.FileDescriptorProto) -> str:
            return base64.b64encode(file.SerializeToString()).decode()

        reference = {"name": "place.proto", "subject": "p", "version": 1}
        server.schemas[3] = {"schema": held(main), "schemaType": "PROTOBUF", "references": [reference]}
        server.versions["/subjects/p/versions/1"] = {"schema": held(other)}
        found = one(decoder(server), framed(3, b"\0" + b"\x0a\x02hi\x12\x03\x0a\x01B"))
        assert isinstance(found, Message)
        assert found.text == "hi"
        for wrong in ('syntax = "proto3";', held(main)):  # as text, or without the type that it refers to
            server.versions["/subjects/p/versions/1"] = {"schema": wrong}
            failed = one(decoder(server), framed(3, b"\0" + b"\x0a\x02hi"))
            assert isinstance(failed, Failure)
            assert failed.reason == "schema_unusable"

    def test_a_schema_that_does_not_compile(self, server: ScriptedRegistry) -> None:
        hold(server, "message {", "PROTOBUF")
        found = one(decoder(server), framed(3, b"\0\0"))
        assert isinstance(found, Failure)
        assert found.reason == "schema_unusable"

    def test_an_import_cannot_leave_its_folder(self, server: ScriptedRegistry) -> None:
        reference = {"name": "../../a.proto", "subject": "a", "version": 1}
        server.schemas[3] = {"schema": PROTO, "schemaType": "PROTOBUF", "references": [reference]}
        server.versions["/subjects/a/versions/1"] = {"schema": PROTO}
        found = one(decoder(server), framed(3, b"\x02\x02" + self.POST))
        assert isinstance(found, Failure)
        assert found.reason == "schema_unusable"


def test_json_behind_an_id_of_eight_bytes_needs_no_registry(server: ScriptedRegistry) -> None:
    """Apicurio's frame. Without a registry it is read too (test_formats.py)."""
    for number in (7, 2**31):
        found = one(decoder(server), b"\0" + struct.pack(">q", number) + b'{"text": "so good"}')
        assert isinstance(found, Message)
        assert found.text == "so good"
    assert server.asked == []


def test_a_filter_drops_messages_of_a_schema_without_a_text(server: ScriptedRegistry) -> None:
    """Several kinds of event in one topic: only those that the filter lets through need a text."""
    like = {
        "type": "record",
        "name": "Like",
        "fields": [{"name": "kind", "type": "string"}, {"name": "post", "type": "long"}],
    }
    hold(server, like)
    value = framed(3, avro(like, {"kind": "like", "post": 4}))
    with pytest.raises(SchemaWithoutText):
        decoder(server).decode(Record("posts", 0, 5, 17, None, value, ()))
    [item] = decoder(server, filter="kind == 'post'").decode(Record("posts", 0, 5, 17, None, value, ()))
    assert item.decoded == Filtered()
    failure = one(decoder(server, filter="kind == 'like'"), value)
    assert isinstance(failure, Failure)
    assert failure.reason == "text_missing"
