"""Pydantic's errors in words that name the mistake and not the validator."""

from pydantic_core import ErrorDetails

from worker.settings.fields import SettingField, render
from worker.settings.names import nearest_of

_TYPES = {
    "int_parsing": "is no whole number",
    "int_type": "is no whole number",
    "int_from_float": "is no whole number",
    "int_parsing_size": "is too large a number",
    "float_parsing": "is no number",
    "float_type": "is no number",
    "finite_number": "is no finite number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is no text",
    "list_type": "is no list; write a,b or an array",
    "dict_type": "is no table; write a=x,b=y or a table",
}


_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
}


def describe(detail: ErrorDetails, field: SettingField) -> str:
    """One line that says what is wrong with one value. A secret is never part of it."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        # Raised by worker/settings/values.py, which quotes the value itself.
        return str(context["error"])
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty"
    written = "the value" if field.secret else _quoted(detail["input"])
    return f"{written} {_predicate(detail, field)}"


def _predicate(detail: ErrorDetails, field: SettingField) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "literal_error":
        return f"is none of {', '.join(field.choices)}{_hint(detail['input'], field)}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {render(context[name])}"
    if kind == "string_pattern_mismatch":
        return f"does not match {context['pattern']}"
    return f"is not right: {detail['msg']}"


def _quoted(value: object) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return render(value)


def _hint(value: object, field: SettingField) -> str:
    near = nearest_of(value, field.choices) if isinstance(value, str) else None
    return f"; did you mean {near}?" if near else ""
