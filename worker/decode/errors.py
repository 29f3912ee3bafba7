"""Why a value could not be read: one class a reason. No message ever holds the text itself."""


class DecodeError(Exception):
    """The value of a record holds no text to label. `reason` is the stable code for metrics and headers."""

    reason = "decode"


class InvalidUtf8(DecodeError):
    """The bytes are not UTF-8."""

    reason = "invalid_utf8"


class NotJson(DecodeError):
    """The value begins like JSON, or says that it is JSON, and cannot be parsed as JSON."""

    reason = "not_json"


class TextMissing(DecodeError):
    """The JSON object has nothing at the configured path."""

    reason = "text_missing"


class TextNotString(DecodeError):
    """There is something at the path, but it is not a string."""

    reason = "text_not_string"


class TextEmpty(DecodeError):
    """The text is empty or blank."""

    reason = "text_empty"


class UnsupportedEncoding(DecodeError):
    """The value is framed by a schema registry in a format other than JSON, or compressed or binary data."""

    reason = "unsupported_encoding"


class InvalidCloudEvent(DecodeError):
    """The record says that it is a CloudEvent and lacks what the specification requires."""

    reason = "invalid_cloudevent"
