"""Parquet, a few rows at a time (extra `parquet`)."""

import faulthandler
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from worker.errors import InputError, printable
from worker.expressions import MISSING, follow
from worker.tables.lines import MAX_LINE_BYTES
from worker.tables.pages import unpacked_size
from worker.tables.rows import BadRow, Cells, listed

_MOST_ROWS = 512
_BATCH_BYTES = 8 * 1024 * 1024
_FEW_ROWS = 16
_SMALL_CHUNK = 32 * 1024 * 1024
"""Size of a row group's columns up to which dictionaries are kept; they take about six times as much."""

_UNFOLDED_BYTES = 32 * 1024 * 1024
"""Size of repeated values up to which the rows of a batch become Python objects together. Bytes."""

_LARGE_CHUNK = 256 * 1024 * 1024
_LIKELY_RATIO = 100
"""Text compresses to a tenth at best: large data at a hundredth was made to fill the memory."""


_LONGEST_STRING, _LONGEST_LIST = 100_000_000, 1_000_000
"""The most that pyarrow reads of a string and a list in a footer."""


class _Leaf(NamedTuple):
    """What is read for a column: a field of structs, and within it items of lists."""

    top: str
    read: str
    """Its path in the file, as far as it goes through structs."""
    fields: tuple[str, ...]
    items: tuple[str, ...]
    kind: Any


def _describable(metadata: Any) -> bool:
    """Whether pyarrow can describe each column of each row group.

    Where a damaged footer keeps it from that, it ends the process instead of raising (`std::terminate`), so a
    forked child asks first.
    """
    if not hasattr(os, "fork"):
        return True
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the library's last words
            faulthandler.disable()  # and a stack that nobody asked for
            for group in range(metadata.num_row_groups):
                for place in range(metadata.num_columns):
                    metadata.row_group(group).column(place)
        finally:
            os._exit(0)  # what is raised, the parent meets again
    return not os.WIFSIGNALED(os.waitpid(child, 0)[1])


def import_pyarrow(path: Path, doing: str = "reading") -> tuple[Any, Any]:
    """Return the modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra, and 50 MB of memory: only for those who use Parquet
        import pyarrow.compute  # noqa: PLC0415 - see above
        import pyarrow.parquet as parquet  # noqa: PLC0415, PLR0402 - see above
    except ImportError:
        raise InputError(
            f"{printable(str(path))}: {doing} Parquet needs: pip install 'moodstream[parquet]'"
        ) from None
    return arrow, parquet


class ParquetReader:
    """A Parquet file as a table. A dot in a column's name goes into a struct, a number into a list.

    Memory is bounded: rows are read a few at a time, about 8 MiB of them by the sizes that the file states;
    and what a small row group repeats is kept once, as the file's own dictionary.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        """Open the file and read what is in it.

        Raises:
            InputError: pyarrow is not installed, or the file is not Parquet.
        """
        arrow, parquet = import_pyarrow(path)
        self._arrow, self._compute, self._parquet = arrow, arrow.compute, parquet
        self._errors: tuple[type[Exception], ...] = (arrow.ArrowException, OSError, UnicodeDecodeError)
        self._path, self._name = path, printable(name or str(path))
        self._size = path.stat().st_size
        self.position = 0
        """Bytes, in proportion to the rows read."""
        self._file = self._opened()
        self._repeated: Any = None
        twice = [name for name, count in Counter(self._schema.names).items() if count > 1]
        if twice:
            raise InputError(f"{self._name}: the column '{printable(twice[0])}' occurs twice")

    @property
    def top_columns(self) -> tuple[str, ...]:
        """The columns of the table itself; a struct is one column."""
        return tuple(self._schema.names)

    def has(self, column: str) -> bool:
        """Whether there is such a column, at the top or within others."""
        return self._leaf(column) is not None

    def kind_of(self, column: str) -> str:
        """Return what a column holds as far as text is concerned: `text`, `list`, or the name of its type."""
        types, leaf = self._arrow.types, self._leaf(column)
        if leaf is None:
            return "nothing"
        kind = leaf.kind.value_type if types.is_dictionary(leaf.kind) else leaf.kind
        if _is_text(types, kind) or types.is_null(kind):
            return "text"
        return str(kind)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._repeated is not None:
            self._repeated.close()

    def cells(
        self, names: Sequence[str], *, times_as_text: bool = False, loose: Collection[str] = ()
    ) -> Iterator[Cells | BadRow]:
        r"""Yield these columns of every row. `times_as_text` writes dates and times in ISO 8601.

        Bytes of `loose` columns that are no text are written as `\xff`; those of others make a bad row.

        Raises:
            InputError: one of them is not there, the file is damaged, or a row group is too large to unpack.
        """
        leaves = self._leaves_of(names)
        strict = [name not in loose for name in names]
        number, total = 0, max(1, self._file.metadata.num_rows)
        for batch in self._batches(leaves):
            may_be_long = batch.nbytes > MAX_LINE_BYTES
            for values in self._records(batch, leaves, times_as_text=times_as_text, strict=strict):
                if isinstance(values, str):
                    yield BadRow(number, number + 1, f"the row is {values}")
                elif may_be_long and _too_long(values):
                    reason = f"the row has a text of more than {MAX_LINE_BYTES} bytes"
                    yield BadRow(number, number + 1, reason)
                else:
                    yield Cells(number, number + 1, values)
                number += 1
            self.position = self._size * number // total

    def fields(self, names: Sequence[str]) -> list[Any]:
        """Return the Arrow field of each of these columns.

        Raises:
            InputError: one of them is not there, or lies within a list.
        """
        for leaf, name in zip(self._leaves_of(names), names, strict=True):
            if leaf.items:
                raise InputError(
                    f"{self._name}: the column '{printable(name)}' lies within a list, and cannot be kept "
                    "in a Parquet file"
                )
        return [
            self._arrow.field(name, leaf.kind)
            for leaf, name in zip(self._leaves_of(names), names, strict=True)
        ]

    def arrays(self, names: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
        """Yield these columns batch by batch as Arrow arrays of their own types, with the number of rows.

        Raises:
            InputError: see `cells` and `fields`.
        """
        self.fields(names)
        leaves = self._leaves_of(names)
        for batch in self._batches(leaves):
            yield batch.num_rows, self._arrays(batch, leaves)

    def _leaves_of(self, names: Sequence[str]) -> list[_Leaf]:
        leaves = []
        for name in names:
            leaf = self._leaf(name)
            if leaf is None:
                raise InputError(
                    f"{self._name}: no column '{printable(name)}'; there are: {listed(self.columns)}"
                )
            leaves.append(leaf)
        return leaves

    def _batches(self, leaves: Sequence[_Leaf]) -> Iterator[Any]:
        """Yield record batches of bounded size.

        Raises:
            InputError: the file is damaged, or a row group is too large to unpack.
        """
        read, number = [leaf.read for leaf in leaves], 0
        try:
            for group in range(self._file.metadata.num_row_groups):
                if self._file.metadata.row_group(group).num_rows <= 0:
                    continue
                file, rows = self._how_to_read(group, read)
                for batch in file.iter_batches(
                    rows, row_groups=[group], columns=list(dict.fromkeys(read)), use_threads=False
                ):
                    yield batch
                    number += batch.num_rows
        except self._errors as error:
            raise InputError(f"{self._name}: damaged after row {number}: {_first_line(error)}") from None

    def _arrays(self, batch: Any, leaves: Sequence[_Leaf]) -> list[Any]:
        """Return the array of each leaf of a batch.

        Raises:
            InputError: a value names an entry that its dictionary does not have.
        """
        arrays = []
        for leaf in leaves:
            array = batch.column(batch.schema.get_field_index(leaf.top))
            self._check_entries(array)
            arrays.append(self._compute.struct_field(array, list(leaf.fields)) if leaf.fields else array)
        return arrays

    def _check_entries(self, array: Any) -> None:
        """Make sure that every value lies inside its dictionary: pyarrow itself would read outside of it."""
        types = self._arrow.types
        if types.is_dictionary(array.type):
            bounds = self._compute.min_max(array.indices).as_py()
            if bounds["max"] is not None and not 0 <= bounds["min"] <= bounds["max"] < len(array.dictionary):
                raise InputError(f"{self._name}: damaged: a value is not in the dictionary of its column")
        elif types.is_struct(array.type):
            for place in range(array.type.num_fields):
                self._check_entries(array.field(place))
        elif types.is_list(array.type) or types.is_large_list(array.type):
            self._check_entries(array.values)

    def _opened(self) -> Any:
        try:
            # No string and no list in the footer is longer than the file.
            file = self._parquet.ParquetFile(
                self._path,
                thrift_string_size_limit=min(max(1, self._size), _LONGEST_STRING),
                thrift_container_size_limit=min(max(1, self._size), _LONGEST_LIST),
            )
            if not _describable(file.metadata):
                raise InputError(f"{self._name}: damaged: its footer cannot be read")
            self._schema: Any = file.schema_arrow
            self.columns: tuple[str, ...] = tuple(
                name for field in self._schema for name in _leaves(self._arrow.types, field.type, field.name)
            )
        except self._errors as error:
            raise InputError(f"{self._name}: is not a Parquet file: {_first_line(error)}") from None
        return file

    def _leaf(self, column: str) -> _Leaf | None:
        """Return what to read for a column. In a struct that is only the field."""
        types = self._arrow.types
        if column in self._schema.names:
            return _Leaf(column, column, (), (), self._schema.field(column).type)
        first, *steps = column.split(".")
        if first not in self._schema.names:
            return None
        kind = self._schema.field(first).type
        fields: list[str] = []
        while steps and types.is_struct(kind) and kind.get_field_index(steps[0]) >= 0:
            kind = kind.field(steps[0]).type
            fields.append(steps.pop(0))
        read, items = ".".join([first, *fields]), tuple(steps)
        for step in items:
            if types.is_struct(kind) and kind.get_field_index(step) >= 0:
                kind = kind.field(step).type
            elif (types.is_list(kind) or types.is_large_list(kind)) and step.isdigit():
                kind = kind.value_type
            else:
                return None
        return _Leaf(first, read, tuple(fields), items, kind)

    def _how_to_read(self, group: int, leaves: Sequence[str]) -> tuple[Any, int]:
        """Return the file object for these columns of a row group, and how many rows to read at once.

        Raises:
            InputError: the stated uncompressed size is implausibly large.
        """
        metadata = self._file.metadata.row_group(group)
        total = most_repeated = 0
        for place in range(metadata.num_columns):
            chunk = metadata.column(place)
            path = chunk.path_in_schema
            if not any(path == leaf or path.startswith(f"{leaf}.") for leaf in leaves):
                continue
            size = self._unpacked(chunk, f"row group {group + 1} of the column '{printable(path)}'")
            packed = max(1, chunk.total_compressed_size)
            if size > _LARGE_CHUNK and size > _LIKELY_RATIO * packed:
                raise InputError(
                    f"{self._name}: row group {group + 1} of the column '{printable(path)}' unpacks from "
                    f"{packed:,} to {size:,} bytes: too much at once; write the file in smaller row groups"
                )
            total += size
            if "DELTA_BYTE_ARRAY" in chunk.encodings:  # each value may repeat the one before it
                most_repeated = max(most_repeated, size)
            if chunk.has_dictionary_page:
                dictionary = chunk.data_page_offset - (chunk.dictionary_page_offset or 0)
                most_repeated = max(most_repeated, dictionary)
        rows = min(_MOST_ROWS, _BATCH_BYTES * metadata.num_rows // max(1, total))
        if total <= _SMALL_CHUNK:
            return self._with_dictionaries(leaves), max(1, rows)
        # Each row may have the longest of the repeated values, of which only the packed size is known.
        return self._file, max(1, min(rows, max(_FEW_ROWS, _BATCH_BYTES // max(1, most_repeated))))

    def _unpacked(self, chunk: Any, where: str) -> int:
        """Return the bytes that a column chunk unpacks to, by its footer or its pages, whichever says more.

        Memory is planned by the footer, but pyarrow takes as much as the header of a page says.

        Raises:
            InputError: the chunk lies outside of the file, or its pages cannot be read.
        """
        start = chunk.data_page_offset
        if chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        end = start + chunk.total_compressed_size
        if start < 0 or chunk.total_compressed_size < 0 or end > self._size:
            raise InputError(f"{self._name}: damaged: {where} lies outside of the file")
        unpacked = unpacked_size(self._path, start, end)
        if unpacked is None:
            raise InputError(f"{self._name}: damaged: {where} has a page that cannot be read")
        return max(unpacked, int(chunk.total_uncompressed_size))

    def _records(
        self, batch: Any, leaves: Sequence[_Leaf], *, times_as_text: bool, strict: Sequence[bool]
    ) -> Iterator[tuple[Any, ...] | str]:
        """Yield the wanted values of each row of a batch, or why it has none."""
        arrays = self._arrays(batch, leaves)
        if times_as_text:
            arrays = [self._times_as_text(array) for array in arrays]
        try:
            if sum(map(self._unfolded, arrays)) <= _UNFOLDED_BYTES:
                columns = [
                    [_plain(value, leaf.items, strict=text) for value in self._values(array)]
                    for leaf, array, text in zip(leaves, arrays, strict, strict=True)
                ]
                yield from zip(*columns, strict=True)
                return
        except (ValueError, OverflowError):
            pass  # in some row, which is found below
        for place in range(batch.num_rows):
            try:
                yield tuple(
                    [
                        _plain(array[place].as_py(), leaf.items, strict=text)
                        for leaf, array, text in zip(leaves, arrays, strict, strict=True)
                    ]
                )
            except UnicodeDecodeError:
                yield "not UTF-8"
            except (ValueError, OverflowError) as error:  # a time that Python cannot hold
                yield f"a value that cannot be read: {_first_line(error)}"

    def _times_as_text(self, array: Any) -> Any:
        """Write times that Python may not be able to hold (nanoseconds, the year 50,000) as text."""
        arrow, types = self._arrow, self._arrow.types
        if types.is_duration(array.type):
            return array.cast(arrow.int64())
        if not types.is_temporal(array.type):
            return array
        if types.is_timestamp(array.type) and array.type.tz is not None:
            array = array.cast(arrow.timestamp(array.type.unit, "UTC"))
        try:
            text = array.cast(arrow.string())
        except arrow.ArrowInvalid:  # a year that Arrow does not print either
            return array.cast(arrow.int32() if types.is_date32(array.type) else arrow.int64())
        return self._compute.replace_substring(text, " ", "T") if types.is_timestamp(array.type) else text

    def _unfolded(self, array: Any) -> int:
        """Return how many bytes the repeated values of a batch are when each is written out."""
        if not self._arrow.types.is_dictionary(array.type) or not _is_text(
            self._arrow.types, array.type.value_type
        ):
            return 0
        lengths = self._compute.binary_length(array.dictionary)
        total: int | None = self._compute.sum(self._compute.take(lengths, array.indices)).as_py()
        return total or 0

    def _values(self, array: Any) -> list[Any]:
        if self._arrow.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        values: list[Any] = array.to_pylist()
        return values

    def _with_dictionaries(self, leaves: Sequence[str]) -> Any:
        """Return the file, opened so that texts are read as dictionaries, in which each occurs once."""
        if self._repeated is None:
            schema = self._file.schema
            found = [schema.column(place) for place in range(len(schema))]
            texts = [
                column.path
                for column in found
                if column.physical_type == "BYTE_ARRAY"
                and column.path in leaves
                and column.max_repetition_level == 0
            ]
            self._repeated = self._parquet.ParquetFile(self._path, read_dictionary=texts)
        return self._repeated


def _leaves(types: Any, kind: Any, name: str) -> Iterator[str]:
    """Yield the name of a column, or for a struct the names of its fields."""
    if types.is_struct(kind) and kind.num_fields:
        for place in range(kind.num_fields):
            yield from _leaves(types, kind.field(place).type, f"{name}.{kind.field(place).name}")
    else:
        yield name


def _is_text(types: Any, kind: Any) -> bool:
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(types, f"is_{name}")(kind) for name in names if hasattr(types, f"is_{name}"))


def _plain(value: Any, items: Sequence[str], *, strict: bool) -> Any:
    """Return a value, or what is at these steps in it; bytes as text, because Spark writes text that way.

    Raises:
        UnicodeDecodeError: they are no text, and `strict`.
    """
    for step in items:
        value = follow(value, step)
        if value is MISSING:
            return None
    if not isinstance(value, bytes):
        return value
    return value.decode(errors="strict" if strict else "backslashreplace")


def _too_long(values: tuple[Any, ...]) -> bool:
    return any(isinstance(value, str) and len(value) > MAX_LINE_BYTES for value in values)


def _first_line(error: Exception) -> str:
    return printable(str(error).partition("\n")[0])
