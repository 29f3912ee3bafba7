"""A task whose rows are the user's table: token ids for training, and held-out texts for validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from worker.errors import TrainingError, printable
from worker.heads import MULTI, SINGLE, Head
from worker.lab import Progress
from worker.lab.data.field_labels import LabelReader, respelt
from worker.lab.data.labels import HEADS, NEGATIVE, POSITIVE, SENTIMENT
from worker.lab.data.sampling import FEWEST, MOST_HELD, BottomK, Counts, check_labels, held_out
from worker.lab.data.table_rows import OpenedTable, TableOptions, fill, open_table, texts
from worker.lab.data.tokens import Ids, encode
from worker.model.text.normaliser import Normaliser
from worker.tables.rows import listed

MOST_ROWS = 500_000
"""The default for the most rows to keep: some 250 MB as token ids."""


class Held(NamedTuple):
    """The rows for validation: texts, and the indices of their labels in the head."""

    texts: list[str]
    labels: list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TableRows:
    """A table, read, tokenised and split."""

    title: str
    head: Head
    binary: bool
    """It has only positive and negative rows for the sentiment head, no neutral ones."""
    ids: list[Ids]
    labels: list[tuple[int, ...]]
    held: Held
    counts: Counts
    texts: Callable[[], list[str]]
    """Reads the texts of `ids` again for a teacher, since they are not kept."""


def passes(rows: int) -> float:
    """Return the number of passes for a table of this size: from 40 for few rows to 3 for many."""
    return min(40.0, round(3 + 1_500 / max(1, rows)))


@dataclass(slots=True)
class _Draft:
    """A table whose labels have no indices yet."""

    options: TableOptions
    opened: OpenedTable
    seed: int
    head: str
    several: bool
    keys: list[int]
    ids: list[Ids]
    labels: list[tuple[str, ...]]
    counts: Counts
    held_texts: list[str] = field(default_factory=list)
    held_labels: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def every(self) -> list[tuple[str, ...]]:
        """The labels of all rows."""
        return [*self.labels, *self.held_labels]

    @property
    def path(self) -> str:
        """The file, as messages show it."""
        return printable(str(self.options.path))

    def respell(self, names: Mapping[str, str]) -> None:
        """Replace spellings of labels by those used elsewhere in the table or by its head."""
        self.labels, self.held_labels = _respelt(self.labels, names), _respelt(self.held_labels, names)

    def train_on(self, rows: Sequence[int]) -> None:
        """Keep only these rows for training."""
        self.ids, self.labels = [self.ids[row] for row in rows], [self.labels[row] for row in rows]
        self.keys = [self.keys[row] for row in rows]


@dataclass(frozen=True, slots=True)
class TableReader:
    """Reads tables for one run. `seed` draws the rows that are kept and those that are held out."""

    tokenizer: Path
    handling: Normaliser
    seed: int
    say: Progress

    def read(self, tables: Sequence[TableOptions], max_tokens: Sequence[int]) -> list[TableRows]:
        """Read tables, each with texts cut to its `max_tokens`. Tables of one head share their labels.

        Raises:
            InputError: a file that cannot be read.
            TrainingError: a column, a row or a label that cannot be used: one line.
        """
        read = [self._read(options, longest) for options, longest in zip(tables, max_tokens, strict=True)]
        heads: dict[str, Head] = {}
        for name in dict.fromkeys(each.head for each in read):
            drafts = [each for each in read if each.head == name]
            names = respelt(row for each in drafts for row in each.every)
            for each in drafts:
                each.respell(names)
            heads[name] = _head(name, drafts)
        return [_numbered(each, heads[each.head]) for each in read]

    def _read(self, options: TableOptions, longest: int) -> _Draft:
        opened = open_table(options)
        reader = LabelReader(options.labels)
        sample: BottomK[Ids] = BottomK(
            self.seed,
            options.rows or MOST_ROWS,
            lambda part: encode(self.tokenizer, part, longest, self.handling),
        )
        fill(opened, reader, sample, self.say)
        rows = list(sample.rows())
        keys, ids = [key for key, _, _ in rows], [ids for _, _, ids in rows]
        head = options.head or head_name(opened.label)
        labels = self._one_spelling(options.path, [names for _, names, _ in rows], head)
        found = _Draft(options, opened, self.seed, head, reader.several, keys, ids, labels, sample.counts)
        numbers = _numbers(labels)
        rows_as_numbers = _as_numbers(labels, numbers)
        check_labels(found.path, list(numbers), rows_as_numbers, FEWEST if options.dev is None else 2)
        if options.dev is None:
            held = held_out(rows_as_numbers, options.held_out)
            _hold(found, held, texts(opened, [keys[row] for row in held], self.seed))
        else:
            self._add_dev(found, options.dev)
        return found

    def _one_spelling(self, path: Path, rows: list[tuple[str, ...]], head: str) -> list[tuple[str, ...]]:
        """Merge labels that differ only in case or spaces, and report it."""
        names = respelt(rows, HEADS[head].labels if head in HEADS else ())
        for name, chosen in names.items():
            count = sum(name in row for row in rows)
            self.say(f"{printable(str(path))}: the label {name!r} ({count:,} rows) is taken as {chosen!r}")
        return _respelt(rows, names)

    def _add_dev(self, read: _Draft, path: Path) -> None:
        """Read the file for validation; rows that are also in the table are not used for training."""
        options = replace(
            read.options, path=path, text_column=read.opened.text, label_column=read.opened.label
        )
        opened, reader = open_table(options), LabelReader(options.labels)
        sample: BottomK[str] = BottomK(self.seed, MOST_HELD, list)
        fill(opened, reader, sample, self.say)
        rows = list(sample.rows())
        where = printable(str(path))
        if not rows:
            raise TrainingError(f"{where}: no row has both a text and a label")
        known = sorted({name for names in read.labels for name in names})
        names = respelt((names for _, names, _ in rows), known)
        read.held_labels = _respelt([names for _, names, _ in rows], names)
        read.held_texts = [text for _, _, text in rows]
        read.several = read.several or reader.several
        shared = {key for key, _, _ in rows} & set(read.keys)
        if shared:
            self.say(f"{read.path}: {len(shared):,} rows stand in {where} too and are not learnt from")
            read.train_on([row for row, key in enumerate(read.keys) if key not in shared])
        taught = sorted({name for names in read.labels for name in names})
        if not taught:
            raise TrainingError(
                f"{read.path}: all of its rows stand in {where} too: none is left to learn from"
            )
        unknown = sorted({name for row in read.held_labels for name in row} - set(taught))
        if unknown:
            raise TrainingError(
                f"{where}: the label {unknown[0]!r} is in no row that {read.path} teaches, "
                f"which has {listed(taught)}"
            )
        if len(set(read.held_labels)) == 1:
            raise TrainingError(f"{where}: all rows have the same label: there is nothing to judge")


def _hold(read: _Draft, held: Sequence[int], found: list[str]) -> None:
    """Move these rows from training to validation."""
    chosen = set(held)
    read.held_texts, read.held_labels = found, [read.labels[row] for row in held]
    read.train_on([row for row in range(len(read.ids)) if row not in chosen])


def head_name(column: str) -> str:
    """Return a head's name: the part of a column's name that is valid in JSON fields and tensor names."""
    kept = (char if char.isascii() and char.isalnum() else "_" for char in column.casefold())
    return "".join(kept).strip("_") or "label"


def _head(name: str, tables: Sequence[_Draft]) -> Head:
    """Return the head that these tables train: a known one, or one with all their labels.

    Raises:
        TrainingError: labels that a known head does not have, or several where it takes one.
    """
    several = any(table.several for table in tables)
    if name in HEADS:
        _check_known(HEADS[name], tables)
        return HEADS[name]
    names = {label for table in tables for row in table.every for label in row}
    return Head(name, MULTI if several else SINGLE, tuple(sorted(names, key=_by_number)))


def _by_number(label: str) -> tuple[bool, float, str]:
    """Return a sort key: numbers first, by value, then labels by name."""
    return (False, float(label), label) if label.isascii() and label.isdigit() else (True, 0.0, label)


def _check_known(head: Head, tables: Sequence[_Draft]) -> None:
    for table in tables:
        if head.by_token:
            raise TrainingError(f"{table.path}: the head {head.name!r} marks characters; a table has labels")
        if table.several and not head.multi_label:
            raise TrainingError(
                f"{table.path}: some rows have several labels, the head {head.name!r} takes one"
            )
        unknown = {label for row in table.every for label in row if label not in head.labels}
        if unknown:
            raise TrainingError(
                f"{table.path}: {min(unknown)!r} is no label of the head {head.name!r}, "
                f"which has {listed(head.labels)}"
            )


def _numbered(read: _Draft, head: Head) -> TableRows:
    numbers = {label: number for number, label in enumerate(head.labels)}
    used = {label for row in read.labels for label in row}
    return TableRows(
        title=read.options.path.name,
        head=head,
        binary=head.name == SENTIMENT.name and used == {head.labels[NEGATIVE], head.labels[POSITIVE]},
        ids=read.ids,
        labels=_as_numbers(read.labels, numbers),
        held=Held(read.held_texts, _as_numbers(read.held_labels, numbers)),
        counts=read.counts,
        texts=partial(texts, read.opened, read.keys, read.seed),
    )


def _numbers(labels: Sequence[tuple[str, ...]]) -> dict[str, int]:
    names = sorted({label for row in labels for label in row}, key=_by_number)
    return {name: number for number, name in enumerate(names)}


def _as_numbers(labels: Sequence[tuple[str, ...]], numbers: dict[str, int]) -> list[tuple[int, ...]]:
    return [tuple(sorted(numbers[label] for label in row)) for row in labels]


def _respelt(rows: Sequence[tuple[str, ...]], names: Mapping[str, str]) -> list[tuple[str, ...]]:
    if not names:
        return list(rows)
    return [tuple(dict.fromkeys(names.get(name, name) for name in row)) for row in rows]
