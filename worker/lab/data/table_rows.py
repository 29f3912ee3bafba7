"""A user's labelled table: choosing its two columns, and reading and counting its rows."""

import difflib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from worker.errors import LabelError, TrainingError, printable
from worker.lab import Progress
from worker.lab.data.field_labels import LabelReader, Many
from worker.lab.data.sampling import BottomK, Counts, clean, row_key
from worker.tables.open import Table
from worker.tables.rows import BadRow, listed

Kept = TypeVar("Kept")

TEXTS = (
    ("text", "texts", "body", "message", "sentence", "review", "content", "comment", "tweet", "post"),
    ("title", "headline", "description", "summary", "question", "document", "utterance"),
)
LABELS = (
    ("label", "labels", "class", "category", "topic"),
    ("target", "tag", "tags", "categories", "topics", "sentiment"),
)
"""Column names by preference: one of the second row counts only if there is none of the first."""

_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What to read, and how: the part of a recipe's task that names a file."""

    path: Path
    text_column: str = ""
    label_column: str = ""
    head: str = ""
    """The head that is trained; "" takes the label column's name."""
    labels: Many = "auto"
    rows: int = 0
    """The number of rows to keep, drawn at random; 0 for the default bound."""
    held_out: float = 0.2
    """Share of the rows for validation."""
    dev: Path | None = None
    """A separate file for validation, instead of a share."""
    skip_bad: bool = False
    """Skip bad rows instead of stopping."""
    encoding: str = "utf-8"
    """Encoding of text files."""


@dataclass(frozen=True, slots=True)
class OpenedTable:
    """An opened table with its two columns."""

    options: TableOptions
    table: Table
    text: str
    label: str


def open_table(options: TableOptions) -> OpenedTable:
    """Open a table and choose its columns.

    Raises:
        InputError: the file cannot be read.
        TrainingError: a column does not exist, or cannot be guessed.
    """
    wanted = [name for name in (options.text_column, options.label_column) if name]
    table = Table(options.path, wanted, options.encoding)
    return OpenedTable(options, table, *choose_columns(table, options.text_column, options.label_column))


def choose_columns(table: Table, text: str = "", label: str = "") -> tuple[str, str]:
    """Return the text column and the label column: the named ones, or else guessed from their names.

    Raises:
        TrainingError: a named column does not exist, or the guess finds none or several.
    """
    for name in filter(None, (text, label)):
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise TrainingError(
                f"{_path(table)}: no column {name!r}{hint}; there are: {listed(table.columns)}"
            )
    if text and text == label:
        raise TrainingError(f"{_path(table)}: the column {text!r} cannot be both the text and the label")
    text = text or _guess(table, TEXTS, "text", label)
    label = label or _guess(table, LABELS, "label", text)
    return text, label


def _path(table: Table) -> str:
    return printable(str(table.path))


def _guess(table: Table, names: Sequence[Sequence[str]], what: str, taken: str) -> str:
    free = [column for column in table.columns if column != taken]
    option = f"--{what}-column"
    for group in names:
        found = [column for column in free if column.casefold() in group]
        if len(found) == 1:
            return found[0]
        if found:
            raise TrainingError(
                f"{_path(table)}: several columns may hold the {what} ({listed(found)}): choose with {option}"
            )
    if taken and len(free) == 1:
        return free[0]
    raise TrainingError(
        f"{_path(table)}: no column's name says that it holds the {what}; "
        f"there are: {listed(table.columns)}: choose with {option}"
    )


def fill(opened: OpenedTable, labels: LabelReader, sample: BottomK[Kept], say: Progress) -> None:
    """Read the whole table into the sample, with a line a minute and one at the end.

    Raises:
        InputError: the table breaks off.
        TrainingError: it has a bad row, and bad rows are not skipped.
    """
    counts, path = sample.counts, _path(opened.table)
    spoken = time.monotonic()
    for text, names in _labelled(opened, labels, counts):
        sample.add(text, names)
        if time.monotonic() - spoken >= _EVERY_S:
            spoken = time.monotonic()
            say(f"{path}: {counts.read:,} rows read, {len(sample):,} kept")
    say(f"{path}: {told(counts, len(sample), labels.missing)}")


def texts(opened: OpenedTable, keys: Sequence[int], seed: int) -> list[str]:
    """Read the table again and return the texts of these keys, in their order.

    Raises:
        TrainingError: the file has changed since it was read.
    """
    wanted, found = set(keys), dict[int, str]()
    for row in opened.table.rows([opened.text]):
        text = None if isinstance(row, BadRow) else clean(row.values[0])
        if text is not None and (key := row_key(seed, text)) in wanted:
            found.setdefault(key, text)
    if len(found) < len(wanted):
        raise TrainingError(f"{_path(opened.table)}: changed while it was being read")
    return [found[key] for key in keys]


def told(counts: Counts, kept: int, missing: Counter[str]) -> str:
    """Return the counts of rows as one line. `missing` counts the words for a missing label."""
    words = ", ".join(f"{word!r} {count:,}" for word, count in missing.most_common(6))
    parts = [f"{counts.read:,} rows read, {kept:,} kept"]
    for count, what in (
        (counts.empty_texts, "without a text"),
        (counts.empty_labels, "without a label" + (f" (also written {words})" if words else "")),
        (counts.bad, "bad and skipped"),
        (counts.copies, "there twice"),
        (counts.contradictions, "there twice with other labels, of which the first counts"),
        (counts.left, "left out by the bound on rows: what is kept was drawn at random"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    return "; ".join(parts)


def _labelled(
    opened: OpenedTable, labels: LabelReader, counts: Counts
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield texts with their labels, and count empty and bad rows."""
    for row in opened.table.rows([opened.text, opened.label]):
        counts.read += 1
        if isinstance(row, BadRow):
            _bad(opened, counts, row)
            continue
        text = clean(row.values[0])
        if text is None:
            counts.empty_texts += 1
            continue
        try:
            names = labels.names(row.values[1])
        except LabelError as error:
            _bad(opened, counts, BadRow(row.number, row.place, f"the column {opened.label!r} holds {error}"))
            continue
        if names is None:
            counts.empty_labels += 1
        else:
            yield text, names


def _bad(opened: OpenedTable, counts: Counts, row: BadRow) -> None:
    if not opened.options.skip_bad:
        place = opened.table.place(row)
        raise TrainingError(f"{place}: {row.reason} (--skip-bad passes such rows over)")
    counts.bad += 1
