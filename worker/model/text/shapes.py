"""Letters of other shapes as plain ones, one character for one, so that places stay as they are: `social` 3.

People write with them to stand out. Unicode's compatibility form has a plain letter for some of them only:
the others stand here.
"""

import re
from collections.abc import Iterable

from worker.model.text.social import PLAIN

_FROM = {
    # Small capitals: from phonetics, not in one block; there is no `x`.
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ": "abcdefghijklmnopqrstuvwyz",
    # Superscripts and subscripts. Their digits stay: 10² is not 102.
    "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ𐞥ʳˢᵗᵘᵛʷˣʸᶻ": "abcdefghijklmnopqrstuvwxyz",
    "ᴬᴮꟲᴰᴱꟳᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾꟴᴿᵀᵁⱽᵂ": "ABCDEFGHIJKLMNOPQRTUVW",
    "ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ": "aehijklmnoprstuvx",
}  # fmt: skip
_CAPITALS = (0x1F110, 0x1F130, 0x1F150, 0x1F170)
"""Where A to Z begin: in parentheses, squared, circled and squared in white on black. The last holds four
emoji (A, B, O, P), which people write words with too."""

_SMALL = 0x249C  # in parentheses
_ONES = (0x2460, 0x2776, 0x2780, 0x278A, 0x24F5)
"""Where circled 1 to 9 begin."""

_ZEROS = (0x24EA, 0x24FF, 0x1F10B, 0x1F10C)


def _table() -> dict[int, str]:
    found = dict(PLAIN)
    for shapes, letters in _FROM.items():
        found.update((ord(shape), letter) for shape, letter in zip(shapes, letters, strict=True))
    for first in _CAPITALS:
        found.update((first + place, chr(ord("A") + place)) for place in range(26))
    found.update((_SMALL + place, chr(ord("a") + place)) for place in range(26))
    for first in _ONES:
        found.update((first + place, str(place + 1)) for place in range(9))
    found.update(dict.fromkeys(_ZEROS, "0"))
    return found


_PLAIN = _table()


def _ranges(codes: Iterable[int]) -> str:
    """Return few ranges that hold all these and some others, as the inside of a pattern's brackets."""
    found: list[list[int]] = []
    for code in sorted(codes):
        if found and code - found[-1][1] <= _GAP:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


_GAP = 64
_ANY = re.compile(f"[{_ranges(_PLAIN)}]")
"""To look whether there is anything to do. Among so many single characters that would take long."""


def plain_letters(text: str) -> str:
    """Return `text` with plain ASCII for each letter, digit or mark of another shape; its length stays."""
    return text if text.isascii() or not _ANY.search(text) else text.translate(_PLAIN)
