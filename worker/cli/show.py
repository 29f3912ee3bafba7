"""Output for people: settings as TOML with origins, and columns."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import SecretStr

from worker.settings import Loaded, all_fields, groups


def as_toml(loaded: Loaded) -> str:
    """All settings as TOML; behind each value, as a comment, where it came from.

    What has no value, and what is secret, is a comment as a whole.
    """
    parts: list[str] = []
    for group in groups():
        values = getattr(loaded.settings, group)
        rows: list[tuple[str, str]] = []
        for field in all_fields().values():
            if field.group == group:
                value = getattr(values, field.leaf)
                rows.append((_assignment(field.leaf, value), loaded.origins[field.name]))
        width = min(60, max(len(row) for row, _ in rows))
        parts.append(f"[{group}]\n" + "".join(f"{row:<{width}}  # {origin}\n" for row, origin in rows))
    return "\n".join(parts)


def _assignment(leaf: str, value: object) -> str:
    if value is None:
        return f"# {leaf} ="
    if isinstance(value, SecretStr):
        return f"# {leaf} = {value}"
    return f"{leaf} = {_literal(value)}"


def _literal(value: object) -> str:
    """TOML writes texts, lists of texts, numbers and booleans as JSON does."""
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns under a header, for eyes and for awk alike."""
    table = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines) + "\n"
