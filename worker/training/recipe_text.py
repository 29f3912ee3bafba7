"""A recipe back to the text of its file, so that a run made from flags can be made again and changed."""

import json
from dataclasses import fields, is_dataclass
from typing import Any

from worker.training.recipe import Recipe


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as TOML: what stands at its default is left out."""
    lines = _lines(recipe, ("tasks", "depths", "means", "optimiser", "run"))
    for name in ("optimiser", "run"):
        found = _lines(getattr(recipe, name))
        lines += ["", f"[{name}]", *found] if found else []
    for name in ("depths", "means", "tasks"):
        for entry in getattr(recipe, name):
            lines += ["", f"[[{name}]]", *_lines(entry)]
    return "\n".join(lines) + "\n"


def _lines(value: Any, left: tuple[str, ...] = ()) -> list[str]:
    found = ((item, getattr(value, item.name)) for item in fields(value) if item.name not in left)
    return [f"{item.name} = {_value(entry)}" for item, entry in found if entry != item.default]


def _value(value: Any) -> str:
    """Return a value as TOML writes it: JSON's way, but for the characters that JSON may leave bare."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if is_dataclass(value):
        return f"{{ {', '.join(_lines(value))} }}"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
