"""Lines of text from a file, plain or gzipped, with a bound on what one line may cost."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from worker.errors import TrainingError

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is no row of a table: as likely as not the file has no line ends at all."""

_BOM = b"\xef\xbb\xbf"
_OTHER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK\x03\x04": "a zip archive (or Excel's)"}
_GZIP = b"\x1f\x8b"


class Line(NamedTuple):
    """A line with its number from 1 and its end."""

    number: int
    text: str


def text_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a UTF-8 file; only the line feed ends one. A mark in front is dropped.

    Gzip is told by the content, whatever the name.

    Raises:
        TrainingError: unreadable, not UTF-8 (with the line's number), a line beyond all bounds.
    """
    try:
        with _open(path) as file:
            number = 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    raw = _without_mark(path, raw)
                if len(raw) > MAX_LINE_BYTES:
                    raise TrainingError(f"{path}, line {number}: longer than {MAX_LINE_BYTES:,} bytes")
                yield Line(number, _decoded(path, number, raw))
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TrainingError(f"{path}: {why}") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return cast("BinaryIO", gzip.open(path, "rb")) if zipped else path.open("rb")


def _without_mark(path: Path, raw: bytes) -> bytes:
    """Return the first line without UTF-8's mark. Raises TrainingError for the mark of something else."""
    for mark, kind in _OTHER_MARKS.items():
        if raw.startswith(mark):
            raise TrainingError(f"{path}: is {kind}, not text in UTF-8; save it as CSV in UTF-8")
    return raw.removeprefix(_BOM)


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise TrainingError(
            f"{path}, line {number}: is not UTF-8 (byte 0x{byte:02x} at place {error.start + 1}); "
            f"`iconv -f WINDOWS-1252 -t UTF-8` turns one of the usual others into it"
        ) from None
