"""Values that their producer has compressed, as the header `content-encoding` says."""

import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from worker.errors import DecompressionFailed

LARGEST = 32 * 1024 * 1024
"""Bytes of the largest value after decompression. A few kilobytes can stand for gigabytes."""

MOST_PARTS = 1_000
"""Members of a gzip value, or frames of a zstd value. A megabyte could hold a hundred thousand empty ones."""

READABLE = frozenset({"gzip", "zstd", "deflate"})
"""The encodings that `decompress` knows."""

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 4 * 1024


def decompress(value: bytes, encoding: str) -> bytes:
    """Decompress a value; `encoding` is one of `READABLE`.

    Raises:
        DecompressionFailed: it is compressed in another way, cut short, too large, or in too many parts.
    """
    try:
        if encoding == "zstd":
            return _parts(value, encoding, _zstd)
        if encoding == "gzip":
            return _parts(value, encoding, lambda: zlib.decompressobj(_GZIP))
        # With or without zlib's header (RFC 9110, 8.4.1).
        bits = zlib.MAX_WBITS if _has_zlib_header(value) else -zlib.MAX_WBITS
        return _parts(value, encoding, lambda: zlib.decompressobj(bits), several=False)
    except (zlib.error, zstandard.ZstdError):
        raise DecompressionFailed(
            f"content-encoding says {encoding}, but the value is not {encoding}"
        ) from None


class _Reader(Protocol):
    """Decompresses one part: a member of gzip, a frame of zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd() -> _Reader:
    return zstandard.ZstdDecompressor(max_window_size=LARGEST).decompressobj()


def _parts(value: bytes, encoding: str, begin: Callable[[], _Reader], *, several: bool = True) -> bytes:
    """Decompress the parts of a value one after the other, or the first alone.

    What goes in goes in in pieces: zstd has no limit for what comes out, and a reader copies what it was
    given beyond its part, which would take hours for a value of many small parts.
    """
    found = bytearray()
    at = parts = 0
    while at < len(value):
        parts += 1
        if parts > MOST_PARTS:
            raise DecompressionFailed(f"the value has more than {MOST_PARTS:,} {encoding} parts")
        reader = begin()
        while not reader.eof:
            piece = value[at : at + _PIECE]
            if not piece:
                raise DecompressionFailed(f"the value is cut short: its {encoding} data do not end")
            found += reader.decompress(piece)
            if len(found) > LARGEST:
                raise DecompressionFailed(f"the value has more than {LARGEST >> 20} MiB when decompressed")
            at += len(piece) - len(reader.unused_data)
        if not several:
            break
    return bytes(found)


def _has_zlib_header(value: bytes) -> bool:
    return len(value) >= 2 and value[0] & 15 == 8 and int.from_bytes(value[:2], "big") % 31 == 0
