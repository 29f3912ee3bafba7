"""Reads the variables of a TensorFlow SavedModel without TensorFlow.

They are a "tensor bundle": `variables.index` is a sorted table of keys and values as LevelDB writes it
(blocks in which keys share their beginnings, and a footer that says where the block of blocks is), and each
value is a `BundleEntryProto`, which says where in the data file a tensor lies. Sources: TensorFlow's
tensor_bundle.proto, and LevelDB's doc/table_format.md.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.errors import TeacherError

_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_FLOAT = 1
"""TensorFlow's number for float32."""

_Fields = dict[int, list[int | bytes]]


class Entry(NamedTuple):
    """Where a float32 tensor lies in the data file: its shape, and its first byte and number of bytes."""

    shape: tuple[int, ...]
    offset: int
    size: int


def read_index(index: bytes) -> dict[str, Entry]:
    """Return the tensors of a bundle by name, given the bytes of `variables.index`.

    Raises TeacherError: it is not such an index, is damaged, or holds other numbers than float32 in one file.
    """
    try:
        if len(index) < _FOOTER or struct.unpack("<Q", index[-8:])[0] != _MAGIC:
            raise TeacherError("variables.index does not end as a TensorFlow index does")
        _, _, start, size = _varints(index[-_FOOTER:], 4)
        rows = [row for _, place in _block(index, start, size) for row in _block(index, *_varints(place, 2))]
        return {name.decode(): _entry(value) for name, value in rows if name}  # "" holds the header
    except (IndexError, ValueError, struct.error) as error:
        raise TeacherError(f"variables.index is damaged: {error}") from error


def read_tensor(data: bytes | memoryview, entry: Entry) -> NDArray[np.float32]:
    """Return one tensor of the data file as an array of its shape. Raises TeacherError if it is cut short."""
    part = data[entry.offset : entry.offset + entry.size]
    if len(part) != entry.size or entry.size != 4 * int(np.prod(entry.shape, dtype=np.int64)):
        raise TeacherError(f"the variables end too early: {entry.size} bytes at {entry.offset} are not there")
    return np.frombuffer(part, dtype="<f4").reshape(entry.shape)


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of one block. Raises ValueError if it is compressed or outside the table."""
    if start + size >= len(table):
        raise ValueError(f"a block ends at byte {start + size} of {len(table)}")
    if table[start + size]:
        raise ValueError("its blocks are compressed")
    block = table[start : start + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes has {restarts} restarts")
    at, key = 0, b""
    while at < end:
        (shared, own, length), at = _varints_at(block, at, 3)
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _entry(value: bytes) -> Entry:
    fields = _fields(value)
    shape = tuple(
        _number(_fields(_bytes(dim)), 1)
        for shape in fields.get(2, [])
        for dim in _fields(_bytes(shape)).get(2, [])
    )
    if _number(fields, 1) != _FLOAT or _number(fields, 3):
        raise TeacherError("variables.index names other tensors than float32 in one file")
    return Entry(shape, _number(fields, 4), _number(fields, 5))


def _fields(message: bytes) -> _Fields:
    """Return the fields of a protobuf message by number. Raises ValueError."""
    found: _Fields = {}
    at = 0
    while at < len(message):
        (tag,), at = _varints_at(message, at, 1)
        value: int | bytes
        if tag & 7 == 0:
            (value,), at = _varints_at(message, at, 1)
        elif tag & 7 == 2:
            (length,), at = _varints_at(message, at, 1)
            value, at = message[at : at + length], at + length
        elif tag & 7 == 5:
            value, at = message[at : at + 4], at + 4
        else:
            raise ValueError(f"a field of kind {tag & 7}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: _Fields, number: int) -> int:
    value = fields.get(number, [0])[0]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")  # noqa: TRY004 - it is the file that is wrong
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a message should be")  # noqa: TRY004 - as above
    return value


def _varints(data: bytes, count: int) -> list[int]:
    return _varints_at(data, 0, count)[0]


def _varints_at(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """Read numbers of seven bits a byte, the lowest first; return them and the next place."""
    found = []
    for _ in range(count):
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        found.append(value)
    return found, at
