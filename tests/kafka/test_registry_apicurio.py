"""Schemas in a real registry: registered, and used to read messages in Avro, Protobuf and JSON."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apicurio import apicurio
from tests.support.libs import KafkaMissing
from tests.unit.messages.test_framed import BODY, POST, PROTO, avro, framed
from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.messages.registry import Registry
from worker.settings.groups import SourceSettings
from worker.types import Failure, Message, Record

pytestmark = pytest.mark.kafka

JSON_SCHEMA = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder: Path = tmp_path_factory.mktemp("registry")
    try:
        with apicurio(folder) as url:
            yield Registry(url)
    except KafkaMissing as missing:
        if os.environ.get("MOODSTREAM_REQUIRE_KAFKA"):
            raise
        pytest.skip(str(missing))


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
