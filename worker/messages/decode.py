"""Decodes one record into messages, a tombstone or failures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from worker.errors import (
    ArrayUnusable,
    DecodeError,
    RecordUnreadable,
    RegistryError,
    SettingsError,
    UnsupportedEncoding,
)
from worker.messages import cloudevents
from worker.messages.body import read_value, unwrapped
from worker.messages.cloudevents import CloudEvent
from worker.messages.compression import READABLE, decompress
from worker.messages.fields import Fields
from worker.messages.framed import NOT_FRAMED, Framed
from worker.messages.framing import Frame, registry_frame
from worker.messages.headers import (
    SCHEMA_ID,
    UNDECLARED,
    MediaType,
    element_headers,
    known_charset,
    media_type,
    read_headers,
)
from worker.messages.registry import Registry
from worker.messages.scalars import as_json
from worker.types import Failure, Filtered, Message, Record, Tombstone

MOST_MESSAGES = 1_000
"""Messages in one array. More would fit into a megabyte, and each becomes a record of its own."""

_UNREADABLE = frozenset({"br", "lz4", "snappy", "compress", "bzip2", "xz"})
"""Content encodings that a message may name. Anything else is the sender's own text."""

Decoded = Message | Tombstone | Failure | Filtered


class Item(NamedTuple):
    """One message of a record. `record` is the record itself, or what it would be for this element alone."""

    record: Record
    decoded: Decoded


class Decoder:
    """Reads records.

    The value is JSON or UTF-8 text: what its `content-type` says, or what it looks like. It may be compressed
    (`content-encoding` gzip, deflate or zstd). CloudEvents are read in binary, structured and batch mode, and
    a schema registry's frame is removed when JSON follows it. With a registry, Avro and Protobuf are read as
    well. A null value is a tombstone. Every element of an array is a message of its own.

    Args:
        fields: where text, time and the rest lie.
        registry: the schemas of framed values.
    """

    def __init__(self, fields: Fields, registry: Registry | None = None) -> None:
        self._fields = fields
        self._framed = None if registry is None else Framed(registry, fields.text_names)

    def decode(self, record: Record) -> list[Item]:
        """Read one record into at least one item. Never raises for anything a producer may have written.

        Raises:
            RegistryError: the registry cannot be used, or the topic's schema has no text.
            SettingsError: the extra for the topic's format is missing.
        """
        if record.unreadable is not None:
            problem = RecordUnreadable(f"the record {record.unreadable}, although its checksum is right")
            return [Item(record, _failure(problem))]
        if record.value is None:
            return [Item(record, Tombstone())]
        try:
            body, media, event = _read(record, record.value, self._framed)
            if isinstance(body, list) and not self._fields.whole_arrays:
                return self._elements(record, body, event, events=media.cloudevents)
        except (RegistryError, SettingsError):
            raise
        except Exception as error:  # noqa: BLE001 - a decoder bug costs one message, not the stream
            return [Item(record, _failure(error))]
        return [Item(record, self._one(record, body, event, None))]

    def _elements(
        self, record: Record, bodies: list[object], event: CloudEvent | None, *, events: bool
    ) -> list[Item]:
        if not bodies:
            raise ArrayUnusable("the value is an empty array")
        if len(bodies) > MOST_MESSAGES:
            raise ArrayUnusable(
                f"the value is an array of {len(bodies)}; at most {MOST_MESSAGES} messages are read from one"
            )
        items: list[Item] = []
        for index, element in enumerate(bodies):
            body = unwrapped(element) if isinstance(element, str) else element
            headers = element_headers(record.headers, index, event=events)
            alone = replace(record, value=_alone(element), headers=headers)
            items.append(Item(alone, self._one(record, body, event, index, is_event=events)))
        return items

    def _one(
        self,
        record: Record,
        body: object,
        event: CloudEvent | None,
        index: int | None,
        *,
        is_event: bool = False,
    ) -> Decoded:
        try:
            own = is_event or (event is None and cloudevents.is_structured(UNDECLARED, body))
            if own:
                event, body = cloudevents.from_object(body)
                body = _event_data(body, media_type(event.content_type))
            found = self._fields.read(body)
        except Exception as error:  # noqa: BLE001 - see `decode`
            return _failure(error)
        if found is None:
            return Filtered()
        if isinstance(found, Tombstone):
            # The key is that of the whole record: one deleted row among several must not delete them all.
            return found if index is None else Filtered()
        place = f"{record.topic}:{record.partition}:{record.offset}" if event is None else event.event_id
        if index is not None and not own:
            place = f"{place}:{index}"
        time_ms = found.time_ms
        if time_ms is None:
            time_ms = record.timestamp_ms if event is None or event.time_ms is None else event.time_ms
        return Message(found.text, found.event_id or place, time_ms, found.lang, found.kept)


def _alone(body: object) -> bytes:
    """An element as its producer might have sent it alone.

    Raises:
        ArrayUnusable: it is nested too deep to be written again.
    """
    written = as_json(body)
    if written is None:
        raise ArrayUnusable("an element of the array is nested too deep")
    return written.encode()


def _failure(error: Exception) -> Failure:
    if isinstance(error, DecodeError):
        return Failure.of("decode", error.reason, error)
    name = type(error).__name__
    return Failure(
        "decode", "decoder_failed", f"the decoder failed with {name}", f"{type(error).__module__}.{name}"
    )


def _read(record: Record, value: bytes, framed: Framed | None) -> tuple[object, MediaType, CloudEvent | None]:
    """The body of a record, its media type, and the event that its headers or its content type announce."""
    headers = read_headers(record.headers)
    media = _declared(headers)
    encoding = _encoding(headers)
    if encoding in READABLE:
        value = decompress(value, encoding)
    # The content type decides: an event in structured mode may carry its attributes in headers as well.
    event = None if media.cloudevent else cloudevents.from_headers(headers)
    wide = media.wide  # its first byte may be zero, as that of a frame is
    if framed is not None and not media.cloudevent and not wide:
        body = framed.read(value, headers)
        if body is not NOT_FRAMED:
            return body, media, event
    frame = None if wide else registry_frame(value)
    if frame is not None:
        value = value[frame.length :]
    elif SCHEMA_ID in headers:
        frame = Frame(0, "a schema id in a header")
    body = read_value(value, media, frame)
    if media.cloudevents:
        if not isinstance(body, list):
            raise ArrayUnusable("the content type says a batch of CloudEvents, but the value is not an array")
    elif event is None and cloudevents.is_structured(media, body):
        event, body = cloudevents.from_object(body)
        body = _event_data(body, media_type(event.content_type))
    return body, media, event


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "").strip().lower().removeprefix("x-")


def _declared(headers: Mapping[str, str]) -> MediaType:
    """Read what the headers say about the value.

    Raises:
        UnsupportedEncoding: they say that it is encoded in a way that cannot be read.
    """
    if not headers:
        return UNDECLARED
    media = media_type(
        headers.get("content-type") or headers.get("ce_datacontenttype") or headers.get("contenttype")
    )
    encoding = _encoding(headers)
    if encoding in READABLE or encoding in {"", "identity"}:
        return media
    charset = known_charset(encoding)  # senders over AMQP write `utf-8` there
    if charset == "":
        raise UnsupportedEncoding(
            f"the value is compressed: content-encoding says {encoding}"
            if encoding in _UNREADABLE
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
