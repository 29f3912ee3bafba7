"""From the bytes of a value to the text to label and its language."""

import html
import json
import re
from collections.abc import Mapping, Sequence

import orjson

from worker.errors import InvalidUtf8, NotJson, TextEmpty, TextMissing, TextNotString, UnsupportedEncoding
from worker.messages.framing import Frame, foreign_format
from worker.messages.headers import MediaType

_MISSING = object()
_KINDS = {dict: "an object", list: "an array", bool: "a boolean", int: "a number", float: "a number"}
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")

_INVISIBLE = (
    r"\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(f"[^{_INVISIBLE}]")
"""A character that leaves a mark: neither blank nor control nor ignored where fonts are drawn (Unicode's
Default_Ignorable_Code_Point), nor a blank that Unicode calls a letter or a symbol."""

_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text needs. Backspaces, form feeds and terminal escapes may pass."""

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_LONGEST_TAG = 35
"""The longest that RFC 5646, section 4.4.1, finds worth making room for."""

_OLD_CODES = {"iw": "he", "in": "id", "ji": "yi"}
"""What ISO 639 called Hebrew, Indonesian and Yiddish until 1989, and Java until version 17."""


def read_value(value: bytes, media: MediaType, frame: Frame | None = None) -> object:
    """Read bytes as what they are declared to be, or as what they look like: a JSON value or text.

    Undeclared bytes are JSON where they begin with `{`, or where all of them are a JSON string, array or
    `null`; numbers and the words `true` and `false` stay text, as people write them.

    Args:
        value: the bytes, without the frame.
        media: their content type.
        frame: a schema registry's frame that stood before them.

    Returns:
        Whatever JSON holds, or the text as a string.

    Raises:
        UnsupportedEncoding: they are declared as a form that cannot be read, or are no text.
        InvalidUtf8, NotJson, TextEmpty: see `parse_json` and `plain_text`.
    """
    if media.kind == "unreadable":
        raise UnsupportedEncoding(f"the content type says {media.form}, which cannot be read")
    if media.charset is not None:
        value = _recoded(value, media.charset)
    if media.kind == "text" and frame is None:
        return plain_text(value, declared=True)
    start = _first_byte(value)
    if media.kind == "json" or start == b"{":
        return _json_value(value)
    if start in (b'"', b"[") or value.strip() == b"null":
        try:
            return _json_value(value)
        except (InvalidUtf8, NotJson, UnsupportedEncoding):
            pass  # text in quotes or brackets
    if frame is not None:
        raise UnsupportedEncoding(
            f"the value is framed with {frame.words} and is not JSON: Avro and Protobuf cannot be read"
        )
    return plain_text(value, declared=False)


def _first_byte(value: bytes) -> bytes:
    """Return the first byte behind a byte order mark and blanks."""
    found = _BEGINNING.match(value)
    return value[found.end() : found.end() + 1] if found else b""


def _recoded(value: bytes, charset: str) -> bytes:
    if not charset:
        raise UnsupportedEncoding("the content type names a character set that is not known")
    try:
        return value.decode(charset).encode()
    except (UnicodeError, LookupError):
        raise UnsupportedEncoding(
            f"the value is not in the character set that it declares, {charset}"
        ) from None


def _json_value(value: bytes) -> object:
    """Parse JSON. An object that was written as JSON twice, so that it is a JSON string, is unwrapped."""
    try:
        found = parse_json(value)
    except (InvalidUtf8, NotJson):
        if (name := foreign_format(value)) is not None:
            raise UnsupportedEncoding(f"the value is not JSON in UTF-8: it is {name}") from None
        raise
    return unwrapped(found) if isinstance(found, str) else found


def unwrapped(text: str) -> object:
    """Return the object that a JSON string holds as JSON, or the string itself where it holds none."""
    if text.lstrip()[:1] != "{":
        return text
    try:
        found = parse_json(text.encode("utf-8", "surrogatepass"))
    except (InvalidUtf8, NotJson):
        return text
    return found if isinstance(found, dict) else text


def plain_text(value: bytes, *, declared: bool) -> str:
    """Decode bare text. Where it is declared to be text, odd control characters pass.

    Raises:
        InvalidUtf8: it is not UTF-8.
        TextEmpty: nothing in it can be seen.
        UnsupportedEncoding: it is binary, or text in UTF-16.
    """
    try:
        text = utf8(value)
    except InvalidUtf8:
        if (name := foreign_format(value)) is not None:
            raise UnsupportedEncoding(f"the value is not UTF-8 text: it is {name}") from None
        raise
    text = as_text(text, "the value")
    # Programs in C leave zeros behind a text.
    control = _CONTROL.search(text.rstrip("\0"))
    if control is not None:
        if (name := foreign_format(value)) is not None:
            raise UnsupportedEncoding(f"the value is not UTF-8 text: it is {name}")
        if not declared or "\0" in text.rstrip("\0"):
            raise UnsupportedEncoding("the value is binary: it has control characters that no text has")
    return text


def utf8(data: bytes) -> str:
    """Decode UTF-8. A byte order mark is dropped.

    Raises:
        InvalidUtf8: with the position of the first bad byte.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidUtf8(
            f"the value is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start} "
            f"of {len(data)}"
        ) from None


def parse_json(data: bytes) -> object:
    """Parse JSON from UTF-8 bytes.

    orjson reads nearly everything; what it refuses goes to the standard library, which also takes half of
    a surrogate pair in an escape. Such text is common: an emoji cut in two by a length limit.

    Raises:
        InvalidUtf8: the bytes are not UTF-8.
        NotJson: with the line and column where parsing stopped.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = utf8(data)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise NotJson(
            f"the value is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from None
    except (RecursionError, ValueError):  # too deep, or a number of thousands of digits
        raise NotJson(
            "the value is not JSON that can be read: nested too deep or a number too long"
        ) from None


def text_and_language(body: object, text_field: str) -> tuple[str, str | None]:
    """Find the text in a JSON value, and the language that stands beside it or further out.

    A JSON string is the text itself. The nearest object with a language tag as its `lang` names the language.

    Raises:
        TextMissing, TextNotString, TextEmpty: there is no text at `text_field`.
    """
    if isinstance(body, str):
        return as_text(body, "the value"), None
    passed = _walk(body, text_field)
    text = as_text(passed[-1], f"`{text_field}`")
    for around in reversed(passed[:-1]):
        if isinstance(around, Mapping) and (tag := language_tag(around.get("lang"))) is not None:
            return text, None if tag == "und" else tag
    return text, None


def _walk(value: object, path: str) -> list[object]:
    """Follow a dotted path through objects and, by number, arrays. A key that holds the dots itself wins.

    Returns:
        All values on the way, from the outermost to the one that the path names.

    Raises:
        TextMissing: naming the first step that leads nowhere, and the kind of value that is there instead.
    """
    if isinstance(value, Mapping) and path in value:
        return [value, value[path]]
    passed = [value]
    walked: list[str] = []
    for step in path.split("."):
        found = _step(passed[-1], step)
        if found is _MISSING:
            where = f"under `{'.'.join(walked)}`" if walked else "in the message"
            raise TextMissing(
                f"no field `{step}` {where} (text_field is `{path}`): {_what_is_there(passed[-1])}"
            )
        walked.append(step)
        passed.append(found)
    return passed


def _step(here: object, step: str) -> object:
    if isinstance(here, Mapping):
        return here.get(step, _MISSING)
    if isinstance(here, Sequence) and not isinstance(here, str) and step.isascii() and step.isdigit():
        index = int(step[:9])
        return here[index] if index < len(here) else _MISSING
    return _MISSING


def _what_is_there(here: object) -> str:
    """Say what a value is. Never by the names of its fields: they are content too."""
    if isinstance(here, Mapping):
        if not here:
            return "it is an empty object"
        return (
            "it is an object with one other field"
            if len(here) == 1
            else f"it is an object with {len(here)} other fields"
        )
    if isinstance(here, list):
        return f"it is an array of {len(here)}"
    return f"it is {_kind(here)}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a string")


def as_text(value: object, where: str) -> str:
    """Check that a value is text in which something can be seen, and mend halves of surrogate pairs.

    Raises:
        TextNotString: it is something else.
        TextEmpty: nothing, or only what nobody sees: blanks, control characters, marks of direction.
    """
    if not isinstance(value, str):
        raise TextNotString(f"{where} is {_kind(value)}, not a string")
    if not visible(value):
        raise TextEmpty(f"{where} is {'blank: nothing in it can be seen' if value else 'empty'}")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def visible(text: str) -> bool:
    """Whether anything in a text can be seen. Emoji can; `&nbsp;` and other blanks of HTML cannot."""
    found = _VISIBLE.search(text)
    if found is None:
        return False
    return found[0] != "&" or _VISIBLE.search(html.unescape(text)) is not None


def language_tag(value: object) -> str | None:
    """Return a language tag as BCP 47 writes it, or None for anything else.

    `en_US` and `en_US.UTF-8` become `en-US`, and codes that ISO 639 has withdrawn their replacements.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_TAG:
        return None
    tag = re.split("[.@]", value.strip(), maxsplit=1)[0].replace("_", "-")
    if _LANGUAGE_TAG.fullmatch(tag) is None:
        return None
    language, sign, rest = tag.partition("-")
    language = _OLD_CODES.get(language.lower(), language)
    return "und" if language.lower() == "und" else language + sign + rest
