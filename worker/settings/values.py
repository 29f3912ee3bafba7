"""Kinds of value that several settings share, and what is wrong with a value that is none."""

import json
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+):(?P<port>\d{1,5})")


def split_list(value: object) -> object:
    """Read a list as people write it in a variable or a flag: `a,b`, or JSON.

    Spaces around a part and empty parts are dropped. Anything but a text is handed on as it is.

    Raises:
        ValueError: the text looks like JSON and is none.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    # A list of IPv6 brokers begins with a bracket too, but does not end with one.
    if text.startswith("[") and text.endswith("]"):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError('is no JSON list; write a,b or ["a", "b"]') from None
    return [part.strip() for part in text.split(",") if part.strip()]


def split_table(value: object) -> object:
    """Read a table as people write it in a variable or a flag: `a=x,b=y`, or JSON.

    Spaces around a part and empty parts are dropped. Anything but a text is handed on as it is.

    Raises:
        ValueError: the text looks like JSON and is none, a part has no `=`, or a name stands there twice.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError('is no JSON table; write a=x,b=y or {"a": "x"}') from None
    table: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        name, sign, item = (piece.strip() for piece in part.partition("="))
        if not part:
            continue
        if not sign or not name:
            raise ValueError(f"{part!r} is no name=value")
        if name in table:
            raise ValueError(f"names {name!r} twice")
        table[name] = item
    return table


def check_broker(value: str) -> str:
    """Hand back a `host:port`.

    Raises:
        ValueError: it is none, or its port lies outside 1 to 65535.
    """
    match = _BROKER.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not host:port, as in broker1:9092")
    if not 1 <= int(match["port"]) <= 65_535:
        raise ValueError(f"{value!r}: a port lies between 1 and 65535")
    return value


def check_topic(value: str) -> str:
    """Hand back a topic name that Kafka accepts.

    Raises:
        ValueError: it holds other characters, is too long, or is `.` or `..`.
    """
    if value in {".", ".."} or _TOPIC.fullmatch(value) is None:
        raise ValueError(
            f"{value!r} is no topic name; Kafka takes 1 to 249 letters, digits, '.', '_' and '-'"
        )
    return value


def _expand(value: object) -> object:
    return str(Path(value).expanduser()) if isinstance(value, str) else value


def check_file(value: Path) -> Path:
    """Hand back the path of a file that is there.

    Raises:
        ValueError: nothing is there, or it is a folder.
    """
    if not value.is_file():
        raise ValueError(
            f"{str(value)!r} is a folder, not a file" if value.is_dir() else f"no file at {str(value)!r}"
        )
    return value


TopicName = Annotated[str, AfterValidator(check_topic)]
Broker = Annotated[str, AfterValidator(check_broker)]
TopicList = Annotated[list[TopicName], BeforeValidator(split_list)]
BrokerList = Annotated[list[Broker], BeforeValidator(split_list)]
HomePath = Annotated[Path, BeforeValidator(_expand)]
"""A path in which `~` means the home folder."""
ReadableFile = Annotated[HomePath, AfterValidator(check_file)]
