"""Kinds of value that several settings share. A value of the wrong kind raises what it is not, never itself:
the loader decides whether the value may be shown."""

import ipaddress
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from worker.errors import ExpressionError
from worker.expressions import parse_expression, parse_filter, parse_keep, parse_list, split_type
from worker.expressions import split_list as split_expressions
from worker.settings.base import Place, WrongValue

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_HOST = r"[^\s:/@\[\]\x00-\x1f\x7f]{1,253}"
_BROKER = re.compile(rf"(?P<host>\[[0-9A-Fa-f:.%]+\]|{_HOST}):(?P<port>[0-9]{{1,5}})")
_PEM = "-----BEGIN "


def _from_json(text: str, message: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # too deep, or a number of more than 4,300 digits
        raise WrongValue(message) from None


def split_list(value: object) -> object:
    """Read a list as people write it in a variable or a flag: `a,b`, or JSON.

    Spaces around a part and empty parts are dropped. Anything but text is returned as it is.

    Raises:
        WrongValue: the text looks like JSON and cannot be parsed.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    # A list of IPv6 brokers begins with a bracket too, but does not end with one.
    if text.startswith("[") and text.endswith("]"):
        return _from_json(text, 'is not a JSON list; write a,b or ["a", "b"]')
    return [part.strip() for part in text.split(",") if part.strip()]


def split_keep(value: object) -> object:
    """Read a list of expressions as `split_list` does, but for commas inside quotes and brackets."""
    if not isinstance(value, str) or value.strip().startswith("["):
        return split_list(value)
    return split_expressions(value)


def split_table(value: object) -> object:
    """Read a table as people write it in a variable or a flag: `a=x,b=y`, or JSON.

    Spaces around a part and empty parts are dropped. Anything but text is returned as it is.

    Raises:
        WrongValue: the text looks like JSON and cannot be parsed, a part has no `=`, or a name
            appears twice.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("{"):
        return _from_json(text, 'is not a JSON table; write a=x,b=y or {"a": "x"}')
    table: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        name, sign, item = (piece.strip() for piece in part.partition("="))
        if not part:
            continue
        if not sign or not name:
            raise WrongValue("is not name=value", part)
        if name in table:
            raise WrongValue("appears twice", name)
        table[name] = item
    return table


def split_paths(value: object) -> object:
    """Read a list of paths as `split_list` does; a single path, or None, is taken as a list too."""
    if value is None:
        return []
    return [value] if isinstance(value, Path) else split_list(value)


def check_different(value: list[Path]) -> list[Path]:
    """Return paths that are all different.

    Raises:
        WrongValue: one of them appears twice.
    """
    for place, path in enumerate(value):
        if path in value[:place]:
            raise WrongValue("is named more than once", str(path))
    return value


def check_broker(value: str) -> str:
    """Return a `host:port`.

    Raises:
        WrongValue: it is not one, its port lies outside 1 to 65535, or it holds a login.
    """
    if "@" in value:
        raise WrongValue(
            "holds a login; write host:port, and the login in kafka.sasl_plain_username and "
            "kafka.sasl_plain_password"
        )
    match = _BROKER.fullmatch(value)
    if match is None or not _is_host(match["host"]):
        raise WrongValue("is not host:port, as in broker1:9092")
    if not 1 <= int(match["port"]) <= 65_535:
        raise WrongValue("has a port outside 1 to 65535")
    return value


def _is_host(value: str) -> bool:
    """Whether a resolver would take it: no empty label, and none above 63 characters."""
    try:
        value.removesuffix(".").encode("idna")
    except UnicodeError:
        return False
    return True


def check_topic(value: str) -> str:
    """Return a topic name that Kafka accepts.

    Raises:
        WrongValue: it holds other characters, is too long, or is `.` or `..`.
    """
    if value in {".", ".."} or _TOPIC.fullmatch(value) is None:
        raise WrongValue("is not a topic name; Kafka takes 1 to 249 letters, digits, '.', '_' and '-'")
    return value


def check_pattern(value: str) -> str:
    """Return a regular expression.

    Raises:
        WrongValue: it cannot be compiled, or not as a part of another one: `(?i:a)` can, `(?i)a` cannot.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(rf"(?:{value})\Z")
    except (re.error, RecursionError, OverflowError) as error:
        raise WrongValue(f"is not a regular expression: {str(error).partition(' at position')[0]}") from None
    return value


def check_host(value: str) -> str:
    """Return a host name or an address.

    Raises:
        WrongValue: it cannot be one.
    """
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if re.fullmatch(_HOST, value) is None or not _is_host(value):
            raise WrongValue("is not a host name or an address") from None
    return value


def check_url(value: str) -> str:
    """Return the `http` or `https` address of a server.

    Raises:
        WrongValue: it is another kind of address, it holds a login, or its host or its port cannot be one.
    """
    if re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?(\?[^\s@#]*)?", value) is None:
        raise WrongValue("is not an address as in https://login.example.com/token, without a login in it")
    try:
        address = urlsplit(value)
    except ValueError:
        raise WrongValue("has brackets around something that is not an IPv6 address") from None
    check_host(address.hostname or "")
    try:
        possible = address.port != 0
    except ValueError:
        possible = False
    if not possible:
        raise WrongValue("has a port that is not a number from 1 to 65535")
    return value


def expand_path(value: object) -> object:
    """Return a path with `~` replaced by the home folder. Anything but text is returned as it is.

    Raises:
        WrongValue: there is no such home folder, or no file can have that name.
    """
    if not isinstance(value, str):
        return value
    if _PEM in value:
        raise WrongValue("is the content of a PEM file; write the path of the file")
    try:
        path = Path(value).expanduser()
        str(path).encode()
        path.lstat()
    except RuntimeError:
        raise WrongValue("begins with the home folder of a user that does not exist") from None
    except UnicodeEncodeError:
        raise WrongValue("is not UTF-8") from None
    except ValueError:
        raise WrongValue("holds a NUL character, which no path can") from None
    except OSError as error:
        if "too long" in (error.strerror or "").lower():
            raise WrongValue("is too long for a path") from None
    return str(path)


def check_file(value: Path) -> Path:
    """Return the path of a file that can be read.

    Raises:
        WrongValue: nothing is there, it is a folder, or it may not be read.
    """
    try:
        if value.is_dir():
            raise WrongValue("is a folder, not a file")
        if not value.is_file():
            raise WrongValue("is not a file" if value.exists() else "does not exist")
    except OSError as error:
        raise WrongValue(f"cannot be read: {error.strerror}") from None
    if not os.access(value, os.R_OK):
        raise WrongValue("cannot be read: Permission denied")
    return value


def _expression_check(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Make the validator for expressions that `parse` reads."""

    def check(value: str) -> str:
        try:
            parse(value)
        except ExpressionError as error:
            raise WrongValue(error.message, place=Place(error.shown, error.column)) from None
        return value

    return check


TopicName = Annotated[str, AfterValidator(check_topic)]
Broker = Annotated[str, AfterValidator(check_broker)]
Pattern = Annotated[str, AfterValidator(check_pattern)]
Host = Annotated[str, AfterValidator(check_host)]
Url = Annotated[str, AfterValidator(check_url)]
TopicList = Annotated[list[TopicName], BeforeValidator(split_list)]
BrokerList = Annotated[list[Broker], BeforeValidator(split_list)]
HomePath = Annotated[Path, BeforeValidator(expand_path)]
"""A path in which `~` means the home folder."""
PathList = Annotated[list[HomePath], AfterValidator(check_different), BeforeValidator(split_paths)]
"""Paths, none of them twice; a single one need not be in a list."""
ReadableFile = Annotated[HomePath, AfterValidator(check_file)]
TextExpression = Annotated[str, AfterValidator(_expression_check(parse_list))]
FilterExpression = Annotated[str, AfterValidator(_expression_check(parse_filter))]
KeepEntry = Annotated[str, AfterValidator(_expression_check(lambda entry: parse_keep(split_type(entry)[0])))]
KeepList = Annotated[list[KeepEntry], BeforeValidator(split_keep)]
ValueExpression = Annotated[str, AfterValidator(_expression_check(parse_expression))]
