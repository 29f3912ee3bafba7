"""Avro and Protobuf with a schema registry: what is read, and one clear answer for what cannot be."""

import io
import struct
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.support.scripted_registry import ScriptedRegistry
from worker.errors import RegistryUnavailable, SchemaWithoutText
from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.messages.registry import Registry
from worker.settings.groups import SourceSettings
from worker.types import Failure, Message, Record

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
