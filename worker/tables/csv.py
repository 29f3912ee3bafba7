"""CSV tables with any common separator: the dialect, the columns, the rows."""

import contextlib
import csv
import itertools
import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.errors import InputError, printable
from worker.tables.lines import MAX_LINE_BYTES, Line, bad_bytes, too_long
from worker.tables.rows import BadRow, Cells, Pause, listed, unnamed

MAX_RECORD_LINES = 1_000
"""Lines that one row may span. A quote that is open for longer was never meant to be one."""

_DELIMITERS = (",", "\t", ";", "|")
_TABS = re.compile(r"\.(?:tsv|tab)(?:\.gz)?$", re.IGNORECASE)
_SNIFFED_LINES = 200
_SNIFFED_CHARACTERS = 1_000_000
_SNIFFED_RECORDS = 64


class Dialect(NamedTuple):
    """What the csv module needs to know."""

    delimiter: str = ","
    backslash: bool = False
    r"""A quote within a quoted field is written `\"`, and a backslash `\\` (Spark, MySQL); not doubled."""
    quotes: bool = True
    """Fields may be quoted; in tab-separated files a quote is often just a quote."""

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Return a reader. It raises csv.Error for a quote that never closes or is closed too early."""
        return csv.reader(
            _doubled(lines, self.delimiter) if self.backslash else lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
            strict=self.quotes,
        )


def _doubled(lines: Iterator[str], delimiter: str) -> Iterator[str]:
    """Write the quotes within quoted fields doubled instead of with a backslash.

    The csv module would drop every backslash, and read on after one at the end of a line.
    """
    inside = False
    for line in lines:
        if "\\" not in line and '"' not in line:
            yield line
            continue
        written, inside = _doubled_line(line, delimiter, inside=inside)
        yield written


def _doubled_line(line: str, delimiter: str, *, inside: bool) -> tuple[str, bool]:
    """Return a line with doubled quotes, and whether a field is open at its end."""
    found: list[str] = []
    at, begins = 0, not inside
    while at < len(line):
        sign = line[at]
        if inside and sign == "\\" and line[at + 1 : at + 2] in {'"', "\\"}:
            at += 1
            found.append('""' if line[at] == '"' else "\\")
        else:
            if sign == '"' and (inside or begins):
                inside = not inside
            begins = sign == delimiter and not inside
            found.append(sign)
        at += 1
    return "".join(found), inside


_DOUBLED = tuple(Dialect(delimiter) for delimiter in _DELIMITERS)
_BACKSLASH = tuple(Dialect(delimiter, backslash=True) for delimiter in _DELIMITERS)
_BARE = (Dialect("\t", quotes=False),)


def sniff(lines: Sequence[str], wanted: Sequence[str] = (), *, tabs: bool = False) -> Dialect:
    """Return the dialect of these first lines of a file, the header first. `tabs` is what its name says.

    The best dialect finds most of the `wanted` columns, then has most records as wide as the header, then
    finds most columns. On a tie the first one wins: doubled quotes, then backslashes, then no quotes.
    """
    # With backslashes, doubled quotes are read as well, so that dialect is tried only if there are any.
    backslash = _BACKSLASH if any('\\"' in line for line in lines) else ()
    dialects = sorted((*_DOUBLED, *backslash, *_BARE), key=lambda each: tabs and each.delimiter != "\t")
    return max(dialects, key=lambda dialect: _fit(dialect, lines, wanted))


def _fit(dialect: Dialect, lines: Sequence[str], wanted: Sequence[str]) -> tuple[int, float, int]:
    header, even, records, named = 0, 0, 0, 0
    try:
        for record in itertools.islice(dialect.reader(iter(lines)), _SNIFFED_RECORDS + 1):
            if not header:
                header = len(record) if any(name.strip() for name in record) else 0
                named = len({name.strip() for name in record} & set(wanted))
            elif record:
                records += 1
                even += len(record) == header
    except csv.Error:
        records += 1
    if header < 2:
        return named, 0.0, header if dialect.quotes else 0
    return named, even / max(1, records), header


class CsvReader:
    """A table in text: a line of column names, then one row per line, or over several if a field is quoted.

    Blank lines are not rows. Quotes are read strictly. If the lines of a row make no sense together, the row
    is bad and reading goes on in the line after its first one: a quote that never closes costs one row.
    """

    def __init__(self, name: str, lines: Iterable[Line | None], wanted: Sequence[str] = ()) -> None:
        """Detect the dialect and read the column names.

        `wanted` are columns that the table should have: they help to detect the separator.

        Raises:
            InputError: there is no header, it cannot be read, or it has one name twice.
        """
        csv.field_size_limit(MAX_LINE_BYTES)  # the csv module has one limit for everybody
        self._name = printable(name)
        self._lines = _RecordLines(lines)
        first = self._lines.look_ahead()
        if not first:
            raise InputError(f"{self._name}: is empty; a table begins with a line of column names")
        self.dialect = sniff(first, wanted, tabs=_TABS.search(name) is not None)
        self._records = self.dialect.reader(self._lines)
        self.columns = self._header()

    @property
    def top_columns(self) -> tuple[str, ...]:
        """The columns; none lies within another."""
        return self.columns

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in self.columns

    def cells(
        self,
        names: Sequence[str],
        *,
        times_as_text: bool = True,  # noqa: ARG002 - all is text here; as in the Parquet reader
        loose: Collection[str] = (),  # noqa: ARG002 - the same
    ) -> Iterator[Cells | BadRow | Pause]:
        """Yield these columns of every row, as text.

        Raises:
            InputError: one of them is not there.
        """
        places = [place_of(self._name, self.columns, name) for name in names]
        number, width, lines = 0, len(self.columns), self._lines
        while True:
            lines.taken.clear()
            try:
                record = next(self._records, None)
            except _Silence:
                yield Pause()
                continue
            except (csv.Error, _Unreadable) as error:
                yield BadRow(number, lines.taken[0].number, self._reason(error))
                number += 1
                self._resume()
                continue
            if record is None:
                return
            if not record or (width > 1 and len(record) == 1 and not record[0].strip()):
                continue
            place = lines.taken[0].number
            if lines.bad_bytes:
                yield BadRow(number, place, lines.bad_bytes)
                lines.bad_bytes = ""
            elif self._swallows_rows(record):
                yield BadRow(number, place, self._reason(csv.Error("rows in quotes")))
                self._resume()
            elif len(record) != width:
                # An unquoted separator inside a text looks like this, and would cut the text.
                yield BadRow(
                    number, place, f"the row has {_fields(len(record))}, the header {_fields(width)}"
                )
            else:
                yield Cells(number, place, tuple([record[place] for place in places]))
            number += 1

    def _header(self) -> tuple[str, ...]:
        record: list[str] | None = []
        try:
            while record is not None and not any(name.strip() for name in record):
                self._lines.taken.clear()
                record = next(self._records, None)
        except (csv.Error, _Unreadable) as error:
            line = self._lines.taken[0].number
            raise InputError(
                f"{self._name}: the line of column names (line {line}) cannot be read: {self._reason(error)}"
            ) from None
        if self._lines.bad_bytes:
            raise InputError(f"{self._name}: the line of column names is {self._lines.bad_bytes}")
        columns = [name.strip() for name in record or ()]
        twice = [name for name, count in Counter(columns).items() if name and count > 1]
        if twice:
            raise InputError(f"{self._name}: the column '{printable(twice[0])}' occurs twice")
        for place, name in enumerate(columns):  # pandas leaves the name of its index empty
            columns[place] = name or unnamed(place, columns)
        return tuple(columns)

    def _resume(self) -> None:
        """Read all lines of the row again except its first one, with a reader that is in no field."""
        self._lines.resume()
        self._records = self.dialect.reader(self._lines)

    def _swallows_rows(self, record: Sequence[str]) -> bool:
        """Whether most lines after the first are rows by themselves, swallowed by a quote that opens there.

        Where the record is as wide as the table, only with tabs: a text of several lines may have commas. The
        last line may be the rest of a text, so it counts only where the record is not as wide.
        """
        width, taken = len(self.columns), self._lines.taken
        lines = taken[1:-1]
        if len(record) != width:
            lines = lines or taken[1:]
        elif self.dialect.delimiter != "\t":
            return False
        if width < 2 or not lines:
            return False
        count = 0
        for line in lines:
            with contextlib.suppress(csv.Error):
                text = (line.value or b"").decode("utf-8", "replace")
                count += len(next(self.dialect.reader(iter([text])))) == len(self.columns)
        return 2 * count > len(lines)

    def _reason(self, error: Exception) -> str:
        """Return why the lines taken are not a row; for an open quote also the line in which it opens."""
        taken, backslash = self._lines.taken, self.dialect.backslash
        if taken[0].value is None:
            return too_long()
        if isinstance(error, _Unreadable):
            opened = _open_since(taken, backslash)
            return f"the quote that opens in line {opened} is not closed in {len(taken)} lines"
        if "unexpected end" in str(error):
            return f"the quote that opens in line {_open_since(taken, backslash)} is never closed"
        if len(taken) > 1:
            opened = _open_since(taken[:-1], backslash)
            return f"the quote that opens in line {opened} closes in line {taken[-1].number} within a field"
        if "new-line character" in str(error):
            return "not CSV: a carriage return in a field without quotes"
        return f"not CSV: {printable(str(error))}"


class _Silence(Exception):
    """The input is silent between two rows."""


class _Unreadable(Exception):
    """A row is longer than one may be."""


class _RecordLines:
    """The lines that the csv module reads, as text; remembers those of the row that it is in."""

    def __init__(self, lines: Iterable[Line | None]) -> None:
        self._lines = iter(lines)
        self._again: deque[Line | None] = deque()
        self.taken: list[Line] = []
        """Lines of the row so far."""
        self.bad_bytes = ""
        """Why one of them is not UTF-8."""
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        taken = self.taken
        while (line := self._again.popleft() if self._again else next(self._lines)) is None:
            if not taken:
                raise _Silence  # within a row there is nothing to do but wait
        if not taken:
            self._size = 0
        taken.append(line)
        if line.value is None:
            raise _Unreadable(too_long())
        self._size += len(line.value)
        if len(taken) > MAX_RECORD_LINES or (len(taken) > 1 and self._size > MAX_LINE_BYTES):
            raise _Unreadable
        try:
            return line.value.decode()
        except UnicodeDecodeError:
            self.bad_bytes = bad_bytes(line.value) or ""
            return line.value.decode("utf-8", "replace")

    def look_ahead(self) -> list[str]:
        """Return the first lines, as far as they have arrived. All but blank ones are read again."""
        found, size = list[str](), 0
        for line in self._lines:
            if line is None:
                if found:
                    self._again.append(None)
                    break
                continue
            if line.value is not None and not found and not line.value.strip():
                continue
            self._again.append(line)
            found.append("" if line.value is None else line.value.decode("utf-8", "replace"))
            size += len(found[-1])
            if len(found) == _SNIFFED_LINES or size > _SNIFFED_CHARACTERS:
                break
        return found

    def resume(self) -> None:
        """Read all lines of the row again except its first one."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.bad_bytes = ""


def place_of(name: str, columns: Sequence[str], wanted: str) -> int:
    """Return the index of a column.

    Raises:
        InputError: there is no such column; the message names those that there are.
    """
    if wanted not in columns:
        raise InputError(f"{name}: no column '{printable(wanted)}'; there are: {listed(columns)}")
    return columns.index(wanted)


def _open_since(lines: Sequence[Line], backslash: bool) -> int:
    """Return the number of the line that opens the quote which is still open after these lines."""
    opened, inside = lines[0].number, False
    for line in lines:
        value = line.value or b""
        if backslash:
            value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
        for _ in range(value.replace(b'""', b"").count(b'"')):
            inside = not inside
            if inside:
                opened = line.number
    return opened


def _fields(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'}"
