"""Reads the bytes of a value as JSON or text, and says what a text and a language tag are."""

import html
import json
import re
from functools import lru_cache

import orjson

from worker.errors import InvalidUtf8, NotJson, TextEmpty, TextNotString, UnsupportedEncoding
from worker.messages.framing import Frame, foreign_format
from worker.messages.headers import MediaType
from worker.messages.scalars import repaired
from worker.settings.languages import UNKNOWN, is_language

_KINDS = {dict: "an object", list: "an array", bool: "a boolean", int: "a number", float: "a number"}
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")

_INVISIBLE = (
    r"\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(f"[^{_INVISIBLE}]")
"""A visible character: neither a blank nor a control character nor one that fonts do not draw (Unicode's
Default_Ignorable_Code_Point), nor a blank that Unicode classifies as a letter or a symbol."""

_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text needs. Backspaces, form feeds and terminal escapes are allowed."""

_LONG_ENTITY = re.compile("&#(?=[0-9]{1000})")
"""The beginning of an entity that Python refuses to read: the number has thousands of digits."""

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_LONGEST_TAG = 35
"""The longest tag that RFC 5646, section 4.4.1, recommends supporting."""

_OLD_CODES = {"iw": "he", "in": "id", "ji": "yi"}
"""Codes for Hebrew, Indonesian and Yiddish that ISO 639 used until 1989, and Java until version 17."""


def read_value(value: bytes, media: MediaType, frame: Frame | None = None) -> object:
    """Read bytes as what they are declared to be, or as what they look like: a JSON value or text.

    Undeclared bytes are JSON if they begin with `{`, or if the whole is a JSON string, array or `null`;
    numbers and the words `true` and `false` remain text, because people write them.

    Args:
        value: the bytes, without the frame.
        media: their content type.
        frame: the schema registry's frame that came before them.

    Returns:
        The JSON value, or the text as a string.

    Raises:
        UnsupportedEncoding: they are declared as a format that cannot be read, or are not text.
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
    """Return the first byte after a byte order mark and blanks."""
    found = _BEGINNING.match(value)
    return value[found.end() : found.end() + 1] if found else b""


def _recoded(value: bytes, charset: str) -> bytes:
    if not charset:
        raise UnsupportedEncoding("the content type names an unknown character set")
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
    """Return the object that a JSON string contains as JSON, or the string itself if it contains none."""
    if text.lstrip()[:1] != "{":
        return text
    try:
        found = parse_json(text.encode("utf-8", "surrogatepass"))
    except (InvalidUtf8, NotJson):
        return text
    return found if isinstance(found, dict) else text


def plain_text(value: bytes, *, declared: bool) -> str:
    """Decode plain text. If it is declared to be text, odd control characters are allowed.

    Raises:
        InvalidUtf8: it is not UTF-8.
        TextEmpty: nothing in it is visible.
        UnsupportedEncoding: it is binary, or text in UTF-16.
    """
    try:
        text = utf8(value)
    except InvalidUtf8:
        if (name := foreign_format(value)) is not None:
            raise UnsupportedEncoding(f"the value is not UTF-8 text: it is {name}") from None
        raise
    text = as_text(text, "the value")
    # C programs leave zeros at the end of a text.
    control = _CONTROL.search(text.rstrip("\0"))
    if control is not None:
        if (name := foreign_format(value)) is not None:
            raise UnsupportedEncoding(f"the value is not UTF-8 text: it is {name}")
        if not declared or "\0" in text.rstrip("\0"):
            raise UnsupportedEncoding("the value is binary: it has control characters that text never has")
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


def kind_of(value: object) -> str:
    """Name the kind of a JSON value: `an object`, `a number`."""
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a string")


def as_text(value: object, where: str) -> str:
    """Check that a value is text with something visible in it, and repair halves of surrogate pairs.

    Raises:
        TextNotString: it is something else.
        TextEmpty: it is empty or invisible: blanks, control characters, direction marks.
    """
    if not isinstance(value, str):
        raise TextNotString(f"{where} is {kind_of(value)}, not a string")
    if not visible(value):
        raise TextEmpty(f"{where} is {'blank: nothing in it is visible' if value else 'empty'}")
    return repaired(value)


def visible(text: str) -> bool:
    """Whether anything in a text is visible. Emoji are; `&nbsp;` and other HTML blanks are not."""
    found = _VISIBLE.search(text)
    if found is None:
        return False
    return found[0] != "&" or _VISIBLE.search(without_entities(text)) is not None


def without_entities(text: str) -> str:
    """Replace HTML's entities (`&amp;`) by their characters. A number of a thousand digits stays as it is."""
    return html.unescape(_LONG_ENTITY.sub("&amp;#", text))


def language_tag(value: object) -> str | None:
    """Return a language tag in BCP 47 form, or None for anything else.

    `en_US` and `en_US.UTF-8` become `en-US`, and codes that ISO 639 has withdrawn become their replacements.
    A code that stands for no language becomes `und`: the message's language is then as unknown as without it.
    """
    return _tag(value) if isinstance(value, str) and len(value) <= _LONGEST_TAG else None


@lru_cache(maxsize=256)
def _tag(value: str) -> str | None:
    tag = re.split("[.@]", value.strip(), maxsplit=1)[0].replace("_", "-")
    if _LANGUAGE_TAG.fullmatch(tag) is None:
        return None
    language, sign, rest = tag.partition("-")
    language = _OLD_CODES.get(language.lower(), language)
    return language + sign + rest if is_language(language) else UNKNOWN
