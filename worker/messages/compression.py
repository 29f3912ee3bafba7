"""Values that their producer has compressed, as the header `content-encoding` says."""

import zlib

import zstandard

from worker.errors import DecompressionFailed

LARGEST = 32 * 1024 * 1024
"""Bytes of the largest value after decompression. A few kilobytes can stand for gigabytes."""

READABLE = frozenset({"gzip", "zstd", "deflate"})
"""The encodings that `decompress` knows."""

_GZIP = 16 + zlib.MAX_WBITS


def decompress(value: bytes, encoding: str) -> bytes:
    """Decompress a value; `encoding` is one of `READABLE`.

    Raises:
        DecompressionFailed: it is compressed in another way, cut short, or too large.
    """
    try:
        found = _zstd(value) if encoding == "zstd" else _zlib(value, encoding)
    except (zlib.error, zstandard.ZstdError):
        raise DecompressionFailed(
            f"content-encoding says {encoding}, but the value is not {encoding}"
        ) from None
    if len(found) > LARGEST:
        raise DecompressionFailed(f"the value has more than {LARGEST >> 20} MiB when decompressed")
    return found


def _zlib(value: bytes, encoding: str) -> bytes:
    """All members of a gzip value, or a deflate value with or without zlib's header (RFC 9110, 8.4.1)."""
    bits = _GZIP if encoding == "gzip" else zlib.MAX_WBITS
    if encoding == "deflate" and not _has_zlib_header(value):
        bits = -zlib.MAX_WBITS
    found = b""
    while value:
        reader = zlib.decompressobj(bits)
        found += reader.decompress(value, LARGEST + 1 - len(found))
        if len(found) > LARGEST:
            return found
        if not reader.eof:
            raise DecompressionFailed(f"the value is cut short: its {encoding} data do not end")
        value = reader.unused_data if encoding == "gzip" else b""
    return found


def _has_zlib_header(value: bytes) -> bool:
    return len(value) >= 2 and value[0] & 15 == 8 and int.from_bytes(value[:2], "big") % 31 == 0


def _zstd(value: bytes) -> bytes:
    found = b""
    while value:
        reader = zstandard.ZstdDecompressor(max_window_size=LARGEST).decompressobj()
        # The library has no limit for the size of a frame; what goes in is small, so it goes in in pieces.
        for start in range(0, len(value), _PIECE):
            found += reader.decompress(value[start : start + _PIECE])
            if len(found) > LARGEST:
                return found
            if reader.eof:
                value = reader.unused_data + value[start + _PIECE :]
                break
        else:
            raise DecompressionFailed("the value is cut short: its zstd data do not end")
    return found


_PIECE = 4 * 1024
