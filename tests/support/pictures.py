"""A screenshot that says what it was taken of, so that a test without a browser can tell when it is stale."""

import hashlib
import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE_PICTURE = ROOT / "docs" / "images" / "dashboard.png"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEY = b"Source\0"


def page_files() -> str:
    """A digest of the files that make the page."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "worker" / "dashboard" / "static").iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def signed(png: bytes, text: str) -> bytes:
    """The picture with a line of text in it (a tEXt chunk after the first one)."""
    after_head = len(_SIGNATURE) + 25
    body = b"tEXt" + _KEY + text.encode("ascii")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:after_head] + chunk + png[after_head:]


def signature(png: bytes) -> str | None:
    """The line that `signed` has put there."""
    at = png.find(b"tEXt" + _KEY)
    if at < 0:
        return None
    (length,) = struct.unpack(">I", png[at - 4 : at])
    return png[at + 4 + len(_KEY) : at + 4 + length].decode("ascii")
