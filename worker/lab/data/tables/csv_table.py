"""Comma-separated tables, whatever separates them."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.data.tables.dialect import Dialect, sniff
from worker.lab.data.tables.lines import MAX_LINE_BYTES, text_lines
from worker.lab.data.tables.rows import BadRow, Cells, need_columns

_SNIFFED = 200
"""Lines that the dialect is told from; quoted fields may span several."""

_SNIFFED_CHARACTERS = 1_000_000


class CsvTable:
    """A CSV file with a line of column names."""

    def __init__(self, path: Path, wanted: Sequence[str] = ()) -> None:
        """Read the header. Raises TrainingError where the file is empty, unreadable or not UTF-8."""
        csv.field_size_limit(MAX_LINE_BYTES)  # the csv module has one limit for everybody
        self.path = path
        first = _first_lines(path)
        if not any(line.strip() for line in first):
            raise TrainingError(f"{path}: is empty; a table begins with a line of column names")
        self.dialect: Dialect = sniff(first, wanted)
        self.columns = _header(path, self.dialect, first)

    def rows(self, names: Sequence[str]) -> Iterator[Cells | BadRow]:
        """Yield these columns of every row; blank lines are no rows."""
        need_columns(self.path, self.columns, names)
        places = [self.columns.index(name) for name in names]
        counted = _Counted(text_lines(self.path))
        reader = self.dialect.reader(iter(counted))
        header = True
        while True:
            start = counted.number + 1
            try:
                record = next(reader, None)
            except csv.Error as error:
                yield BadRow(f"line {start}", f"no CSV: {error}")
                continue
            if record is None:
                return
            if not record:
                continue
            if header:
                header = False
            elif len(record) != len(self.columns):
                # An unquoted separator inside a text looks like this, and would cut the text.
                yield BadRow(
                    f"line {start}",
                    f"the row has {_fields(len(record))}, the header {_fields(len(self.columns))}",
                )
            else:
                yield Cells(f"line {start}", tuple(record[place] for place in places))


class _Counted:
    """Lines, and the number of the last one taken."""

    def __init__(self, lines: "Iterator[tuple[int, str]]") -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, text in self._lines:
            self.number = number
            yield text


def _first_lines(path: Path) -> list[str]:
    lines: list[str] = []
    total = 0
    for line in itertools.islice(text_lines(path), _SNIFFED):
        lines.append(line.text)
        total += len(line.text)
        if total > _SNIFFED_CHARACTERS:
            break
    return lines


def _header(path: Path, dialect: Dialect, first: Sequence[str]) -> tuple[str, ...]:
    try:
        record = next(filter(None, dialect.reader(iter(first))))
    except (csv.Error, StopIteration) as error:
        raise TrainingError(f"{path}: the line of column names is no CSV: {error}") from error
    columns = tuple(name.strip() for name in record)
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise TrainingError(f"{path}: the column {twice[0]!r} stands twice in the line of column names")
    return columns


def _fields(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'}"
