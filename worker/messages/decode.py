"""Decodes one record into a message, a tombstone or a failure."""

from collections.abc import Mapping
from dataclasses import replace

from worker.errors import DecodeError, RecordUnreadable, UnsupportedEncoding
from worker.messages import cloudevents
from worker.messages.body import read_value, text_and_language, unwrapped
from worker.messages.framing import Frame, registry_frame
from worker.messages.headers import SCHEMA_ID, UNDECLARED, MediaType, known_charset, media_type, read_headers
from worker.types import Failure, Message, Record, Tombstone

_COMPRESSED = frozenset({"gzip", "zstd", "deflate", "br", "lz4", "snappy", "compress", "bzip2", "xz"})
"""Content encodings that a message may name. Anything else is the sender's own text."""


def decode(record: Record, text_field: str) -> Message | Tombstone | Failure:
    """Read one record.

    The value is JSON or UTF-8 text: what its `content-type` says, or what it looks like. In a JSON object the
    text is at `text_field` (dots go deeper); a JSON string is the text. CloudEvents are read in binary and in
    structured mode, and a schema registry's frame is removed when JSON follows it. A null value is a
    tombstone.

    Never raises for anything a producer may have written: every error becomes a `Failure`.
    """
    if record.unreadable is not None:
        problem = RecordUnreadable(f"the record {record.unreadable}, although its checksum is right")
        return Failure.of("decode", problem.reason, problem)
    if record.value is None:
        return Tombstone()
    try:
        return _message(record, record.value, text_field)
    except DecodeError as error:
        return Failure.of("decode", error.reason, error)
    except Exception as error:  # noqa: BLE001 - a decoder bug costs one message, not the stream
        return Failure(
            "decode",
            "decoder_failed",
            f"the decoder failed with {type(error).__name__}",
            f"{type(error).__module__}.{type(error).__qualname__}",
        )


def _message(record: Record, value: bytes, text_field: str) -> Message:
    headers = read_headers(record.headers)
    media = _declared(headers)
    # The content type decides: an event in structured mode may carry its attributes in headers as well.
    event = None if media.cloudevent else cloudevents.from_headers(headers)
    frame = registry_frame(value)
    if frame is not None:
        value = value[frame.length :]
    elif SCHEMA_ID in headers:
        frame = Frame(0, "a schema id in a header")
    body = read_value(value, media, frame)
    if event is None and cloudevents.is_structured(media, body):
        event, body = cloudevents.from_object(body)
        body = _event_data(body, media_type(event.content_type))
    text, lang = text_and_language(body, text_field)
    if event is None:
        event_id = f"{record.topic}:{record.partition}:{record.offset}"
        return Message(text, event_id, record.timestamp_ms, lang)
    time_ms = record.timestamp_ms if event.time_ms is None else event.time_ms
    return Message(text, event.event_id, time_ms, lang)


def _declared(headers: Mapping[str, str]) -> MediaType:
    """Read what the headers say about the value.

    Raises:
        UnsupportedEncoding: they say that it is compressed, or encoded in another way.
    """
    if not headers:
        return UNDECLARED
    media = media_type(
        headers.get("content-type") or headers.get("ce_datacontenttype") or headers.get("contenttype")
    )
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return media
    charset = known_charset(encoding)  # senders over AMQP write `utf-8` there
    if charset == "":
        name = encoding.removeprefix("x-")
        raise UnsupportedEncoding(
            f"the value is compressed: content-encoding says {name}"
            if name in _COMPRESSED
            else "content-encoding names an unknown encoding"
        )
    return media if charset is None else replace(media, charset=charset)


def _event_data(data: object, media: MediaType) -> object:
    """Read the data of an event in structured mode: bytes and strings by its `datacontenttype`."""
    if isinstance(data, bytes):
        return read_value(data, media)
    if isinstance(data, str):
        if media.kind == "unreadable":
            raise UnsupportedEncoding(f"the data of the event are {media.form}, which cannot be read")
        return data if media.kind == "text" else unwrapped(data)
    return data
