"""Schemas in a real registry: registered, compared, and used to read messages in Avro, Protobuf and JSON."""

import json
import urllib.request
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, prefix_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.unit.messages.test_framed import BODY, JSON_SCHEMA, POST, PROTO, avro, framed, written_by_confluent
from tests.unit.messages.test_output_formats import HEADS, PREDICTION, sink
from worker.errors import RegistryRefused
from worker.heads import Head
from worker.messages.avro_writer import AvroFormat
from worker.messages.columns import Layout
from worker.messages.decode import Decoder
from worker.messages.encode import OutputEncoder
from worker.messages.fields import Fields
from worker.messages.registry import Registry
from worker.settings.groups import SourceSettings
from worker.types import Failure, Message, Record


@pytest.fixture
def registry(registry_url: str) -> Registry:
    return Registry(registry_url)


def test_registered_schemas_read_messages(registry: Registry) -> None:
    registry.check()
    avro_id = registry.register("posts-value", json.dumps(POST), "AVRO")
    assert registry.register("posts-value", json.dumps(POST), "AVRO") == avro_id
    proto_id = registry.register("proto-value", PROTO, "PROTOBUF")
    json_id = registry.register("json-value", JSON_SCHEMA, "JSON")
    decoder = Decoder(Fields.of(SourceSettings()), registry)

    def read(number: int, data: bytes) -> object:
        [item] = decoder.decode(Record("posts", 0, 0, 1, None, framed(number, data)))
        return item.decoded

    texts = [
        read(avro_id, avro(POST, BODY)),
        read(proto_id, b"\x02\x02" + b"\x0a\x07so good"),
        read(json_id, b'{"text": "so good"}'),
    ]
    assert all(isinstance(each, Message) and each.text == "so good" for each in texts), texts
    unknown = read(99_999, b"\x02a")
    assert isinstance(unknown, Failure)
    assert unknown.reason == "schema_unknown"


@pytest.mark.parametrize("form", ["AVRO", "JSON", "PROTOBUF"])
def test_what_confluents_serializers_register_and_write_is_read(
    registry: Registry, registry_url: str, form: str
) -> None:
    value, _ = written_by_confluent(registry_url, form, prefix_schema_id_serializer, f"{form}-posts")
    [item] = Decoder(Fields.of(SourceSettings()), registry).decode(Record("posts", 0, 0, 1, None, value))
    assert isinstance(item.decoded, Message), item.decoded
    assert item.decoded.text == "so good"


def test_a_registry_that_knows_no_guids_stops_the_worker(registry: Registry) -> None:
    """Apicurio 2 is one. Dead letters would be wrong: the messages are good."""
    decoder = Decoder(Fields.of(SourceSettings()), registry)
    header = ("__value_schema_id", b"\x01" + bytes(range(16)))
    with pytest.raises(RegistryRefused, match="cannot look up schemas by GUID"):
        decoder.decode(Record("posts", 0, 0, 1, None, avro(POST, BODY), (header,)))


def write(registry: Registry, topic: str, heads: tuple[Head, ...] = HEADS, **values: Any) -> bytes:
    """One output, by a worker with these settings that registers its schema first."""
    settings = sink(topic=topic, format="avro", **values)
    output_format = AvroFormat(topic)
    encoder = OutputEncoder(
        heads,
        model="compact@0123456789ab",
        topic=topic,
        include_text=settings.include_text,
        layout=Layout.of(settings),
        output_format=output_format,
    )
    output_format.register(registry)
    record = Record("posts", 3, 41, 1_700_000_000_000, b"k", b"{}")
    message = Message("so good", "posts:3:41", 5, "en", {"product": "lamp", "price": 9.5})
    return encoder.encode(record, message, PREDICTION, 6).value or b""


def demand(url: str, topic: str, compatibility: str) -> None:
    """Let the registry refuse schemas of the topic that are not compatible with those before."""
    request = urllib.request.Request(
        f"{url}/config/{topic}-value",
        json.dumps({"compatibility": compatibility}).encode(),
        {"content-type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_other_settings_and_another_pack_give_compatible_schemas(
    registry: Registry, registry_url: str, unique: str
) -> None:
    values = [write(registry, unique)]
    demand(registry_url, unique, "FULL_TRANSITIVE")
    values += [
        write(registry, unique, include_text=True),
        write(registry, unique, columns="labels"),
        write(registry, unique, keep=["product", "price:double"]),
        write(registry, unique, keep=["product"], offsets="utf16"),
        write(registry, unique, heads=HEADS[:1]),
    ]
    assert len({value[:5] for value in values}) == len(values)
    client = SchemaRegistryClient({"url": registry_url})
    context = SerializationContext(unique, MessageField.VALUE)
    read = AvroDeserializer(client)
    found = [read(value, context) for value in values]
    assert all(body["event_id"] == "posts:3:41" for body in found)
    assert (found[1]["text"], found[3]["product"], found[3]["price"]) == ("so good", "lamp", 9.5)
    first = client.get_schema(int.from_bytes(values[0][1:5], "big"))
    for value in values:  # a reader that keeps to the first schema reads them all
        body = AvroDeserializer(client, first)(value, context)
        assert (body["event_id"], body["sentiment_label"]) == ("posts:3:41", "negative")


def test_a_column_that_gets_another_type_is_refused(
    registry: Registry, registry_url: str, unique: str
) -> None:
    write(registry, unique, keep=["price:double"])
    demand(registry_url, unique, "BACKWARD")
    with pytest.raises(RegistryRefused, match=f"refuses the schema for `{unique}-value`, 409: "):
        write(registry, unique, keep=["price:boolean"])
