"""A table's rows with their labels, counted and said: what is empty, bad, or there twice."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from worker.errors import LabelError, TrainingError
from worker.lab.data.tables.columns import choose_columns
from worker.lab.data.tables.keeper import Counts, Keeper, clean, row_key
from worker.lab.data.tables.labels import LabelReader
from worker.lab.data.tables.opening import open_table
from worker.lab.data.tables.rows import BadRow, Table

Say = Callable[[str], None]
Kept = TypeVar("Kept")

_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Which file, which columns, and what to do about bad rows."""

    path: Path
    text_column: str = ""
    label_column: str = ""
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened table with its two columns."""

    wish: Wish
    table: Table
    text: str
    label: str


def open_wish(wish: Wish) -> Opened:
    """Open a table and choose its columns. Raises TrainingError."""
    wanted = [name for name in (wish.text_column, wish.label_column) if name]
    table = open_table(wish.path, wanted)
    return Opened(wish, table, *choose_columns(table, wish.text_column, wish.label_column))


def fill(opened: Opened, labels: LabelReader, keeper: Keeper[Kept], say: Say) -> None:
    """Read the whole table into the keeper, with a line a minute and one at the end.

    Raises:
        TrainingError: the table breaks off, or holds a bad row and the wish is not to skip these.
    """
    counts = keeper.counts
    spoken = time.monotonic()
    for text, names in _labelled(opened, labels, counts):
        keeper.add(text, names)
        if time.monotonic() - spoken >= _EVERY_S:
            spoken = time.monotonic()
            say(f"{opened.wish.path}: {counts.read:,} rows read, {len(keeper):,} kept")
    say(f"{opened.wish.path}: {told(counts, len(keeper))}")


def texts(opened: Opened, keys: Sequence[int], seed: int) -> list[str]:
    """Read the table again and return the texts of these keys, in their order.

    Raises:
        TrainingError: the file is no longer the one that was read before.
    """
    wanted, found = set(keys), dict[int, str]()
    for row in opened.table.rows([opened.text]):
        text = None if isinstance(row, BadRow) else clean(row.values[0])
        if text is not None and (key := row_key(seed, text)) in wanted:
            found.setdefault(key, text)
    if len(found) < len(wanted):
        raise TrainingError(f"{opened.wish.path}: changed while it was being read")
    return [found[key] for key in keys]


def told(counts: Counts, kept: int) -> str:
    """Return what became of the rows, as one line."""
    parts = [f"{counts.read:,} rows read, {kept:,} kept"]
    for count, what in (
        (counts.empty_texts, "without a text"),
        (counts.empty_labels, "without a label"),
        (counts.bad, "bad and skipped"),
        (counts.copies, "there twice"),
        (counts.contradictions, "there twice with other labels, of which the first counts"),
        (counts.left, "left out by the bound on rows: what is kept was drawn at random"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    return "; ".join(parts)


def _labelled(opened: Opened, labels: LabelReader, counts: Counts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield texts with their labels; what is empty or bad is counted."""
    wish = opened.wish
    for row in opened.table.rows([opened.text, opened.label]):
        counts.read += 1
        if isinstance(row, BadRow):
            _bad(wish, counts, row)
            continue
        text = clean(row.values[0])
        if text is None:
            counts.empty_texts += 1
            continue
        try:
            names = labels.names(row.values[1])
        except LabelError as error:
            _bad(wish, counts, BadRow(row.place, f"the column {opened.label!r} holds {error}"))
            continue
        if names is None:
            counts.empty_labels += 1
        else:
            yield text, names


def _bad(wish: Wish, counts: Counts, row: BadRow) -> None:
    if not wish.skip_bad:
        raise TrainingError(f"{wish.path}, {row.place}: {row.reason} (--skip-bad passes such rows over)")
    counts.bad += 1
