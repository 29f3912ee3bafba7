"""Lines of bytes from a file or a pipe, with a bound on what one line may cost.

Inputs of one row a line: `.jsonl`, `.ndjson`, `.json`, `.txt`, and standard input.
"""

import os
import select
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from worker.errors import InputError
from worker.tables.rows import JSON, BadRow, Item, Pause, Row

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longer lines are read over. Kafka's own limit for a message is 1 MiB unless somebody raised it."""

_CHUNK = 1 << 16
_PATIENCE_S = 0.05


class Line(NamedTuple):
    """One line with its number from 1, without its end. `value` is None when it was too long to keep."""

    number: int
    value: bytes | None


class LineReader:
    """Cuts a file descriptor into lines, and counts the bytes of those it has handed on.

    Iterating gives a `Line` each, and None whenever a pipe or terminal has been silent for 50 ms, so that
    `tail -f posts.jsonl | moodstream label -` answers at once. The end of a line is LF or CRLF.
    """

    def __init__(self, descriptor: int, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self.position = 0
        """Bytes of the lines handed on so far."""

    def __iter__(self) -> Iterator[Line | None]:
        number, rest, dropped, told = 0, b"", False, True
        while True:
            if not told and not self._more_within(_PATIENCE_S):
                told = True
                yield None
            chunk = os.read(self._descriptor, _CHUNK)
            if not chunk:
                break
            told = False
            *lines, tail = chunk.split(b"\n")
            for line in lines:
                number += 1
                whole = rest + line
                self.position += len(line) + 1
                yield Line(
                    number, None if dropped or len(whole) > self._max_bytes else _without_return(whole)
                )
                rest, dropped = b"", False
            rest += tail
            self.position += len(tail)
            if len(rest) > self._max_bytes:
                rest, dropped = b"", True
        if rest or dropped:
            yield Line(number + 1, None if dropped else _without_return(rest))

    def _more_within(self, seconds: float) -> bool:
        """Whether something can be read, be it the end. Always true for a file on disk."""
        return bool(select.select([self._descriptor], [], [], seconds)[0])


def _without_return(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


_BOM = b"\xef\xbb\xbf"


def line_rows(name: str, lines: Iterable[Line | None], content_type: str | None) -> Iterator[Item]:
    """Make each line a row. Blank lines are passed over; a byte order mark in front is dropped.

    Raises:
        InputError: JSON lines are expected and the input begins with `[`: it is one JSON document.
    """
    index = 0
    for line in lines:
        if line is None:
            yield Pause()
            continue
        if line.value is None:
            yield BadRow(index, line.number, f"the line is longer than {MAX_LINE_BYTES} bytes")
            index += 1
            continue
        value = line.value.removeprefix(_BOM) if line.number == 1 else line.value
        if not value.strip():
            continue
        if index == 0 and content_type == JSON and value.lstrip().startswith(b"["):
            raise InputError(
                f"{name}: is one JSON document, not one object a line; `jq -c '.[]' {name}` makes lines of it"
            )
        yield Row(index, line.number, value, content_type)
        index += 1
