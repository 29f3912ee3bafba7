"""From a name on the command line to rows."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.errors import InputError
from worker.tables.csv import table_rows
from worker.tables.lines import LineReader, line_rows
from worker.tables.parquet import ParquetReader
from worker.tables.rows import JSON, TEXT, Item

Format = Literal["auto", "jsonl", "txt", "csv", "parquet"]
STDIN = "-"

_BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass
class Input:
    """One opened input. Iterating reads it, once and in bounded memory; closing it is the end of that.

    `size` is its bytes, None where nobody knows (a pipe); `position` how many are read.
    """

    name: str
    size: int | None
    items: Iterable[Item]
    reader: LineReader | ParquetReader
    descriptor: int | None = None

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self.reader.position

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def close(self) -> None:
        """Give back the file. Standard input stays open."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def format_of(name: str) -> Format:
    """Tell an input's format by the end of its name; `auto` for standard input.

    Raises:
        InputError: the name says nothing.
    """
    if name == STDIN:
        return "auto"
    found = _BY_SUFFIX.get(Path(name).suffix.lower())
    if found is None:
        known = " ".join(_BY_SUFFIX)
        raise InputError(f"{name}: the name does not tell the format (known: {known}); say it with --format")
    return found


def check_inputs(names: Iterable[str], format: Format = "auto") -> None:  # noqa: A002 - see open_input
    """See that every input is there and of a known format, before the work on the first begins.

    Raises:
        InputError: naming the first that is not.
    """
    for name in names:
        if name != STDIN:
            os.close(_descriptor(name)[0])
        if format == "auto":
            format_of(name)


def open_input(name: str, text_field: str, format: Format = "auto") -> Input:  # noqa: A002 - the flag is --format
    """Open an input: a path, or `-` for standard input.

    `format` `auto` goes by the end of the name; on standard input a line that begins with `{` is JSON, and
    any other is the text itself.

    Raises:
        InputError: it is not there, is a folder, cannot be read, or its format is unknown.
    """
    chosen = format_of(name) if format == "auto" else format
    if chosen == "parquet":
        return _open_parquet(name, text_field)
    descriptor, shown = _descriptor(name)
    reader = LineReader(descriptor)
    if chosen == "csv":
        items = table_rows(shown, reader, text_field)
    else:
        items = line_rows(shown, reader, {"jsonl": JSON, "txt": TEXT}.get(chosen))
    return Input(shown, _size(descriptor), items, reader, None if name == STDIN else descriptor)


def _open_parquet(name: str, text_field: str) -> Input:
    if name == STDIN:
        raise InputError("stdin: Parquet is read from its end, so it cannot come from a pipe; give a file")
    descriptor, _ = _descriptor(name)
    os.close(descriptor)  # it can be read; pyarrow opens it its own way
    reader = ParquetReader(Path(name), text_field)
    return Input(name, Path(name).stat().st_size, reader, reader)


def _descriptor(name: str) -> tuple[int, str]:
    """Open for reading; the descriptor, and the name to show."""
    if name == STDIN:
        return sys.stdin.fileno(), "stdin"
    try:
        descriptor = os.open(name, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{name}: is a folder")
    return descriptor, name


def _size(descriptor: int) -> int | None:
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
