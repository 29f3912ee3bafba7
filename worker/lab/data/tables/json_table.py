"""JSON lines: an object a line."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from worker.errors import TrainingError
from worker.lab.data.tables.lines import Line, text_lines
from worker.lab.data.tables.rows import BadRow, Cells, need_columns

_LOOKED_AT = 100
"""Rows whose fields are the table's columns."""


class JsonTable:
    """A file with a JSON object a line. A dot in a column's name goes deeper: `body.text`."""

    def __init__(self, path: Path) -> None:
        """Look at the first rows. Raises TrainingError where there is none, or the file is one document."""
        self.path = path
        found: dict[str, None] = {}
        first = True
        for line in itertools.islice(_written(path), _LOOKED_AT):
            if first and line.text.lstrip().startswith("["):
                raise TrainingError(
                    f"{path}: is one JSON document, not an object a line; "
                    f"`jq -c '.[]' {path}` makes lines of it"
                )
            first = False
            record = _parsed(line)
            if isinstance(record, dict):
                found.update(dict.fromkeys(_names(record)))
        if first:
            raise TrainingError(f"{path}: is empty")
        self.columns = tuple(found)

    def rows(self, names: Sequence[str]) -> Iterator[Cells | BadRow]:
        """Yield these fields of every row, None for one that a row does not have; blank lines are no rows."""
        need_columns(self.path, self.columns, names)
        for line in _written(self.path):
            record = _parsed(line)
            place = f"line {line.number}"
            if isinstance(record, dict):
                yield Cells(place, tuple(_field(record, name) for name in names))
            else:
                yield BadRow(place, record)


def _written(path: Path) -> Iterator[Line]:
    return (line for line in text_lines(path) if line.text.strip())


def _parsed(line: Line) -> "dict[str, Any] | str":
    """Return the object of a line, or why there is none."""
    try:
        record = json.loads(line.text)
    except json.JSONDecodeError as error:
        return f"no JSON: {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    if isinstance(record, dict):
        return record
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return f"no JSON object but {kinds.get(type(record), 'a number')}"


def _names(record: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the names of all fields, those of objects within with a dot between."""
    for name, value in record.items():
        if isinstance(value, dict) and value:
            yield from _names(value, f"{before}{name}.")
        else:
            yield before + name


def _field(record: dict[str, Any], name: str) -> Any:
    """Return a field by its name, or by the way to it."""
    if name in record:
        return record[name]
    outer, dot, inner = name.partition(".")
    value = record.get(outer)
    return _field(value, inner) if dot and isinstance(value, dict) else None
