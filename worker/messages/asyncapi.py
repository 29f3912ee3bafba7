"""The topics of a worker as an AsyncAPI 3.1 document, which follows from the settings.

Source: https://www.asyncapi.com/docs/reference/specification/v3.1.0.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from worker.heads import Head
from worker.messages.avro_writer import CONTENT_TYPE, avro_schema
from worker.messages.columns import SCHEMA_VERSION, Layout
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.output_formats import connect_schema
from worker.messages.schema import input_schema, output_columns, output_schema
from worker.settings.groups import Settings
from worker.types import Failure, Record

_AVRO = "application/vnd.apache.avro;version=1.9.0"
_TOMBSTONE = {"title": "A null value: the key is deleted", "payload": {"type": "null"}}
_EVENT_HEADERS = ("ce_specversion", "ce_source", "ce_type", "ce_id")
_BINARY = {
    "kafka_dlt-original-partition": ("int32", "4 bytes, big-endian"),
    "kafka_dlt-original-offset": ("int64", "8 bytes, big-endian"),
    "kafka_dlt-original-timestamp": ("int64", "8 bytes, big-endian"),
}


def asyncapi(settings: Settings, heads: Sequence[Head]) -> dict[str, Any]:
    """Describe the topics of a worker with these settings and a pack with these heads."""
    source, sink = settings.source, settings.sink
    topics = source.topics or [source.topic_pattern or ""]
    channels = {topic: _input_channel(topic, pattern=not source.topics) for topic in topics}
    channels[sink.topic] = {
        "address": sink.topic,
        "description": "Output. The key, timestamp and headers of the input are kept.",
        "messages": {"labelled": _labelled(settings, heads), "tombstone": _TOMBSTONE},
    }
    channels[sink.dead_letter_topic] = _dead_letter_channel(settings)
    operations = {f"read_{topic}": _operation("receive", topic) for topic in topics}
    operations["write_outputs"] = _operation("send", sink.topic)
    operations["write_dead_letters"] = _operation("send", sink.dead_letter_topic)
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Moodstream",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Texts in, their sentiment, emotions and toxicity out. Each input gives one "
            "message on the output topic or one dead letter. Headers are bytes in Kafka; the types below say "
            "how to read them.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _operation(action: str, topic: str) -> dict[str, Any]:
    pointer = topic.replace("~", "~0").replace("/", "~1")
    return {"action": action, "channel": {"$ref": f"#/channels/{pointer}"}}


def _input_channel(topic: str, *, pattern: bool) -> dict[str, Any]:
    described = {"address": None if pattern else topic}
    return {
        **described,
        "description": f"Input: every topic that matches {topic}."
        if pattern
        else "Input. Any key; headers are passed on.",
        "messages": {
            "json": {"title": "A JSON object with the text in a field", "payload": _within(input_schema())},
            "string": {"title": "A JSON string, which is the text", "payload": {"type": "string"}},
            "text": {
                "title": "Bare UTF-8 text",
                "contentType": "text/plain",
                "payload": {"type": "string"},
            },
            "cloudevent": {
                "title": "A CloudEvent 1.0, structured, or binary with `ce_` headers",
                "contentType": "application/cloudevents+json",
                "payload": {"type": "object", "required": ["specversion", "id", "source", "type"]},
            },
            "tombstone": _TOMBSTONE,
        },
    }


def _labelled(settings: Settings, heads: Sequence[Head]) -> dict[str, Any]:
    """Describe an output message in the format of `sink.format`."""
    sink = settings.sink
    layout = Layout.of(sink)
    schema = _within(output_schema(heads, layout, include_text=sink.include_text))
    content_type, headers = "application/json", dict[str, Any]()
    payload: dict[str, Any] = schema
    if sink.format == "json_schema":
        columns = output_columns(heads, layout, include_text=sink.include_text)
        payload = connect_message_schema(connect_schema(columns), schema)
    elif sink.format == "avro":
        columns = output_columns(heads, layout, include_text=sink.include_text)
        content_type = CONTENT_TYPE.decode()
        payload = {"schemaFormat": _AVRO, "schema": avro_schema(columns)}
    elif sink.format == "cloudevents":
        headers = {name: {"type": "string"} for name in (*_EVENT_HEADERS, "ce_time")}
    return {
        "title": "A labelled message",
        "contentType": content_type,
        "headers": {
            "type": "object",
            "required": [name for name in headers if name != "ce_time"] + ["content-type"],
            "properties": {**headers, "content-type": {"const": content_type}},
        },
        "payload": payload,
    }


def connect_message_schema(schema: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON Schema of Kafka Connect's envelope: its schema is the same in every message."""
    return {
        "type": "object",
        "required": ["schema", "payload"],
        "properties": {"schema": {"const": schema}, "payload": payload},
        "additionalProperties": False,
    }


def _within(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as a part of a document: `$id` would make it one of its own."""
    return {name: value for name, value in schema.items() if name not in {"$schema", "$id"}}


def _dead_letter_channel(settings: Settings) -> dict[str, Any]:
    sink = settings.sink
    letters = DeadLetters(sink.dead_letter_topic, sink.dead_letter_profile, Origin("", ""))
    failure = Failure("decode", "not_json", "", "")
    letter = letters.to_dead_letter(Record("", 0, 0, 0, None, None), failure)
    properties: dict[str, Any] = {}
    for name, _ in letter.headers:
        form, words = _BINARY.get(name, ("", ""))
        integer = {"type": "integer", "format": form, "description": words}
        properties[name] = integer if form else {"type": "string"}
    return {
        "address": sink.dead_letter_topic,
        "description": "Messages that could not be labelled: key, value, timestamp and headers as they came.",
        "messages": {
            sink.dead_letter_profile: {
                "title": f"A dead letter with the headers of `sink.dead_letter_profile` "
                f"{sink.dead_letter_profile}",
                "payload": {"description": "The bytes of the input."},
                "headers": {"type": "object", "required": list(properties), "properties": properties},
            }
        },
    }


def as_yaml(value: object, indent: int = 0) -> str:
    """Write a document as YAML 1.2: nested blocks, with strings and short lists as JSON writes them.

    This is all that is needed of YAML, so it is not worth a library.
    """
    pad = "  " * indent
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{_key(str(name))}:{_below(item, indent)}" for name, item in value.items())
    if _is_block(value):
        return "".join(f"{pad}-\n{as_yaml(item, indent + 1)}" for item in cast("list[object]", value))
    return f"{pad}{_flow(value)}\n"


def _is_block(value: object) -> bool:
    """Whether a value is written as a block: objects, and lists of objects."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) and item for item in value)
    return isinstance(value, Mapping) and bool(value)


def _below(value: object, indent: int) -> str:
    return f"\n{as_yaml(value, indent + 1)}" if _is_block(value) else f" {_flow(value)}\n"


_PLAIN_KEY = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9_-]*", re.IGNORECASE)
"""A key that needs no quotes: YAML 1.1 reads some words as booleans."""


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else _flow(name)


def _flow(value: object) -> str:
    """Write a value as JSON, which is YAML too once what cannot be printed is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
