"""Reads the headers of a Parquet file's pages, to know how much they unpack to before pyarrow unpacks them.

A header is a struct in Thrift's compact protocol (apache/thrift, thrift-compact-protocol.md); its fields
are those of PageHeader in apache/parquet-format, parquet.thrift.
"""

from pathlib import Path
from typing import BinaryIO

_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of PageHeader
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_LONGEST_HEADER = 16 * 1024 * 1024
_DEEPEST = 8


class _Broken(Exception):
    """The bytes are not a page header."""


def unpacked_size(path: Path, start: int, end: int) -> int | None:
    """Return how many bytes the pages between two places of a file unpack to; None if they cannot be read.

    The last page may end later: some writers do not count the header of the dictionary.
    """
    total = 0
    try:
        with path.open("rb") as stream:
            while start < end:
                stream.seek(start)
                fields = _Struct(stream).read(0)
                packed, unpacked = fields.get(_COMPRESSED, -1), fields.get(_UNCOMPRESSED, -1)
                if packed < 0 or unpacked < 0:
                    return None
                total += unpacked
                start = stream.tell() + packed
    except (_Broken, OSError):
        return None
    return total


class _Struct:
    """Reads one struct, and keeps its whole numbers."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = _LONGEST_HEADER

    def _take(self, count: int) -> bytes:
        self._left -= count
        if count < 0 or self._left < 0:
            raise _Broken
        data = self._stream.read(count)
        if len(data) < count:
            raise _Broken
        return data

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _Broken

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def read(self, depth: int) -> dict[int, int]:
        """Return the whole numbers among the fields, by their ids."""
        if depth > _DEEPEST:
            raise _Broken
        found: dict[int, int] = {}
        field = 0
        while (head := self._take(1)[0]) != 0:
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 0x0F
            if kind in {_I16, _I32, _I64}:
                found[field] = self._zigzag()
            elif kind not in {_TRUE, _FALSE}:
                self._skip(kind, depth)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        if kind in {_TRUE, _FALSE, _BYTE}:  # within a list each takes a byte
            self._take(1)
        elif kind in {_I16, _I32, _I64}:
            self._varint()
        elif kind == _DOUBLE:
            self._take(8)
        elif kind == _BINARY:
            self._take(self._varint())
        elif kind == _STRUCT:
            self.read(depth + 1)
        elif kind in {_LIST, _SET}:
            head = self._take(1)[0]
            for _ in range(head >> 4 if head >> 4 < 15 else self._varint()):
                self._skip(head & 0x0F, depth + 1)
        else:  # no header has a map
            raise _Broken
