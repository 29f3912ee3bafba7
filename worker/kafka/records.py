"""Reading record batches that hold something the client cannot parse.

The client decodes header names as strict UTF-8, though a broker accepts any bytes, and one record that it
cannot parse makes the whole batch unreadable: it parses a batch from its first record, whatever the position.
So the source reads batches through `LenientRecordBatch`, which `guards.read_leniently` puts in place of the
client's class. A batch whose checksum fails never gets here: the client refuses it before it reads a record.
"""

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame
import zstandard
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

LARGEST_BATCH = 128 << 20
"""Bytes that a batch may have after decompression.

A message of 15 KB can grow to 150 MB, and the client holds some three copies of it. Snappy is left to the
client: it makes no more than some twenty bytes out of one.
"""

_PART = 1 << 18
_STREAMS: dict[int, Callable[[io.BytesIO], Any]] = {
    DefaultRecordBatch.CODEC_GZIP: lambda data: gzip.GzipFile(fileobj=data),
    DefaultRecordBatch.CODEC_LZ4: lz4.frame.LZ4FrameFile,
    DefaultRecordBatch.CODEC_ZSTD: lambda data: zstandard.ZstdDecompressor().stream_reader(
        data, read_across_frames=True
    ),
}


class TooLarge(Exception):
    """A batch grows too large when it is decompressed."""


class HeaderName(str):
    """A header name that is not UTF-8.

    As text, its invalid bytes are lone surrogates (PEP 383); `encode` returns the bytes, so that the client
    counts and writes the name as it was received.
    """

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002 - str's signature
        """The bytes of the name as stored in Kafka."""
        return super().encode(encoding, "surrogateescape")


def header_name(name: str | bytes) -> str:
    """A header name as the client can write it: plain text, or a `HeaderName` where that is not possible."""
    try:
        if isinstance(name, bytes):
            return name.decode()
        name.encode()
    except UnicodeError:
        return HeaderName(name, "utf-8", "surrogateescape") if isinstance(name, bytes) else HeaderName(name)
    return name


class Unreadable(list[tuple[str, bytes]]):
    """Takes the place of a record's headers: the record could not be parsed, and this says why.

    The record's value is then its bytes as they lie in the log, for a dead letter.

    Args:
        first: the first offset that could not be parsed. The record's own offset is the last one.
        reason: one line, without any content of the record.
    """

    def __init__(self, first: int, reason: str) -> None:
        super().__init__()
        self.first = first
        self.reason = reason


class LenientRecordBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch (message format 2) that hands out every record that can be parsed.

    A record that cannot be parsed comes as its raw bytes, with headers that are `Unreadable`. The length in
    front of each record leads to the next one; where that is wrong too, or where the batch cannot be
    decompressed, one such record stands for all that is left of the batch: then its value is those bytes, or
    the batch's compressed ones.
    """

    _buffer: Any
    _pos: int
    _decompressed: bool

    def __init__(self, buffer: Any) -> None:
        super().__init__(buffer)
        self._expected = self.base_offset
        """The lowest offset that the next record can have."""

    def __iter__(self) -> Iterator[Any]:
        try:
            super().__iter__()
        except MemoryError:
            raise
        except Exception as error:
            # Each codec has its own errors, and not all of them derive from one class.
            if self.is_control_batch:
                raise
            why = str(error) if isinstance(error, TooLarge) else type(error).__name__
            return iter([self._rest(f"cannot be decompressed ({why})")])
        return self

    def _maybe_uncompress(self) -> None:
        """Decompress at most `LARGEST_BATCH` bytes. Raises TooLarge."""
        open_stream = _STREAMS.get(self.compression_type)
        if self._decompressed or open_stream is None:
            super()._maybe_uncompress()
            return
        data = bytearray()
        with open_stream(io.BytesIO(memoryview(self._buffer)[self._pos :])) as stream:
            while part := stream.read(_PART):
                if len(data) + len(part) > LARGEST_BATCH:
                    raise TooLarge(f"more than {LARGEST_BATCH >> 20} MiB")
                data += part
        self._buffer, self._pos, self._decompressed = data, 0, True

    def __next__(self) -> Any:
        start = self._pos
        try:
            record = super().__next__()
        except CorruptRecordError:
            if self.is_control_batch:
                raise
            record = self._recover()
        else:
            if not self._expected <= record.offset <= self.last_offset and not self.is_control_batch:
                record = self._misplaced(start)
        self._expected = record.offset + 1
        return record

    next = __next__

    def _misplaced(self, start: int) -> DefaultRecord:
        """Stand for a record, from `start` to here, with an offset that the client should not have taken."""
        _, start = decode_varint(self._buffer, start)
        offset = min(self._expected, self.last_offset)
        raw = bytes(self._buffer[start : self._pos])
        return self._unreadable(offset, offset, "cannot be parsed (an offset outside the batch)", raw)

    def _recover(self) -> Any:
        """Read the record at which the client's own parser failed, or say that it cannot be read."""
        if self._next_record_index >= self._num_records:
            if self._expected > self.last_offset:  # only bytes are left over, no offsets
                self._pos = len(self._buffer)
                raise StopIteration
            return self._rest("bytes are left over after the last record")
        frame = self._frame()
        if frame is None:
            return self._rest("the length of a record is wrong")
        start, end = frame
        self._next_record_index += 1
        self._pos = end
        try:
            return self._parse(start, end)
        except (ValueError, IndexError, OverflowError) as error:
            offset = min(self._expected, self.last_offset)
            reason = f"cannot be parsed ({type(error).__name__})"
            return self._unreadable(offset, offset, reason, bytes(self._buffer[start:end]))

    def _frame(self) -> tuple[int, int] | None:
        """Where the next record's fields begin and end in the buffer; None when its length is wrong."""
        try:
            length, start = decode_varint(self._buffer, self._pos)
        except (ValueError, IndexError):
            return None
        end = start + length
        return (start, end) if length > 0 and end <= len(self._buffer) else None

    def _parse(self, start: int, end: int) -> DefaultRecord:
        """One record: attributes, time, offset, key, value and headers (Kafka's message format 2)."""
        buffer = self._buffer
        time_delta, pos = decode_varint(buffer, start + 1)
        offset_delta, pos = decode_varint(buffer, pos)
        offset = self.base_offset + offset_delta
        if not self._expected <= offset <= self.last_offset:
            raise ValueError("an offset outside the batch")
        key, pos = _nullable(buffer, pos, end)
        value, pos = _nullable(buffer, pos, end)
        count, pos = decode_varint(buffer, pos)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            name, pos = _nullable(buffer, pos, end)
            if name is None:
                raise ValueError("a header without a name")
            header, pos = _nullable(buffer, pos, end)
            headers.append((header_name(name), header))
        if count < 0 or pos != end:
            raise ValueError("a record of another length than it says")
        kind = self.timestamp_type
        timestamp = self.max_timestamp if kind == self.LOG_APPEND_TIME else self.first_timestamp + time_delta
        return DefaultRecord(end - start, offset, timestamp, kind, key, value, headers)

    def _rest(self, reason: str) -> DefaultRecord:
        """Stand for everything from here to the end of the batch."""
        raw = bytes(self._buffer[self._pos :])
        self._decompressed = True
        self._next_record_index = self._num_records
        self._pos = len(self._buffer)
        return self._unreadable(min(self._expected, self.last_offset), self.last_offset, reason, raw)

    def _unreadable(self, first: int, last: int, reason: str, raw: bytes) -> DefaultRecord:
        return DefaultRecord(
            len(raw), last, self.max_timestamp, self.timestamp_type, None, raw, Unreadable(first, reason)
        )


def _nullable(buffer: bytearray, pos: int, end: int) -> tuple[bytes | None, int]:
    """A field preceded by its length, -1 for null, and the position after it."""
    length, pos = decode_varint(buffer, pos)
    if length < 0:
        return None, pos
    if pos + length > end:
        raise ValueError("a field that reaches beyond its record")
    return bytes(buffer[pos : pos + length]), pos + length
