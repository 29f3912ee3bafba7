"""Reading a user's labelled file for the head of a model that has its labels."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import LabelError, TrainingError, printable
from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.lab.data.field_labels import LabelReader, spelling_key
from worker.lab.data.table_rows import TableOptions, open_table
from worker.lab.evaluate.examples import Examples, gold_table
from worker.lab.evaluate.spans import characters
from worker.tables.rows import BadRow


@dataclass(slots=True)
class _Rows:
    """The rows of a file: each one's place, its text, and its label as read."""

    path: Path
    places: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


def table_examples(
    path: Path,
    heads: Mapping[str, Head],
    text_column: str = "",
    label_column: str = "",
    *,
    head: str | None = None,
    rows: int = 0,
    encoding: str = "utf-8",
) -> Examples:
    """Read a CSV, JSON-lines or Parquet file for one head, by default the one that has all its labels.

    Columns that are not named are guessed from their names. A field with several labels (for a multi-label
    head) is a list, or a text with `;` or `|` between them; an empty one has none. For a token head it is a
    list of character offsets, or of [start, end) pairs. If a file has only some of a single-label head's
    labels, only those are compared, as for the binary sets.

    Raises:
        InputError: the file cannot be read.
        TrainingError: a column, a label or the head is missing or invalid; the message is one line.
    """
    opened = open_table(TableOptions(path, text_column, label_column, encoding=encoding))
    found = _Rows(path)
    for row in opened.table.rows([opened.text, opened.label]):
        place = opened.table.place(row)
        if isinstance(row, BadRow):
            raise TrainingError(f"{place}: {row.reason}")
        text, label = row.values
        if not isinstance(text, str) or not text.strip():
            raise TrainingError(f"{place}: no text in the column {printable(opened.text)}")
        found.places.append(place)
        found.texts.append(text)
        found.values.append(label)
        if rows and len(found.texts) == rows:
            break
    if not found.texts:
        raise TrainingError(f"{printable(str(path))} has no rows")
    chosen = [_named(heads, head)] if head is not None else _candidates(found, heads)
    if not chosen:
        _refuse_blank(found, opened.label)
        raise TrainingError(
            f"{printable(str(path))}: no head has its labels ({_some(found.values)}): {_known(heads)}"
        )
    return _examples(found, chosen[0])


def _named(heads: Mapping[str, Head], head: str) -> Head:
    if head not in heads:
        raise TrainingError(f"no head {head!r}: the model has {', '.join(heads)}")
    return heads[head]


def _refuse_blank(found: _Rows, column: str) -> None:
    """Raise TrainingError for the first row without a label: only a head with several labels takes those."""
    for place, value in zip(found.places, found.values, strict=True):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise TrainingError(f"{place}: no label in the column {printable(column)}")


def _candidates(found: _Rows, heads: Mapping[str, Head]) -> list[Head]:
    """Return the one head that has every label, or nothing. Raises TrainingError if several have."""
    fitting = []
    for head in heads.values():
        try:
            if not head.by_token:
                _label_rows(found, head)
                fitting.append(head)
        except TrainingError:
            continue
    # If each row has one label, prefer single-label heads: a multi-label head may fit the rows, too.
    single = [head for head in fitting if head.problem_type == SINGLE] or fitting
    if len(single) > 1:
        names = ", ".join(head.name for head in single)
        raise TrainingError(f"{found.path}: its labels fit several heads ({names}): choose with --head")
    return single


def _examples(found: _Rows, head: Head) -> Examples:
    name = found.path.name
    if head.problem_type == TOKENS:
        return Examples(name, name, head.name, found.texts, head.labels, marked=_marked(found))
    rows = _label_rows(found, head)
    if head.problem_type == MULTI:
        table = gold_table(rows, len(head.labels))
        return Examples(name, name, head.name, found.texts, head.labels, table=table)
    used = sorted({row[0] for row in rows})
    labels = tuple(head.labels[number] for number in used)
    if len(used) == 1:
        raise TrainingError(f"{found.path}: all its rows are labelled {labels[0]}: nothing to tell apart")
    title = name if len(used) == len(head.labels) else f"{name}, between {' and '.join(labels)}"
    classes = np.searchsorted(np.array(used), np.array([row[0] for row in rows])).astype(np.int64)
    return Examples(name, title, head.name, found.texts, labels, classes=classes)


def _label_rows(found: _Rows, head: Head) -> list[tuple[int, ...]]:
    """Return each row's label indices. Raises TrainingError for a label that the head lacks."""
    numbers = {spelling_key(label): number for number, label in enumerate(head.labels)}
    numbers |= {label: number for number, label in enumerate(head.labels)}  # an exact match comes first
    rows = []
    for place, value in zip(found.places, found.values, strict=True):
        try:
            names = _names(value, numbers)
        except LabelError as error:
            raise TrainingError(f"{place}: {error}") from error
        known = [numbers.get(name, numbers.get(spelling_key(name))) for name in names]
        row = sorted({number for number in known if number is not None})
        if None in known:
            unknown = names[known.index(None)][:40]
            raise TrainingError(
                f"{place}: {unknown!r} is no label of the head {head.name}, which has {_shorten(head.labels)}"
            )
        if head.problem_type == SINGLE and len(row) != 1:
            raise TrainingError(f"{place}: {len(row) or 'no'} labels, the head {head.name} takes one")
        rows.append(tuple(row))
    return rows


def _names(value: Any, known: Container[str]) -> tuple[str, ...]:
    """Return the labels in one field. A separator inside a known label does not separate.

    Raises:
        LabelError: the field has no label, or a word for a missing one.
    """
    if isinstance(value, str) and (value.strip() in known or spelling_key(value) in known):
        return (value.strip(),)
    reader = LabelReader()
    names = reader.names(value)
    if reader.missing:
        raise LabelError(f"{value.strip()!r} is no label")
    return names or ()


def _marked(found: _Rows) -> list[frozenset[int]]:
    """Return the marked characters of every row, read from offsets or from pairs of start and end."""
    rows = []
    for place, text, value in zip(found.places, found.texts, found.values, strict=True):
        try:
            pairs = _pairs(value)
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise TrainingError(f"{place}: neither a list of offsets nor of [start, end] pairs") from None
        # Before the places in between are counted one by one: a wrong end may be any number.
        if any(start < 0 or end > len(text) for start, end in pairs):
            raise TrainingError(f"{place}: an offset is outside its text of {len(text)} characters")
        rows.append(characters(pairs))
    return rows


def _pairs(value: Any) -> list[tuple[int, int]]:
    """Return what a field says is marked, as half-open ranges. Raises what Python does for anything else."""
    items = list((json.loads(value or "[]") if isinstance(value, str) else value) or [])
    if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        return [(item, item + 1) for item in items]
    return [(int(start), int(end)) for start, end in items]


def _known(heads: Mapping[str, Head]) -> str:
    return "; ".join(f"{head.name} has {_shorten(head.labels)}" for head in heads.values())


def _some(values: Sequence[Any]) -> str:
    return _shorten(tuple(dict.fromkeys(printable(str(value)[:40]) for value in values)))


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
