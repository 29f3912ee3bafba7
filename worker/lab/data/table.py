"""A task whose rows are a user's own table: token ids to learn from, and a held-out part to judge by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from worker.errors import TrainingError
from worker.heads import MULTI, SINGLE
from worker.lab.data.labels import HEADS, NEGATIVE, POSITIVE, SENTIMENT, HeadSpec
from worker.lab.data.tables.keeper import Counts, Keeper
from worker.lab.data.tables.labels import LabelReader, Many
from worker.lab.data.tables.reading import Opened, Say, Wish, fill, open_wish, texts
from worker.lab.data.tables.rows import listed
from worker.lab.data.tables.split import FEWEST, MOST_HELD, check_labels, held_out
from worker.lab.data.tokens import Ids, encode
from worker.model.text.normaliser import Normaliser

MOST_ROWS = 500_000
"""Rows that are kept where nobody says how many: some 250 MB as token ids."""


@dataclass(frozen=True, slots=True)
class Own:
    """What to read, and how: the part of a recipe's task that names a file."""

    path: Path
    text_column: str = ""
    label_column: str = ""
    head: str = ""
    """The head that is trained; "" takes the label column's name."""
    labels: Many = "auto"
    rows: int = 0
    """Keep so many, drawn at random; 0: MOST_ROWS."""
    held_out: float = 0.2
    """Share of the rows to judge by."""
    dev: Path | None = None
    """A file of its own to judge by, instead of a share."""
    skip_bad: bool = False


class Held(NamedTuple):
    """The rows to judge by: texts, and the numbers of their labels in the head."""

    texts: list[str]
    labels: list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class OwnRows:
    """A table, read, tokenised and split."""

    title: str
    head: HeadSpec
    binary: bool
    """Of the sentiment head it knows no neutral."""
    ids: list[Ids]
    labels: list[tuple[int, ...]]
    held: Held
    counts: Counts
    texts: Callable[[], list[str]]
    """Reads the texts behind `ids` once more, for a teacher: they are not kept."""


def passes(rows: int) -> float:
    """Return how many passes over a table of so many rows: 40 over few, 3 over many."""
    return min(40.0, round(3 + 1_500 / max(1, rows)))


@dataclass(slots=True)
class _Read:
    """A table before its labels have numbers."""

    own: Own
    opened: Opened
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

    def leave(self, rows: Sequence[int]) -> None:
        """Learn from these rows only."""
        self.ids, self.labels = [self.ids[row] for row in rows], [self.labels[row] for row in rows]
        self.keys = [self.keys[row] for row in rows]


@dataclass(frozen=True, slots=True)
class OwnReader:
    """Reads tables for one run. `seed` draws the rows that are kept and those that are held out."""

    tokenizer: Path
    handling: Normaliser
    seed: int
    say: Say

    def read(self, tables: Sequence[Own], max_tokens: Sequence[int]) -> list[OwnRows]:
        """Read tables, each cut to so many `max_tokens` a text. Tables of one head share their labels.

        Raises:
            TrainingError: a file, a column, a row or a label that does not do: one line.
        """
        read = [self._read(own, longest) for own, longest in zip(tables, max_tokens, strict=True)]
        heads: dict[str, HeadSpec] = {}
        for name in dict.fromkeys(each.head for each in read):
            heads[name] = _head(name, [each for each in read if each.head == name])
        return [_numbered(each, heads[each.head]) for each in read]

    def _read(self, own: Own, longest: int) -> _Read:
        opened = open_wish(Wish(own.path, own.text_column, own.label_column, own.skip_bad))
        reader = LabelReader(own.labels)
        keeper: Keeper[Ids] = Keeper(
            self.seed,
            own.rows or MOST_ROWS,
            lambda part: encode(self.tokenizer, part, longest, self.handling),
        )
        fill(opened, reader, keeper, self.say)
        rows = list(keeper.rows())
        keys, labels = [key for key, _, _ in rows], [names for _, names, _ in rows]
        head = own.head or head_name(opened.label)
        ids = [ids for _, _, ids in rows]
        found = _Read(own, opened, self.seed, head, reader.several, keys, ids, labels, keeper.counts)
        numbers = _numbers(labels)
        check_labels(own.path, list(numbers), _as_numbers(labels, numbers), FEWEST if own.dev is None else 2)
        if own.dev is None:
            held = held_out(_as_numbers(labels, numbers), own.held_out)
            _hold(found, held, texts(opened, [keys[row] for row in held], self.seed))
        else:
            self._add_dev(found, own.dev)
        return found

    def _add_dev(self, read: _Read, path: Path) -> None:
        """Read the file to judge by; what it holds too is not learnt from."""
        opened = open_wish(Wish(path, read.opened.text, read.opened.label, read.own.skip_bad))
        keeper: Keeper[str] = Keeper(self.seed, MOST_HELD, list)
        reader = LabelReader(read.own.labels)
        fill(opened, reader, keeper, self.say)
        rows = list(keeper.rows())
        if not rows:
            raise TrainingError(f"{path}: no row has both a text and a label")
        read.held_labels, read.held_texts = [names for _, names, _ in rows], [text for _, _, text in rows]
        read.several = read.several or reader.several
        shared = {key for key, _, _ in rows} & set(read.keys)
        if shared:
            self.say(f"{read.own.path}: {len(shared):,} rows stand in {path} too and are not learnt from")
            read.leave([row for row, key in enumerate(read.keys) if key not in shared])
        known = sorted({name for names in read.labels for name in names})
        for name in (name for names in read.held_labels for name in names):
            if name not in known:
                raise TrainingError(
                    f"{path}: the label {name!r} is in no row that {read.own.path} teaches, "
                    f"which has {listed(known)}"
                )
        if len(set(read.held_labels)) == 1:
            raise TrainingError(f"{path}: all rows have the same label: there is nothing to judge")


def _hold(read: _Read, held: Sequence[int], found: list[str]) -> None:
    """Move these rows from the ones to learn from to the ones to judge by."""
    chosen = set(held)
    read.held_texts, read.held_labels = found, [read.labels[row] for row in held]
    read.leave([row for row in range(len(read.ids)) if row not in chosen])


def head_name(column: str) -> str:
    """Return a head's name: what of a column's name can stand in a JSON field and in a tensor's name."""
    kept = (char if char.isascii() and char.isalnum() else "_" for char in column.casefold())
    return "".join(kept).strip("_") or "label"


def _head(name: str, tables: Sequence[_Read]) -> HeadSpec:
    """Return the head that these tables train: a known one, or one with all their labels.

    Raises:
        TrainingError: labels that a known head does not have, or several where it takes one.
    """
    several = any(table.several for table in tables)
    if name in HEADS:
        _check_known(HEADS[name], tables)
        return HEADS[name]
    names = {label for table in tables for row in table.every for label in row}
    return HeadSpec(name, MULTI if several else SINGLE, tuple(sorted(names, key=_by_number)))


def _by_number(label: str) -> tuple[bool, float, str]:
    """Order labels by name, and numbers before them by value."""
    return (False, float(label), label) if label.isascii() and label.isdigit() else (True, 0.0, label)


def _check_known(head: HeadSpec, tables: Sequence[_Read]) -> None:
    for table in tables:
        if head.by_token:
            raise TrainingError(
                f"{table.own.path}: the head {head.name!r} marks characters; a table has labels"
            )
        if table.several and not head.multi_label:
            raise TrainingError(
                f"{table.own.path}: some rows have several labels, the head {head.name!r} takes one"
            )
        unknown = {label for row in table.every for label in row if label not in head.labels}
        if unknown:
            raise TrainingError(
                f"{table.own.path}: {min(unknown)!r} is no label of the head {head.name!r}, "
                f"which has {listed(head.labels)}"
            )


def _numbered(read: _Read, head: HeadSpec) -> OwnRows:
    numbers = {label: number for number, label in enumerate(head.labels)}
    used = {label for row in read.labels for label in row}
    return OwnRows(
        title=read.own.path.name,
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
