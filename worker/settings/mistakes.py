"""Mistakes in plain words: one line each with the setting, its origin and the mistake, and never a secret."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from pydantic_core import ErrorDetails

from worker.errors import printable
from worker.settings.base import Conflict
from worker.settings.fields import SettingField, all_fields, groups, nearest, nearest_choice, render

_SHOWN = 60
"""Characters of a value or a name that a line may hold."""

_PATH = re.compile(r".*/.*|.*\.(pem|crt|cer|key|p12)", re.DOTALL)
_NEVER_SHOWN = re.compile(r"kafka\.(sasl_.*|security_protocol)")

_TYPES = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is too large a number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "string_unicode": "is not valid Unicode text",
    "list_type": "is not a list; write a,b or an array",
    "dict_type": "is not a table; write a=x,b=y or a table",
    "path_type": "is not a path",
}

_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
}


class Given(NamedTuple):
    """One value: what was written, and where, in words that a person can follow."""

    value: Any
    origin: str


class Mistakes:
    """Writes the lines.

    Args:
        given: the values by their dotted names.
        secrets: what no line may show.
    """

    def __init__(self, given: Mapping[str, Given], secrets: Collection[str]) -> None:
        self._given = given
        self._secrets = secrets

    def wrong_value(self, name: str, detail: ErrorDetails) -> str:
        """The line for a value that pydantic refuses; two more point at the place where that is known."""
        field = all_fields()[name]
        kind, context = detail["type"], detail.get("ctx", {})
        if kind in {"too_short", "string_too_short"}:
            return self._line(name, "must not be empty")
        part = getattr(context.get("error"), "value", None)
        value = detail["input"] if part is None else part
        quoted = self._quoted(field, value)
        line = self._line(name, f"{quoted} {_predicate(detail, field)}")
        place = getattr(context.get("error"), "place", None)
        if place is None or quoted == "the value":
            return line
        return f"{line}\n    {place.shown}\n    {' ' * place.column}^"

    def wrong_file(self, field: SettingField, message: str) -> str:
        """The line for a file that a secret cannot be read from."""
        origin = self._given[field.name].origin
        return printable(
            f"{field.name} ({origin}): {self._quoted(field, self._given[field.name].value)} {message}"
        )

    def conflict(self, conflict: Conflict) -> str:
        """The line for settings that do not fit one another."""
        name, message = conflict.settings[0], conflict.message
        if conflict.value is not None:
            message = f"{self._quoted(all_fields()[name], conflict.value)} {message}"
        return self._line(name, message)

    def _line(self, name: str, message: str) -> str:
        origin = f" ({self._given[name].origin})" if name in self._given else ""
        return printable(f"{name}{origin}: {message}")

    def _quoted(self, field: SettingField, value: object) -> str:
        if isinstance(value, (list, dict)):
            return "a list" if isinstance(value, list) else "a table"
        text = value if isinstance(value, str) else render(value)
        whole = self._given[field.name].value if field.name in self._given else text
        if self._is_private(field, text) or (isinstance(whole, str) and hides(whole, self._secrets)):
            return "the value"
        limit = 4 * _SHOWN if field.kind == "path" or "/" in text else _SHOWN  # the end of a path counts
        return repr(_shortened(text, limit)) if isinstance(value, str) else text

    def _is_private(self, field: SettingField, text: str) -> bool:
        """Whether the value is a secret, or may be one that was put into the wrong place."""
        if field.group == "kafka" and field.kind == "path":
            return not _PATH.fullmatch(text) or hides(text, self._secrets)
        return field.secret or bool(_NEVER_SHOWN.fullmatch(field.name)) or hides(text, self._secrets)


def hides(text: str, secrets: Collection[str]) -> bool:
    """Whether a text holds a secret, is a part of one, or looks like a login or a key."""
    if "@" in text.partition(":")[2] or "-----BEGIN " in text:  # user:password@host, or a PEM file
        return True
    return any(
        text == secret or (len(secret) >= 4 and secret in text) or (len(text) >= 4 and text in secret)
        for secret in secrets
    )


def unknown_name(written: str, name: str, spell: Callable[[SettingField], str]) -> str:
    """The line for a name that is not a setting. `spell` writes the setting that is probably meant."""
    written = _shortened(written, 3 * _SHOWN)
    if name in groups():
        leaf = next(iter(groups()[name].model_fields))
        return printable(f"{written}: is a group of settings; set one of them, as in {name}.{leaf}")
    near = nearest(name)
    if near is None:
        return printable(f"{written}: no such setting; `moodstream config reference` lists them")
    return printable(f"{written}: no such setting; did you mean {spell(near)}?")


def _predicate(detail: ErrorDetails, field: SettingField) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "literal_error":
        value = detail["input"]
        near = nearest_choice(value, field.choices) if isinstance(value, str) else None
        return f"is not one of {', '.join(field.choices)}" + (f"; did you mean {near}?" if near else "")
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {render(context[name])}"
    if kind == "string_pattern_mismatch":
        return f"does not match {context['pattern']}"
    return f"is not right: {detail['msg']}"


def _shortened(text: str, limit: int = _SHOWN) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
