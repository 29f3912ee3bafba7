"""The table of emoji names that a pack carries: its scores do not depend on the interpreter's Unicode."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from worker.errors import TextError
from worker.heads import shown

EMOJI = "emoji.json"
"""The file of the table, here and in a pack."""

FORMAT = 1
LARGEST_BYTES = 512 * 1024
_MOST, _LONGEST, _MOST_SIGNS = 8_192, 100, 10
_NAME = re.compile(r"[!-~]+(?: [!-~]+)*")
"""Printable ASCII words with one space between them."""

UNKNOWN = "emoji"
"""The name of an emoji that the table does not have, such as one that is newer."""


@dataclass(frozen=True, slots=True)
class EmojiNames:
    """Names by emoji: one character, or several joined, without variation selectors and skin tones."""

    names: Mapping[str, str] = field(repr=False)
    unicode: str
    """The version of Unicode that the table was made from."""
    digest: str
    """The SHA-256 of the file."""

    def of(self, emoji: str) -> str | None:
        """Return the name of an emoji, or None if it has none here."""
        return self.names.get(emoji)


def read_names(content: bytes, path: Path) -> EmojiNames:
    """Read a table; `path` is named in errors.

    Raises:
        TextError: it is too large, is not a table of this format, or holds what is no emoji or no name.
    """
    if len(content) > LARGEST_BYTES:
        raise TextError(f"{path} is too large for a table of emoji names: {len(content)} bytes")
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TextError(f"{path} is not a table of emoji names: it is not valid JSON: {error}") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise TextError(f"{path} is not a table of emoji names of format {FORMAT}")
    names, version = table.get("names"), table.get("unicode")
    if not isinstance(version, str) or not isinstance(names, dict) or not 0 < len(names) <= _MOST:
        raise TextError(f"{path}: a table of emoji names needs `unicode` and 1 to {_MOST} `names`")
    for emoji, name in names.items():
        if not 0 < len(emoji) <= _MOST_SIGNS or emoji.isascii():
            raise TextError(f"{path}: {shown(emoji)} is no emoji")
        if not isinstance(name, str) or len(name) > _LONGEST or not _NAME.fullmatch(name):
            raise TextError(
                f"{path}: the name of {shown(emoji)} must be words of ASCII, {_LONGEST} letters at most"
            )
    return EmojiNames(names, version, hashlib.sha256(content).hexdigest())


@cache
def own_names() -> EmojiNames:
    """Return the table that new packs get, and that training reads with."""
    return read_names(own_table(), Path(EMOJI))


def own_table() -> bytes:
    """Return the bytes of that table's file."""
    # Not by the name of the package: in programs with a `worker` of their own it is not found by that.
    return Path(__file__).with_name(EMOJI).read_bytes()
