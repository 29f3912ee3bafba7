"""Writes labelled rows, which are JSON lines so far, as CSV, Parquet or gzipped files.

Columns of CSV and Parquet are flat: objects and lists of the input are written as JSON text. The rows are
read twice: once for their columns and types, once to write them.
"""

import contextlib
import gzip
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from worker.errors import InputError, OutputError, printable
from worker.tables.keep import KeepAll, KeepSome
from worker.tables.output import Done, FileFormat
from worker.tables.parquet import ParquetReader, import_pyarrow
from worker.tables.rows import cell_text, from_json
from worker.types import ColumnKind

Kind = ColumnKind | Literal["null"]
"""What a column holds; `null` where no row has had a value so far."""

PART_ROWS = 500_000
"""Rows of one part in a folder."""

_GROUP_ROWS = 50_000
_GROUP_BYTES = 32 * 1024 * 1024
_EXACT = 1 << 53
"""Whole numbers up to this are exact as a number with a fraction."""


class FileWriter:
    """Writes the file of a finished run.

    Args:
        ours: our own columns in their order, with what each holds; those that every row has come first.
        optional: those of them that are written only if some row has them.
        known: the names of kept columns that are written even if no row has them.
    """

    def __init__(
        self,
        ours: Mapping[str, ColumnKind],
        optional: Sequence[str] = (),
        known: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._ours = ours
        self._optional = frozenset(optional)
        self._known = known

    def __call__(self, partial: Path, ready: Path, form: FileFormat, done: Done) -> None:
        """Write the rows of `partial` to `ready`: a file, or parts in it if it is a folder."""
        if form.kind == "jsonl":
            _copy_lines(partial, ready, form)
            return
        columns = self.columns(_rows(partial, 0, done.bytes))
        make = _ParquetRows if form.kind == "parquet" else _CsvParts
        with contextlib.closing(make(ready, form, columns)) as parts:
            for rows in _groups(_rows(partial, 0, done.bytes)):
                parts.write(rows)

    def columns(self, rows: Iterable[Mapping[str, Any]], *, kept: bool = True) -> dict[str, Kind]:
        """Return the columns of these rows: the kept ones as they come, then ours."""
        found: dict[str, Kind] = dict.fromkeys(self._known() if kept else (), "null")
        seen, large = set(), set()
        for row in rows:
            for name, value in row.items():
                if name in self._ours:
                    seen.add(name)
                elif kept:
                    kind = _wider(found.get(name, "null"), value)
                    if kind == "long" and abs(value or 0) > _EXACT:
                        large.add(name)
                    found[name] = "string" if kind == "double" and name in large else kind
        written = {name for name in self._ours if name in seen or name not in self._optional}
        return found | {name: kind for name, kind in self._ours.items() if name in written}


class ParquetToParquet(FileWriter):
    """Writes Parquet from Parquet: kept columns are read from the inputs again, with their own types.

    `.partial` holds only our columns then. `source_offset` says which row of the input a line belongs to.
    """

    def __init__(
        self,
        ours: Mapping[str, ColumnKind],
        optional: Sequence[str],
        inputs: Sequence[Path],
        keep: KeepAll | KeepSome,
    ) -> None:
        super().__init__(ours, optional)
        self._inputs = inputs
        self._keep = keep
        self._arrow, self._parquet = import_pyarrow(inputs[0], "writing")

    def kept(self) -> Any:
        """Return the Arrow schema of the kept columns of all inputs.

        Raises:
            InputError: a column is missing, or has types in two files that no type has room for.
        """
        schemas = []
        for path in self._inputs:
            with contextlib.closing(ParquetReader(path)) as reader:
                names = self._keep.columns(str(path), reader.top_columns, reader.has)
                fields = reader.fields(list(names))
                schemas.append(
                    self._arrow.schema(
                        [field.with_name(names[field.name]).with_nullable(True) for field in fields]
                    )
                )
        try:
            return self._arrow.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        except self._arrow.ArrowException as error:
            reason = printable(str(error).partition("\n")[0])
            raise InputError(f"the columns of the inputs differ in their types: {reason}") from None

    def __call__(self, partial: Path, ready: Path, form: FileFormat, done: Done) -> None:
        """Write the file; see `FileWriter`."""
        ours = self.columns(_rows(partial, 0, done.bytes), kept=False)
        kept = self.kept()
        types = self._arrow.schema(
            [*kept, *((name, arrow_type(self._arrow, kind)) for name, kind in ours.items())]
        )
        with contextlib.closing(_ParquetParts(ready, form, types)) as parts:
            start = 0
            for path, end in zip(self._inputs, done.ends, strict=True):
                for table in self._joined(path, _rows(partial, start, end), kept, ours):
                    parts.write_table(table)
                start = end

    def _joined(
        self, path: Path, rows: Iterator[dict[str, Any]], kept: Any, ours: Mapping[str, Kind]
    ) -> Iterator[Any]:
        """Yield tables of one input: for each labelled row its kept columns and ours."""
        arrow = self._arrow
        waiting = next(rows, None)
        first = 0
        with contextlib.closing(ParquetReader(path)) as reader:
            names = self._keep.columns(str(path), reader.top_columns, reader.has)
            if not names:  # nothing to read again
                yield from (
                    arrow.table(arrow_columns(arrow, group, ours))
                    for group in _groups(_with_first(waiting, rows))
                )
                return
            for count, arrays in reader.arrays(list(names)):
                labelled = []
                while waiting is not None and waiting["source_offset"] < first + count:
                    labelled.append(waiting)
                    waiting = next(rows, None)
                places = arrow.array([row["source_offset"] - first for row in labelled], arrow.int64())
                first += count
                if not labelled:
                    continue
                found = dict(zip(names.values(), arrays, strict=True))
                columns = {
                    field.name: _cast(found[field.name].take(places), field.type)
                    if field.name in found
                    else arrow.nulls(len(labelled), field.type)
                    for field in kept
                }
                yield arrow.table(columns | arrow_columns(arrow, labelled, ours))
        if waiting is not None:
            raise OutputError(f"{printable(str(path))}: changed while it was being labelled")


def _cast(array: Any, kind: Any) -> Any:
    """Return an array as one of this type. Arrow casts a dictionary to few types, and few types to one."""
    if array.type == kind:
        return array
    if hasattr(array, "dictionary_decode"):
        array = array.dictionary_decode()
    return array.cast(kind)


def _with_first(first: dict[str, Any] | None, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if first is not None:
        yield first
        yield from rows


def _rows(partial: Path, start: int, end: int) -> Iterator[dict[str, Any]]:
    with partial.open("rb") as stream:
        stream.seek(start)
        while start < end:
            line = stream.readline()
            start += len(line)
            yield from_json(line)


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Gather rows into groups of bounded size."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, str)) + 500
        if len(group) == _GROUP_ROWS or size > _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _wider(kind: Kind, value: Any) -> Kind:
    """Return the kind of a column that held `kind` so far, and now this value."""
    new: Kind
    match value:
        case None:
            return kind
        case bool():
            new = "boolean"
        case int():
            new = "long" if -(1 << 63) <= value < 1 << 63 else "string"
            if kind == "double" and abs(value) <= _EXACT:
                return kind
            if kind == "double":
                return "string"
        case float():
            new = "double"
            if kind == "long":
                return new
        case _:
            new = "string"
    return new if kind in {"null", new} else "string"


def _part_path(ready: Path, form: FileFormat, number: int) -> Path:
    return ready / f"part-{number:05}{form.suffix}" if ready.is_dir() else ready


def _copy_lines(partial: Path, ready: Path, form: FileFormat) -> None:
    """Write JSON lines, gzipped or in parts."""
    number = count = 0
    with partial.open("rb") as source, contextlib.ExitStack() as files:
        target = files.enter_context(_opened(_part_path(ready, form, number), form))
        for line in source:
            if count == PART_ROWS and ready.is_dir():
                files.close()
                number, count = number + 1, 0
                target = files.enter_context(_opened(_part_path(ready, form, number), form))
            target.write(line)
            count += 1


@contextlib.contextmanager
def _opened(path: Path, form: FileFormat) -> Iterator[BinaryIO]:
    with path.open("xb") as raw:
        if not form.gzipped:
            yield raw
            return
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            yield cast("BinaryIO", packed)


class _CsvParts:
    """Writes rows to one CSV file, or to one part of a folder after the other."""

    def __init__(self, ready: Path, form: FileFormat, columns: Mapping[str, Kind]) -> None:
        self._ready, self._form, self._columns = ready, form, list(columns)
        self._number = self._count = 0
        self._writer = self._begin()

    def _begin(self) -> "_CsvWriter":
        return _CsvWriter(_part_path(self._ready, self._form, self._number), self._form, self._columns)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._count and self._count + len(rows) > PART_ROWS and self._ready.is_dir():
            self._writer.close()
            self._number, self._count = self._number + 1, 0
            self._writer = self._begin()
        self._writer.write(rows)
        self._count += len(rows)

    def close(self) -> None:
        self._writer.close()


class _CsvWriter:
    """CSV as RFC 4180 has it, with LF at the end of a line."""

    def __init__(self, path: Path, form: FileFormat, columns: Sequence[str]) -> None:
        self._files = contextlib.ExitStack()
        raw = self._files.enter_context(_opened(path, form))
        self._text = io.TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        self._delimiter = form.delimiter
        # Python's csv module leaves a lone carriage return without quotes.
        self._special = re.compile(f'["\r\n{form.delimiter}]')
        self._columns = columns
        self._line(columns)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._line([cell_text(row.get(name)) or "" for name in self._columns])

    def _line(self, cells: Sequence[str]) -> None:
        quoted = [
            '"' + cell.replace('"', '""') + '"' if self._special.search(cell) else cell for cell in cells
        ]
        self._text.write(self._delimiter.join(quoted) + "\n")

    def close(self) -> None:
        self._text.flush()
        self._text.detach()
        self._files.close()


def arrow_type(arrow: Any, kind: Kind) -> Any:
    """Return the Arrow type of a column."""
    types = {
        "boolean": arrow.bool_(),
        "long": arrow.int64(),
        "double": arrow.float64(),
        "strings": arrow.list_(arrow.string()),
        "ranges": arrow.list_(arrow.list_(arrow.int64())),
    }
    return types.get(kind, arrow.string())


def own_fields(arrow: Any, columns: Mapping[str, Kind]) -> list[Any]:
    """Return the Arrow fields of columns that are not taken from a Parquet file."""
    return [arrow.field(name, arrow_type(arrow, kind)) for name, kind in columns.items()]


def arrow_columns(
    arrow: Any, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]
) -> dict[str, Any]:
    """Return rows as Arrow arrays, one a column."""
    found = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in rows]
        if kind in {"string", "null"}:
            values = [cell_text(value) for value in values]
        found[name] = arrow.array(values, arrow_type(arrow, kind))
    return found


class _ParquetParts:
    """Writes Arrow tables of one schema to one file, or to one part of a folder after the other."""

    def __init__(self, ready: Path, form: FileFormat, schema: Any) -> None:
        self._arrow, self._parquet = import_pyarrow(ready, "writing")
        self._ready, self._form, self._schema = ready, form, schema
        self._number = self._count = self._held = 0
        self._tables: list[Any] = []
        self._writer = self._begin()

    def _begin(self) -> Any:
        return self._parquet.ParquetWriter(_part_path(self._ready, self._form, self._number), self._schema)

    def write_table(self, table: Any) -> None:
        self._tables.append(table.cast(self._schema))
        self._held += table.nbytes
        if self._held > _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        table = self._arrow.concat_tables(self._tables)
        self._tables, self._held = [], 0
        if self._count and self._count + table.num_rows > PART_ROWS and self._ready.is_dir():
            self._writer.close()
            self._number, self._count = self._number + 1, 0
            self._writer = self._begin()
        self._writer.write_table(table)
        self._count += table.num_rows

    def close(self) -> None:
        self._flush()
        self._writer.close()


class _ParquetRows:
    """Writes rows to one Parquet file."""

    def __init__(self, path: Path, form: FileFormat, columns: Mapping[str, Kind]) -> None:
        self._arrow, _ = import_pyarrow(path, "writing")
        self._columns = columns
        self._parts = _ParquetParts(path, form, self._arrow.schema(own_fields(self._arrow, columns)))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._parts.write_table(self._arrow.table(arrow_columns(self._arrow, rows, self._columns)))

    def close(self) -> None:
        self._parts.close()
