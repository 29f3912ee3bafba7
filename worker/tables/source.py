"""Bytes of UTF-8 from a file descriptor: decompressed, recoded, their format detected by the first bytes."""

import codecs
import itertools
import os
import select
import zlib
from collections.abc import Iterable, Iterator

from worker.errors import InputError, printable

_CHUNK = 1 << 16
_GZIP = b"\x1f\x8b"
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
}
_LONGEST_MARK = 4


class ByteSource:
    """Bytes of UTF-8 from a descriptor: decompressed, recoded, and without a byte order mark."""

    def __init__(self, descriptor: int, name: str, encoding: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._encoding = encoding
        self._pending = False
        self.plain = True
        """Neither compressed nor recoded: the bytes read and the bytes yielded are the same."""
        self.read_bytes = 0
        self.skipped = 0
        """Length of a byte order mark that was dropped."""

    def ready(self, seconds: float) -> bool:
        """Whether something can be read, or the end has come. Always true for a file on disk."""
        return self._pending or bool(select.select([self._descriptor], [], [], seconds)[0])

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            InputError: reading fails, or the content is packed or encoded in another way.
        """
        head, source = _beginning(iter(self._read, b""))
        if head.startswith(_GZIP):
            self.plain = False
            head, source = _beginning(self._unpacked(head))
        if codecs.lookup(self._encoding).name not in {"utf-8", "utf-8-sig"}:
            self.plain = False
            yield from self._recoded(itertools.chain([head], source))
            return
        _check_mark(self._name, head)
        if head.startswith(codecs.BOM_UTF8):
            self.skipped = len(codecs.BOM_UTF8)
            head = head[self.skipped :]
        if head:
            yield head
        yield from source

    def _read(self) -> bytes:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except OSError as error:
            raise InputError(f"{self._name}: {error.strerror}") from None
        self.read_bytes += len(data)
        return data

    def _unpacked(self, packed: bytes) -> Iterator[bytes]:
        """Yield decompressed bytes, at most one chunk at a time, whatever the compression ratio."""
        member = zlib.decompressobj(wbits=31)
        try:
            while True:
                data = member.decompress(packed, _CHUNK)
                packed = member.unconsumed_tail
                self._pending = bool(packed)
                if data:
                    yield data
                elif member.eof:  # another may follow, and zeros may fill up a block
                    packed = member.unused_data.lstrip(b"\0") or self._read().lstrip(b"\0")
                    if not packed:
                        return
                    member = zlib.decompressobj(wbits=31)
                elif not packed:
                    packed = self._read()
                    if not packed:
                        raise InputError(f"{self._name}: the gzip data end too early")
        except zlib.error as error:
            raise InputError(f"{self._name}: the gzip data are damaged: {error}") from None

    def _recoded(self, source: Iterable[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self._encoding)()
        first = True
        try:
            for data in itertools.chain(source, [b""]):
                text = decoder.decode(data, not data)
                if text:
                    yield (text.removeprefix("\ufeff") if first else text).encode()
                    first = False
        except UnicodeError as error:
            raise InputError(f"{self._name}: is not {printable(self._encoding)}: {error}") from None


def _beginning(source: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Read enough bytes to recognise a signature, and return them with the rest."""
    head = b""
    for data in source:
        head += data
        if len(head) >= _LONGEST_MARK or not any(
            mark.startswith(head) for mark in (*_MARKS, codecs.BOM_UTF8, _GZIP)
        ):
            break
    return head, source


def check_encoding(encoding: str) -> None:
    """Check that Python has a text encoding with this name.

    Raises:
        InputError: it does not.
    """
    try:
        "a".encode(encoding)
        codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError, TypeError):
        raise InputError(
            f"no encoding {printable(encoding)!r} is known; usual ones are utf-16 and windows-1252"
        ) from None


def _check_mark(name: str, head: bytes) -> None:
    """Raise InputError for content whose first bytes show that it is something other than UTF-8."""
    kind = next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), _unmarked(head))
    if kind is None:
        return
    if kind.startswith("UTF"):
        raise InputError(
            f"{name}: is {kind}, not UTF-8; `iconv -f {kind} -t UTF-8` recodes it "
            f"(`moodstream label` reads it with --encoding {kind.lower()})"
        )
    raise InputError(f"{name}: is {kind}, not text in UTF-8")


def _unmarked(head: bytes) -> str | None:
    """Detect UTF-16 without a mark by its zeros: every other byte of most letters, digits and commas."""
    sample = head[:1024]
    for start, kind in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros, others = sample[start::2].count(0), sample[1 - start :: 2].count(0)
        if len(sample) >= 8 and zeros > len(sample) // 4 and not others:
            return kind
    return None
