"""CloudEvents 1.0 over Kafka: which mode a record is in, and its attributes.

Source: CloudEvents specification 1.0.2 and its Kafka protocol binding (content modes, `ce_` headers).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.errors import InvalidCloudEvent
from worker.messages.headers import MediaType

REQUIRED = ("specversion", "id", "source", "type")
_ESCAPED_SIGN = re.compile("%(?=(?:25)*23)")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """The attributes that matter here. `time_ms` is Unix time, None when the event has none."""

    id: str
    source: str
    time_ms: int | None
    content_type: str | None

    @property
    def event_id(self) -> str:
        """`source#id`, which the specification makes unique.

        A `#` in the source is written `%23`: otherwise `a#b` with the id `c` would be the same as `a` with
        `b#c`. A source that already contains `%23` gets `%2523`, so that no two events share an id.
        """
        source = self.source
        if "#" in source or "%" in source:
            source = _ESCAPED_SIGN.sub("%25", source).replace("#", "%23")
        return f"{source}#{self.id}"


def from_headers(headers: Mapping[str, str]) -> CloudEvent | None:
    """Read binary mode: attributes in `ce_` headers. None when the record is not a CloudEvent in that mode.

    Raises:
        InvalidCloudEvent: `ce_specversion` is present, but another required attribute is not.
    """
    if "ce_specversion" not in headers:
        return None
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
    return _event(attributes, headers.get("content-type"))


def is_structured(media: MediaType, value: object) -> bool:
    """Whether a parsed JSON value is a CloudEvent in structured mode."""
    if media.cloudevent:
        return True
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in REQUIRED)


def from_object(value: object) -> tuple[CloudEvent, object]:
    """Read structured mode: the event and its data. `data_base64` gives bytes, `data` any JSON value.

    Raises:
        InvalidCloudEvent: not an object, a required attribute missing, or data that is not base64.
    """
    if not isinstance(value, Mapping):
        raise InvalidCloudEvent("the content type says CloudEvent, but the value is not a JSON object")
    content_type = value.get("datacontenttype")
    event = _event(value, content_type if isinstance(content_type, str) else None)
    encoded = value.get("data_base64")
    if encoded is None:
        return event, value.get("data")
    try:
        if isinstance(encoded, str):
            return event, base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidCloudEvent("`data_base64` of the CloudEvent is not base64")


def _event(attributes: Mapping[str, object], content_type: str | None) -> CloudEvent:
    for name in REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidCloudEvent(f"the CloudEvent has no `{name}`, which the specification requires")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidCloudEvent(f"`{name}` of the CloudEvent is not Unicode text") from None
    return CloudEvent(
        id=str(attributes["id"]),
        source=str(attributes["source"]),
        time_ms=_time_ms(attributes.get("time")),
        content_type=content_type,
    )


def _time_ms(value: object) -> int | None:
    """Read an RFC 3339 time. An unreadable one must not cost the message: the record's time is used."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
