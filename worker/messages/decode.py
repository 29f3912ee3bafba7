"""One record to a message, a tombstone or a failure."""

import re

from worker.errors import DecodeError, UnsupportedEncoding
from worker.messages import cloudevents
from worker.messages.body import as_text, at_path, parse_json, utf8
from worker.messages.cloudevents import CloudEvent
from worker.types import Failure, Headers, Message, Record, Tombstone

SCHEMA_ID_HEADER = "__value_schema_id"
_PREFIX_BYTES = 5
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")


def decode(record: Record, text_field: str) -> Message | Tombstone | Failure:
    """Read one record.

    JSON is what begins with `{` or is called JSON by its `content-type`; its text lies at `text_field`
    (dots go deeper). Everything else is UTF-8 text as it stands. CloudEvents are read in both modes, and
    a schema registry's framing is taken off when JSON lies behind it. A null value is a tombstone.

    Never raises for what a producer may have written: whatever is wrong becomes a `Failure`.
    """
    if record.value is None:
        return Tombstone()
    try:
        return _message(record, record.value, text_field)
    except DecodeError as error:
        kind = type(error)
        return Failure("decode", error.reason, str(error), f"{kind.__module__}.{kind.__qualname__}")


def _message(record: Record, value: bytes, text_field: str) -> Message:
    headers = _text_headers(record.headers)
    value, schema_id = _without_prefix(value, headers)
    content_type = headers.get("content-type")
    event = cloudevents.from_headers(headers)
    if not _is_json(value, content_type):
        if schema_id is not None:
            raise UnsupportedEncoding(
                f"the value is framed with schema id {schema_id} and is not JSON: "
                "Avro and Protobuf cannot be read"
            )
        return _build(record, event, as_text(utf8(value), "the value"), None)
    body = parse_json(value)
    if event is None and cloudevents.is_structured(content_type, body):
        event, body = cloudevents.from_object(body)
        body = _event_data(event, body)
    return _build(record, event, *_text_and_language(body, text_field))


def _without_prefix(value: bytes, headers: dict[str, str]) -> tuple[bytes, str | None]:
    """Take off the registry's framing: a zero byte and a 4-byte id in front, or the id in a header."""
    if value[:1] == b"\x00" and len(value) >= _PREFIX_BYTES:
        return value[_PREFIX_BYTES:], str(int.from_bytes(value[1:_PREFIX_BYTES], "big"))
    return value, "in a header" if SCHEMA_ID_HEADER in headers else None


def _is_json(value: bytes, content_type: str | None) -> bool:
    if content_type is not None:
        kind = content_type.split(";", 1)[0].strip().lower()
        if kind == "application/json" or kind.endswith("+json"):
            return True
        if kind.startswith("text/"):
            return False
    return value.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] == b"{"


def _event_data(event: CloudEvent, data: object) -> object:
    """Bytes of a structured event are JSON or text, by its `datacontenttype`."""
    if not isinstance(data, bytes):
        return data
    return parse_json(data) if _is_json(data, event.content_type) else utf8(data)


def _text_and_language(body: object, text_field: str) -> tuple[str, str | None]:
    if isinstance(body, str):  # an event's data may be the text itself
        return as_text(body, "the data"), None
    text = as_text(at_path(body, text_field), f"`{text_field}`")
    lang = body.get("lang") if isinstance(body, dict) else None
    known = isinstance(lang, str) and _LANGUAGE_TAG.fullmatch(lang) is not None
    return text, lang if known else None


def _build(record: Record, event: CloudEvent | None, text: str, lang: str | None) -> Message:
    if event is None:
        event_id = f"{record.topic}:{record.partition}:{record.offset}"
        return Message(text, event_id, record.timestamp_ms, lang)
    time_ms = record.timestamp_ms if event.time_ms is None else event.time_ms
    return Message(text, event.event_id, time_ms, lang)


def _text_headers(headers: Headers) -> dict[str, str]:
    """Header names in lower case; of a name that occurs twice the last one counts."""
    return {name.lower(): value.decode("utf-8", "replace") for name, value in headers if value is not None}
