"""Lines of UTF-8 from a file or a pipe, plain or gzipped, with a limit on the size of a line."""

import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from worker.errors import InputError, printable
from worker.expressions import Path
from worker.tables.rows import JSON, BadRow, Cells, Item, Pause, Row
from worker.tables.source import ByteSource

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longer lines are skipped. Kafka's own limit for a message is 1 MiB unless it was raised."""

_PATIENCE_S = 0.05


class Line(NamedTuple):
    """One line with its number from 1 and its end. `value` is None when it was too long to keep."""

    number: int
    value: bytes | None


class LineReader:
    r"""Splits the data of a file descriptor into lines, and counts the bytes of those it has yielded.

    Iterating gives a `Line` each, and None whenever a pipe or terminal has been silent for 50 ms, so that
    `tail -f posts.jsonl | moodstream label -` answers at once.

    A line ends with LF or CRLF; if the first one ends with a lone CR, a CR ends a line too, as old Macs and
    some spreadsheets write it. Gzip is detected by the content, not the name. A byte order mark is dropped.
    """

    def __init__(
        self,
        descriptor: int,
        max_bytes: int = MAX_LINE_BYTES,
        *,
        name: str = "input",
        encoding: str = "utf-8",
    ) -> None:
        self._max_bytes = max_bytes
        self._source = ByteSource(descriptor, printable(name), encoding)
        self._handed = 0

    @property
    def position(self) -> int:
        """Bytes of the lines yielded so far; for compressed or recoded input, the bytes read so far."""
        return self._source.skipped + self._handed if self._source.plain else self._source.read_bytes

    def __iter__(self) -> Iterator[Line | None]:
        """Yield the lines.

        Raises:
            InputError: reading fails, or the content is packed or encoded in another way.
        """
        number, kept, size, silent = 0, list[bytes](), 0, True
        cutter, chunks = _Cutter(), self._source.chunks()
        while True:
            if not silent and not self._source.ready(_PATIENCE_S):
                silent = True
                yield None
            chunk = next(chunks, b"")
            silent = False
            for piece in cutter.cut(chunk):
                size += len(piece)
                if not piece.endswith(b"\n") and not (cutter.lone_returns and piece.endswith(b"\r")):
                    if size <= self._max_bytes + 1:  # its end may be in two pieces
                        kept.append(piece)
                    else:
                        kept.clear()
                    continue
                number += 1
                self._handed += size
                if size <= self._max_bytes and not kept:
                    yield Line(number, piece)
                else:
                    yield self._line(number, kept, piece, size)
                    kept = []
                size = 0
            if not chunk:
                break
        if size:
            self._handed += size
            yield self._line(number + 1, kept, b"", size)

    def _line(self, number: int, kept: list[bytes], last: bytes, size: int) -> Line:
        value = b"".join((*kept, last)) if kept else last
        # Nothing was kept of a line that grew too long.
        whole = len(value) == size and (size <= self._max_bytes or len(without_end(value)) <= self._max_bytes)
        return Line(number, value if whole else None)


def without_end(line: bytes) -> bytes:
    """Return a line without its LF, CRLF or CR."""
    if line.endswith(b"\n"):
        line = line[:-1]
    return line.removesuffix(b"\r")


class _Cutter:
    """Cuts chunks after each line end. The last piece of a chunk may be the beginning of a line."""

    _FIRST_END = re.compile(rb"[\r\n]")

    def __init__(self) -> None:
        self.lone_returns: bool | None = None
        """Whether a lone CR ends a line, as it did the first line; None before the first line end."""
        self._held = b""

    def cut(self, chunk: bytes) -> list[bytes]:
        """Cut a chunk; an empty one is the end of the input."""
        last = not chunk
        chunk, self._held = self._held + chunk, b""
        if self.lone_returns is None and (found := self._FIRST_END.search(chunk)):
            if chunk[found.start() :] == b"\r" and not last:  # an LF may follow
                chunk, self._held = chunk[: found.start()], b"\r"
                return [chunk] if chunk else []
            self.lone_returns = found[0] == b"\r" and chunk[found.end() : found.end() + 1] != b"\n"
        if not self.lone_returns:
            return io.BytesIO(chunk).readlines()
        if chunk.endswith(b"\r") and not last:
            chunk, self._held = chunk[:-1], b"\r"
        return chunk.splitlines(keepends=True)


def bad_bytes(line: bytes) -> str | None:
    """Return why a line is not UTF-8, or None if it is."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        byte = line[error.start : error.start + 1]
        letter = printable(byte.decode("windows-1252", "replace"))
        return (
            f"not UTF-8: byte 0x{byte.hex()} at position {error.start}; in Latin-1 (Windows-1252) that is "
            f"{letter!r}: recode the file with iconv, or label it with --encoding windows-1252"
        )
    return None


def line_rows(name: str, lines: Iterable[Line | None], content_type: str | None) -> Iterator[Item]:
    """Make each line a row. Blank lines are skipped.

    Raises:
        InputError: JSON lines are expected, and the input is one JSON document.
    """
    index = 0
    for line in lines:
        if line is None:
            yield Pause()
            continue
        if line.value is None:
            yield BadRow(index, line.number, too_long())
            index += 1
            continue
        value = without_end(line.value)
        if not value or value.isspace():
            continue
        if index == 0 and content_type == JSON:
            refuse_document(name, value)
        reason = bad_bytes(value)
        yield BadRow(index, line.number, reason) if reason else Row(index, line.number, value, content_type)
        index += 1


def too_long() -> str:
    """Return the reason for a line that was not kept."""
    return f"the line is longer than {MAX_LINE_BYTES} bytes"


def refuse_document(name: str, first: bytes) -> None:
    """Raise InputError if the first of the JSON lines shows that the file is a single document.

    That is one that begins a list, or an object that goes on in the next line.
    """
    begins = first.strip()
    if begins.startswith(b"[") or begins == b"{":
        filters = "." if begins == b"{" else "'.[]'"
        raise InputError(
            f"{name}: is one JSON document, not one object a line; `jq -c {filters} {name}` makes lines of it"
        )


_LOOKED_AT = 100
"""How many first rows determine the columns of JSON lines."""


class JsonReader:
    """A table in JSON lines, one object per line. A dot in a column's name goes deeper: `body.text`."""

    def __init__(self, name: str, lines: Iterable[Line | None]) -> None:
        """Look at the first rows.

        Raises:
            InputError: there are none, or the file is a single JSON document.
        """
        self._lines = (line for line in lines if line is not None and not _is_blank(line))
        self._first = list(itertools.islice(self._lines, _LOOKED_AT))
        if not self._first:
            raise InputError(f"{printable(name)}: is empty")
        refuse_document(name, self._first[0].value or b"")
        found: dict[str, None] = {}
        for line in self._first:
            record = _parsed(line)
            if isinstance(record, dict):
                found.update(dict.fromkeys(_names(record)))
        self.columns = tuple(found)

    def cells(self, names: Sequence[str]) -> Iterator[Cells | BadRow]:
        """Yield these fields of every row, None for one that a row does not have."""
        paths = [Path(name) for name in names]
        for number, line in enumerate(itertools.chain(self._first, self._lines)):
            record = _parsed(line)
            if isinstance(record, dict):
                values = tuple([path.find(record) for path in paths])
                yield Cells(number, line.number, values)
            else:
                yield BadRow(number, line.number, record)


def _is_blank(line: Line) -> bool:
    return line.value is not None and not line.value.strip()


def _parsed(line: Line) -> dict[str, Any] | str:
    """Return the object of a line, or why there is none."""
    if line.value is None:
        return too_long()
    try:
        record = orjson.loads(line.value)
    except orjson.JSONDecodeError:
        # The standard library also takes halves of surrogate pairs, NaN and large numbers, and says where.
        reason = bad_bytes(line.value)
        if reason:
            return reason
        try:
            record = json.loads(line.value)
        except json.JSONDecodeError as error:
            return f"not JSON: {error.msg} at character {error.pos + 1}"
        except (ValueError, RecursionError) as error:
            return f"not JSON: {error}"
    if isinstance(record, dict):
        return record
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return f"not a JSON object but {kinds.get(type(record), 'a number')}"


def _names(record: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the names of all fields, those of objects within with a dot between."""
    for name, value in record.items():
        if isinstance(value, dict) and value:
            yield from _names(value, f"{before}{name}.")
        else:
            yield before + name
