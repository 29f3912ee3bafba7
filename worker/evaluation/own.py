"""A labelled file of the user's own, read for the head of a model that knows its labels."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worker.evaluation.examples import Examples, gold_table
from worker.evaluation.heads import MULTI, SINGLE, TOKEN, HeadInfo
from worker.evaluation.spans import characters
from worker.evaluation.tables import read_rows
from worker.training.errors import TrainingError

_BETWEEN = "|,;"
"""What may stand between several labels in one field."""


def own_examples(
    path: Path,
    heads: Mapping[str, HeadInfo],
    text_column: str,
    label_column: str,
    *,
    head: str | None = None,
    rows: int = 0,
) -> Examples:
    """Read a CSV, JSON-lines or Parquet file for one head: the one that knows all its labels, if not named.

    A field with several labels (for a head that takes many) is a list, or a text with `|`, `,` or `;` between
    them. For a token head it is a list of character offsets, or of [start, end) pairs. A file that knows some
    of the labels of a one-label head is judged between those, as the binary sets are.

    Raises:
        TrainingError: the file, a column, a label or the head is not there or makes no sense: one line.
    """
    texts: list[str] = []
    values: list[Any] = []
    for place, text, label in read_rows(path, text_column, label_column):
        if not isinstance(text, str) or not text.strip():
            raise TrainingError(f"{path}, row {place}: no text in the column {text_column}")
        texts.append(text)
        values.append(label)
        if rows and len(texts) == rows:
            break
    if not texts:
        raise TrainingError(f"{path} has no rows")
    for chosen in [_named(heads, head)] if head is not None else _candidates(path, heads, values):
        return _examples(path, texts, values, chosen)
    raise TrainingError(f"{path}: its labels ({_some(values)}) are those of no head: {_known(heads)}")


def _named(heads: Mapping[str, HeadInfo], head: str) -> HeadInfo:
    if head not in heads:
        raise TrainingError(f"no head {head!r}: the model has {', '.join(heads)}")
    return heads[head]


def _candidates(path: Path, heads: Mapping[str, HeadInfo], values: Sequence[Any]) -> list[HeadInfo]:
    """Return the one head that knows every label, or nothing. Raises TrainingError where several do."""
    found = []
    for head in heads.values():
        try:
            if not head.by_token:
                _label_rows(path, values, head)
                found.append(head)
        except TrainingError:
            continue
    # A head of one label is meant where each row has one: another that takes many could judge them too.
    single = [head for head in found if head.problem_type == SINGLE] or found
    if len(single) > 1:
        names = ", ".join(head.name for head in single)
        raise TrainingError(f"{path}: its labels fit several heads ({names}): choose with --head")
    return single


def _examples(path: Path, texts: list[str], values: list[Any], head: HeadInfo) -> Examples:
    if head.problem_type == TOKEN:
        marked = [
            _places(path, number, value, text)
            for number, (value, text) in enumerate(zip(values, texts, strict=True), 1)
        ]
        return Examples(path.name, path.name, head.name, texts, head.labels, marked=marked)
    rows = _label_rows(path, values, head)
    if head.problem_type == MULTI:
        table = gold_table(rows, len(head.labels))
        return Examples(path.name, path.name, head.name, texts, head.labels, table=table)
    used = sorted({row[0] for row in rows})
    labels = tuple(head.labels[number] for number in used)
    if len(used) == 1:
        raise TrainingError(f"{path}: all its rows are labelled {labels[0]}: nothing to tell apart")
    title = path.name if len(used) == len(head.labels) else f"{path.name}, between {' and '.join(labels)}"
    classes = np.searchsorted(np.array(used), np.array([row[0] for row in rows])).astype(np.int64)
    return Examples(path.name, title, head.name, texts, labels, classes=classes)


def _label_rows(path: Path, values: Sequence[Any], head: HeadInfo) -> list[tuple[int, ...]]:
    """Return each row's label numbers. Raises TrainingError for a label that the head does not know."""
    numbers = {label.casefold(): number for number, label in enumerate(head.labels)}
    rows = []
    for place, value in enumerate(values, start=1):
        names = _names(value, numbers)
        unknown = next((name for name in names if name.casefold() not in numbers), None)
        if unknown is not None:
            raise TrainingError(
                f"{path}, row {place}: {unknown[:40]!r} is no label of the head {head.name}, "
                f"which has {_shorten(head.labels)}"
            )
        if head.problem_type == SINGLE and len(names) != 1:
            raise TrainingError(f"{path}, row {place}: {len(names)} labels, the head {head.name} takes one")
        rows.append(tuple(sorted({numbers[name.casefold()] for name in names})))
    return rows


def _names(value: Any, known: Iterable[str]) -> list[str]:
    """Return the labels in one field."""
    if isinstance(value, list | tuple):
        return [str(item).strip() for item in value]
    text = "" if value is None else str(value).strip()
    if text.casefold() in known:
        return [text]
    if text.startswith("["):
        try:
            return [str(item) for item in json.loads(text)]
        except ValueError:
            return [text]
    for mark in _BETWEEN:
        if mark in text:
            return [part.strip() for part in text.split(mark) if part.strip()]
    return [text] if text else []


def _places(path: Path, row: int, value: Any, text: str) -> frozenset[int]:
    """Return the marked characters of one row: offsets, or pairs of start and end."""
    try:
        given = json.loads(value) if isinstance(value, str) else value
        items = list(given or [])
        if all(isinstance(item, int) for item in items):
            places = frozenset(items)
        else:
            places = characters((int(start), int(end)) for start, end in items)
    except (ValueError, TypeError):
        raise TrainingError(
            f"{path}, row {row}: neither a list of offsets nor of [start, end] pairs"
        ) from None
    if any(place < 0 or place >= len(text) for place in places):
        raise TrainingError(
            f"{path}, row {row}: an offset lies outside of its text of {len(text)} characters"
        )
    return places


def _known(heads: Mapping[str, HeadInfo]) -> str:
    return "; ".join(f"{head.name} has {_shorten(head.labels)}" for head in heads.values())


def _some(values: Sequence[Any]) -> str:
    return _shorten(tuple(dict.fromkeys(str(value)[:40] for value in values)))


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
