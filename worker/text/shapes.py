"""Letters of other shapes: full width, in circles, and the bold, italic and script ones of mathematics.

People write with them to stand out. Unicode's compatibility form (NFKC, Unicode Standard Annex 15) has a
plain one for each; here it is taken for these alone, one character for one, so that places stay as they are.
"""

import re
import unicodedata

_BLOCKS = ((0x2100, 0x214F), (0x24B6, 0x24E9), (0xFF01, 0xFF5E), (0x1D400, 0x1D7FF))
"""Letterlike symbols (some script letters stand there), circles, full width, mathematics."""


def _table() -> dict[int, str]:
    found = {}
    for first, last in _BLOCKS:
        for code in range(first, last + 1):
            plain = unicodedata.normalize("NFKC", chr(code))
            if len(plain) == 1 and plain.isascii():
                found[code] = plain
    return found


_PLAIN = _table()
_ANY = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _BLOCKS) + "]")


def plain_letters(text: str) -> str:
    """Return `text` with plain ASCII for each letter, digit or mark of another shape; its length stays."""
    return text if text.isascii() or not _ANY.search(text) else text.translate(_PLAIN)
