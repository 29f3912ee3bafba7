"""From a JSON value, or bare bytes, to the text: parsing, the dotted path, and what counts as text.

The JSON form of an input message as a model, for its JSON Schema in `schemas/`.

The decoder itself does not go through it: it takes any path for the text and looks at nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from worker.errors import InvalidUtf8, NotJson, TextEmpty, TextMissing, TextNotString


class InputMessage(BaseModel):
    """A message with the text where it lies by default. Other fields are allowed and ignored."""

    model_config = ConfigDict(extra="allow", title="Moodstream input message")

    text: str = Field(pattern=r"\S", description="The text to label. `source.text_field` puts it elsewhere.")
    lang: str | None = Field(
        default=None, description="Language tag (BCP 47), passed on to the output when it is one."
    )


def input_schema() -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of an input message in its JSON form."""
    schema = InputMessage.model_json_schema()
    schema.pop("description", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:moodstream:input:v1",
        **schema,
    }


_MISSING = object()
_NAMES_SHOWN = 6
_NAME_LENGTH = 40
_KINDS = {dict: "an object", list: "an array", bool: "a boolean", int: "a number", float: "a number"}


def utf8(data: bytes) -> str:
    """Decode UTF-8. A byte order mark is dropped.

    Raises:
        InvalidUtf8: with the position of the first bad byte.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidUtf8(
            f"the value is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start} of {len(data)}"
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


def at_path(value: object, path: str) -> object:
    """Follow a dotted path through objects and, by number, arrays. A key that holds the dots itself wins.

    Raises:
        TextMissing: naming the first step that leads nowhere, and what is there instead.
    """
    if isinstance(value, Mapping) and path in value:
        return value[path]
    here: object = value
    walked: list[str] = []
    for step in path.split("."):
        found = _step(here, step)
        if found is _MISSING:
            where = f"under `{'.'.join(walked)}`" if walked else "in the message"
            raise TextMissing(f"no field `{step}` {where} (text_field is `{path}`): {_what_is_there(here)}")
        walked.append(step)
        here = found
    return here


def _step(here: object, step: str) -> object:
    if isinstance(here, Mapping):
        return here.get(step, _MISSING)
    if isinstance(here, Sequence) and not isinstance(here, str) and step.isascii() and step.isdigit():
        index = int(step[:9])
        return here[index] if index < len(here) else _MISSING
    return _MISSING


def _what_is_there(here: object) -> str:
    if isinstance(here, Mapping):
        names = [f"`{str(name)[:_NAME_LENGTH]}`" for name in list(here)[:_NAMES_SHOWN]]
        more = len(here) - len(names)
        if not names:
            return "it is an empty object"
        return "it has " + ", ".join(names) + (f" and {more} more" if more > 0 else "")
    if isinstance(here, list):
        return f"it is an array of {len(here)}"
    return f"it is {_kind(here)}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a string")


def as_text(value: object, where: str) -> str:
    """Check that a value is text with something in it, and mend halves of surrogate pairs.

    Raises:
        TextNotString: it is something else.
        TextEmpty: nothing or only blanks.
    """
    if not isinstance(value, str):
        raise TextNotString(f"{where} is {_kind(value)}, not a string")
    if not value or value.isspace():
        raise TextEmpty(f"{where} is {'blank' if value else 'empty'}")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value
