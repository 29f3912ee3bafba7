"""Opens inputs by name: the formats by their suffixes, folders of parts, pipes and standard input."""

import contextlib
import os
import queue
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from worker.errors import InputError, printable
from worker.tables.csv import CsvReader, place_of
from worker.tables.keep import KeepAll, no_column_to_keep
from worker.tables.lines import JsonReader, LineReader, line_rows
from worker.tables.parquet import ParquetReader
from worker.tables.rows import ALL, JSON, TEXT, BadRow, Cells, Item, Pause, Row, Wanted, listed, to_json
from worker.tables.source import check_encoding

Format = Literal["auto", "jsonl", "txt", "csv", "parquet"]
STDIN = "-"

WRITER_WAIT_S = 5.0
"""How long a named pipe may have no writer."""

_BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass
class Input:
    """One open input. Iterating reads it, once and in bounded memory.

    `name` identifies its rows; `size` is in bytes, None if unknown (a pipe).
    """

    name: str
    size: int | None
    items: Iterable[Item]
    reader: LineReader | ParquetReader
    descriptor: int | None = None
    columns: tuple[str, ...] = ()
    """The columns of a table."""

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self.reader.position

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def close(self) -> None:
        """Close the file. Standard input stays open."""
        if isinstance(self.reader, ParquetReader):
            self.reader.close()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def format_of(name: str) -> Format:
    """Return an input's format by the suffix of its name, before `.gz`; `auto` for standard input.

    Raises:
        InputError: the suffix is unknown, or it is a gzipped Parquet file.
    """
    if name == STDIN:
        return "auto"
    packed = name.lower().endswith(".gz")
    found = _BY_SUFFIX.get(_suffix(name))
    if found is None:
        known = " ".join(_BY_SUFFIX)
        raise InputError(
            f"{printable(name)}: the name does not tell the format "
            f"(known: {known}, all but Parquet also with .gz behind); say it with --format"
        )
    if packed and found == "parquet":
        raise InputError(f"{printable(name)}: Parquet is read from its end: unpack it first")
    return found


def _suffix(name: str) -> str:
    """Return the suffix that determines the format."""
    lower = name.lower().removesuffix(".gz")
    return Path(lower).suffix


def check_inputs(
    names: Iterable[str],
    format: Format = "auto",  # noqa: A002 - see open_input
    encoding: str = "utf-8",
) -> list[str]:
    """Check that every input exists and has a known format, before the work on the first begins.

    Returns:
        The names to open: a folder is replaced by its parts.

    Raises:
        InputError: the first that cannot be read.
    """
    check_encoding(encoding)
    found = []
    for name in names:
        if not name:
            raise InputError("the name of an input is empty; `.` is the current folder")
        for part in parts_of(name, format):
            _check(part)
            if format == "auto":
                format_of(part)
            found.append(part)
    return found


def parts_of(name: str, format: Format = "auto") -> list[str]:  # noqa: A002 - see open_input
    """Return the files of a folder as Spark writes one, or the name itself if it is not a folder.

    The parts are side by side or in folders called `column=value`. Names that begin with `_` or `.` (markers,
    checksums) are not data.

    Raises:
        InputError: a folder with something other than parts of one format in it.
    """
    if name == STDIN or not is_folder(name):
        return [name]
    if (Path(name) / "_delta_log").is_dir():
        raise InputError(
            f"{printable(name)}: is a Delta table, whose log says which files count: write it as Parquet"
        )
    found = list(_parts(Path(name)))
    if not found:
        raise InputError(f"{printable(name)}: is a folder without files of rows")
    if format == "auto" and len({_suffix(part) for part in found}) > 1:
        raise InputError(
            f"{printable(name)}: is a folder with more in it than parts of one format; name the files"
        )
    return found


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder; false also for a name that no file can have."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _parts(folder: Path) -> Iterator[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{printable(str(folder))}: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith(("_", ".")):
            continue
        if not entry.is_dir():
            yield str(entry)
        elif "=" in entry.name:
            yield from _parts(entry)
        else:
            raise InputError(
                f"{printable(str(folder))}: is a folder with other folders in it; name the files"
            )


def open_input(
    name: str,
    wanted: Wanted = ALL,
    format: Format = "auto",  # noqa: A002 - the flag is --format
    encoding: str = "utf-8",
    keep: KeepAll | None = None,
) -> Input:
    """Open an input: a path, or `-` for standard input.

    Each row of a table is an object with the columns that are `wanted`. With `keep` it comes with its kept
    columns as well.

    `format` `auto` goes by the suffix of the name; on standard input a line that begins with `{` is JSON, and
    any other is the text itself.

    Raises:
        InputError: it does not exist, is a folder, cannot be read, or its format is unknown or a column that
            must be there is missing.
    """
    chosen = format_of(name) if format == "auto" else format
    if chosen == "parquet":
        return _open_parquet(name, wanted, keep)
    descriptor = open_descriptor(name)
    called = "stdin" if name == STDIN else _readable(name)
    columns: tuple[str, ...] = ()
    try:
        lines = LineReader(descriptor, name=called, encoding=encoding)
        if chosen == "csv":
            reader = CsvReader(called, lines, wanted.text)
            columns = reader.columns
            items = _table_rows(called, reader, wanted, keep)
        else:
            items = line_rows(printable(called), lines, {"jsonl": JSON, "txt": TEXT}.get(chosen))
    except BaseException:
        if name != STDIN:
            os.close(descriptor)
        raise
    return Input(called, _size(descriptor), items, lines, None if name == STDIN else descriptor, columns)


def open_rows(
    name: str,
    format: Format = "auto",  # noqa: A002 - see open_input
    encoding: str = "utf-8",
    column: str | None = None,
) -> Input:
    """Open an input whose rows become JSON objects with all columns; a line of text becomes `{"text": …}`.

    Lines of JSON stay as they are.

    Raises:
        InputError: see `open_input`; also if it is a table without `column`.
    """
    source = open_input(name, ALL, format, encoding)
    if column is not None and source.columns and column not in source.columns:
        source.close()
        raise InputError(
            f"{printable(source.name)}: no column '{printable(column)}'; there are: {listed(source.columns)}"
        )
    return replace(source, items=map(_text_as_json, source.items))


def _text_as_json(row: Item) -> Item:
    if not isinstance(row, Row) or row.content_type == JSON:
        return row
    if row.content_type is None and row.value.lstrip().startswith(b"{"):
        return row
    return row._replace(value=orjson.dumps({"text": row.value.decode()}), content_type=JSON)


def _open_parquet(name: str, wanted: Wanted, keep: KeepAll | None) -> Input:
    if name == STDIN:
        raise InputError("stdin: Parquet is read from its end, so it cannot come from a pipe; give a file")
    _check(name, regular=True)
    called = _readable(name)
    reader = ParquetReader(Path(name), called)
    items = _table_rows(called, reader, wanted, keep)
    kinds = {column: reader.kind_of(column) for column in wanted.text if reader.has(column)}
    if kinds and "text" not in kinds.values():
        column, kind = next(iter(kinds.items()))
        raise InputError(f"{printable(called)}: the column '{printable(column)}' holds {kind}, not text")
    return Input(called, Path(name).stat().st_size, items, reader, columns=reader.columns)


def _table_rows(
    name: str, reader: CsvReader | ParquetReader, wanted: Wanted, keep: KeepAll | None
) -> Iterator[Item]:
    """Make each row of a table a JSON object with the columns that are wanted.

    Raises:
        InputError: a column that must be there is missing.
    """
    if wanted.text and not any(map(reader.has, wanted.text)):
        raise InputError(
            f"{printable(name)}: {_none_of(wanted.text)}; there are: {listed(reader.columns)} "
            "(choose with --text-field)"
        )
    for ways in wanted.kept:
        if ways and not any(map(reader.has, ways)):
            raise no_column_to_keep(name, ways, reader.columns)
    names = list(reader.top_columns)
    if wanted.others is not None:
        all_ways = [*wanted.text, *(way for ways in wanted.kept for way in ways), *wanted.others]
        names = [column for column in dict.fromkeys(all_ways) if reader.has(column)]
    kept = keep.columns(name, reader.top_columns, reader.has) if keep is not None else {}
    loose = {*names, *kept}.difference(wanted.text)  # a hash beside the text costs no row
    cells = reader.cells([*names, *kept], times_as_text=True, loose=loose)
    return _as_json(names, None if keep is None else list(kept.values()), cells)


def _none_of(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return f"no column `{printable(columns[0])}`"
    return f"none of the columns that may hold the text ({listed(columns)})"


def _as_json(
    names: Sequence[str], kept: Sequence[str] | None, cells: Iterable[Cells | BadRow | Pause]
) -> Iterator[Item]:
    read = len(names)
    for row in cells:
        if isinstance(row, Cells):
            number, place, values = row
            fields = dict(zip(names, values[:read], strict=True))
            others = None if kept is None else dict(zip(kept, values[read:], strict=True))
            yield Row(number, place, to_json(fields), JSON, others)
        else:
            yield row


class Table:
    """A CSV, JSON-lines or Parquet file, or a folder of such parts, which can be read repeatedly.

    `columns` are those of the first part; for JSON lines the fields of its first rows.
    """

    def __init__(self, path: Path, wanted: Sequence[str] = (), encoding: str = "utf-8") -> None:
        """Read the columns. `wanted` are some that it should have: they help to detect the CSV separator.

        `encoding` is that of text files.

        Raises:
            InputError: it does not exist, is unreadable or empty, its suffix is not that of a table, or
                there is no such encoding.
        """
        check_encoding(encoding)
        self.path = path
        self._encoding = encoding
        self._parts = parts_of(str(path))
        self._wanted = tuple(wanted)
        for part in self._parts:
            if format_of(part) == "txt":
                raise InputError(
                    f"{printable(part)}: lines of text are not a table; "
                    "name a CSV, JSON-lines or Parquet file"
                )
        self._part = self._parts[0]
        with self._opened(self._part) as reader:
            self.columns: tuple[str, ...] = reader.columns

    def rows(self, names: Sequence[str]) -> Iterator[Cells | BadRow]:
        """Yield these columns of every row, in bounded memory.

        Raises:
            InputError: a column is missing, or the file cannot be read to its end.
        """
        if format_of(self._parts[0]) == "jsonl":  # where a row may lack what others have
            for name in names:
                place_of(printable(str(self.path)), self.columns, name)
        for part in self._parts:
            self._part = part
            with self._opened(part) as reader:
                for row in reader.cells(names):
                    if not isinstance(row, Pause):
                        yield row

    def place(self, row: Cells | BadRow) -> str:
        """Return the place of the row that was yielded last: file and line, in Parquet the row."""
        unit = "row" if format_of(self._part) == "parquet" else "line"
        return f"{printable(self._part)}, {unit} {row.place}"

    @contextlib.contextmanager
    def _opened(self, part: str) -> Iterator[CsvReader | JsonReader | ParquetReader]:
        _check(part, regular=True)
        if format_of(part) == "parquet":
            with contextlib.closing(ParquetReader(Path(part))) as reader:
                yield reader
            return
        descriptor = open_descriptor(part)
        try:
            lines = LineReader(descriptor, name=part, encoding=self._encoding)
            yield (
                JsonReader(part, lines)
                if format_of(part) == "jsonl"
                else CsvReader(part, lines, self._wanted)
            )
        finally:
            os.close(descriptor)


def open_descriptor(name: str) -> int:
    """Open a file or a pipe for reading; `-` is standard input.

    Raises:
        InputError: it does not exist, cannot be read, is a folder or a device, or a pipe without a writer.
    """
    if name == STDIN:
        if sys.stdin is None:
            raise InputError("stdin: is closed")
        return sys.stdin.fileno()
    if stat.S_ISFIFO(_check(name)):
        return _open_pipe(name)
    try:
        return os.open(name, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{printable(name)}: {error.strerror}") from None


def _check(name: str, *, regular: bool = False) -> int:
    """Return the kind of a file without opening it: opening a pipe would wait for its writer.

    Raises:
        InputError: it does not exist, may not be read, or is not a file or (if `regular`) not one on disk.
    """
    if name == STDIN:
        return stat.S_IFIFO
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(name)}: {getattr(error, 'strerror', None) or error}") from None
    why = None
    if stat.S_ISDIR(mode):
        why = "is a folder"
    elif regular and not stat.S_ISREG(mode):
        why = "is not a file on disk, and this one is read more than once or from its end"
    elif not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or _is_terminal_or_null(name, mode)):
        why = "is a device or a socket, not a file"
    elif not os.access(name, os.R_OK):
        why = "Permission denied"
    if why is not None:
        raise InputError(f"{printable(name)}: {why}")
    return mode


def _is_terminal_or_null(name: str, mode: int) -> bool:
    if not stat.S_ISCHR(mode):
        return False
    return (
        Path(name).samefile(os.devnull)
        or Path(name).resolve().is_relative_to("/dev/pts")
        or name == "/dev/tty"
    )


def _open_pipe(name: str) -> int:
    """Open a named pipe, which waits for a writer, but not for ever."""
    opened: queue.SimpleQueue[int | OSError] = queue.SimpleQueue()

    def wait() -> None:
        try:
            opened.put(os.open(name, os.O_RDONLY))
        except OSError as error:
            opened.put(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        found = opened.get(timeout=WRITER_WAIT_S)
    except queue.Empty:
        os.close(os.open(name, os.O_RDWR))  # be the writer for a moment, which releases the thread
        found = opened.get()
        if isinstance(found, int):
            os.close(found)
            found = OSError(0, f"is a named pipe that nobody has opened for writing in {WRITER_WAIT_S:g} s")
    if isinstance(found, OSError):
        raise InputError(f"{printable(name)}: {found.strerror}")
    return found


def _readable(name: str) -> str:
    """Return a name as Unicode: bytes that are not UTF-8 as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _size(descriptor: int) -> int | None:
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
