"""A labelled file of the user's own, read for the head of a model that knows its labels."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import LabelError, TrainingError
from worker.lab.data.tables.columns import choose_columns
from worker.lab.data.tables.labels import LabelReader
from worker.lab.data.tables.opening import open_table
from worker.lab.data.tables.rows import BadRow
from worker.lab.evaluate.examples import Examples, gold_table
from worker.lab.evaluate.heads import MULTI, SINGLE, TOKEN, HeadInfo
from worker.lab.evaluate.spans import characters


@dataclass(slots=True)
class _Rows:
    """The rows of a file: where each stands, its text, its label as it was read."""

    path: Path
    places: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


def own_examples(
    path: Path,
    heads: Mapping[str, HeadInfo],
    text_column: str = "",
    label_column: str = "",
    *,
    head: str | None = None,
    rows: int = 0,
) -> Examples:
    """Read a CSV, JSON-lines or Parquet file for one head: the one that knows all its labels, if not named.

    Columns that are not named are guessed by their names. A field with several labels (for a head that takes
    many) is a list, or a text with `;` or `|` between them; an empty one has none. For a token head it is a
    list of character offsets, or of [start, end) pairs. A file that knows some of the labels of a one-label
    head is judged between those, as the binary sets are.

    Raises:
        TrainingError: the file, a column, a label or the head is not there or makes no sense: one line.
    """
    table = open_table(path, [name for name in (text_column, label_column) if name])
    columns = choose_columns(table, text_column, label_column)
    own = _Rows(path)
    for cells in table.rows(columns):
        if isinstance(cells, BadRow):
            raise TrainingError(f"{path}, {cells.place}: {cells.reason}")
        text, label = cells.values
        if not isinstance(text, str) or not text.strip():
            raise TrainingError(f"{path}, {cells.place}: no text in the column {columns[0]}")
        own.places.append(cells.place)
        own.texts.append(text)
        own.values.append(label)
        if rows and len(own.texts) == rows:
            break
    if not own.texts:
        raise TrainingError(f"{path} has no rows")
    chosen = [_named(heads, head)] if head is not None else _candidates(own, heads)
    if not chosen:
        raise TrainingError(f"{path}: its labels ({_some(own.values)}) are those of no head: {_known(heads)}")
    return _examples(own, chosen[0])


def _named(heads: Mapping[str, HeadInfo], head: str) -> HeadInfo:
    if head not in heads:
        raise TrainingError(f"no head {head!r}: the model has {', '.join(heads)}")
    return heads[head]


def _candidates(own: _Rows, heads: Mapping[str, HeadInfo]) -> list[HeadInfo]:
    """Return the one head that knows every label, or nothing. Raises TrainingError where several do."""
    found = []
    for head in heads.values():
        try:
            if not head.by_token:
                _label_rows(own, head)
                found.append(head)
        except TrainingError:
            continue
    # A head of one label is meant where each row has one: another that takes many could judge them too.
    single = [head for head in found if head.problem_type == SINGLE] or found
    if len(single) > 1:
        names = ", ".join(head.name for head in single)
        raise TrainingError(f"{own.path}: its labels fit several heads ({names}): choose with --head")
    return single


def _examples(own: _Rows, head: HeadInfo) -> Examples:
    name = own.path.name
    if head.problem_type == TOKEN:
        return Examples(name, name, head.name, own.texts, head.labels, marked=_marked(own))
    rows = _label_rows(own, head)
    if head.problem_type == MULTI:
        table = gold_table(rows, len(head.labels))
        return Examples(name, name, head.name, own.texts, head.labels, table=table)
    used = sorted({row[0] for row in rows})
    labels = tuple(head.labels[number] for number in used)
    if len(used) == 1:
        raise TrainingError(f"{own.path}: all its rows are labelled {labels[0]}: nothing to tell apart")
    title = name if len(used) == len(head.labels) else f"{name}, between {' and '.join(labels)}"
    classes = np.searchsorted(np.array(used), np.array([row[0] for row in rows])).astype(np.int64)
    return Examples(name, title, head.name, own.texts, labels, classes=classes)


def _label_rows(own: _Rows, head: HeadInfo) -> list[tuple[int, ...]]:
    """Return each row's label numbers. Raises TrainingError for a label that the head does not know."""
    numbers = {label.casefold(): number for number, label in enumerate(head.labels)}
    rows = []
    for place, value in zip(own.places, own.values, strict=True):
        where = f"{own.path}, {place}"
        try:
            names = _names(value, numbers)
        except LabelError as error:
            raise TrainingError(f"{where}: {error}") from error
        unknown = next((name for name in names if name.casefold() not in numbers), None)
        if unknown is not None:
            raise TrainingError(
                f"{where}: {unknown[:40]!r} is no label of the head {head.name}, "
                f"which has {_shorten(head.labels)}"
            )
        if head.problem_type == SINGLE and len(names) != 1:
            raise TrainingError(f"{where}: {len(names) or 'no'} labels, the head {head.name} takes one")
        rows.append(tuple(sorted({numbers[name.casefold()] for name in names})))
    return rows


def _names(value: Any, known: Container[str]) -> tuple[str, ...]:
    """Return the labels in one field. A separator that belongs to a known label separates nothing."""
    whole = isinstance(value, str) and value.strip().casefold() in known
    return LabelReader("one" if whole else "auto").names(value) or ()


def _marked(own: _Rows) -> list[frozenset[int]]:
    """Return the marked characters of every row: offsets, or pairs of start and end."""
    found = []
    for place, text, value in zip(own.places, own.texts, own.values, strict=True):
        where = f"{own.path}, {place}"
        try:
            items = list((json.loads(value or "[]") if isinstance(value, str) else value) or [])
            if all(isinstance(item, int) for item in items):
                marked = frozenset(items)
            else:
                marked = characters((int(start), int(end)) for start, end in items)
        except (ValueError, TypeError):
            raise TrainingError(f"{where}: neither a list of offsets nor of [start, end] pairs") from None
        if any(number < 0 or number >= len(text) for number in marked):
            raise TrainingError(f"{where}: an offset lies outside of its text of {len(text)} characters")
        found.append(marked)
    return found


def _known(heads: Mapping[str, HeadInfo]) -> str:
    return "; ".join(f"{head.name} has {_shorten(head.labels)}" for head in heads.values())


def _some(values: Sequence[Any]) -> str:
    return _shorten(tuple(dict.fromkeys(str(value)[:40] for value in values)))


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
