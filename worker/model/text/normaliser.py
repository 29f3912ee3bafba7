"""The seam: a pack names its text handling and the version of it, and gets exactly that one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.errors import TextError
from worker.model.text import social

Span = tuple[int, int]
"""Start and end of a range of characters (Unicode code points) in the original text."""

Piece = tuple[str, int, int]
"""A piece of the new text, and the range of the original that it stands for."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """One way to prepare texts. A change in what it does is another version: packs keep theirs.

    `pieces` yields the new text in pieces, each with its range in the original, in order; a piece as long as
    its range stands character for character.
    """

    name: str
    version: int
    pieces: Callable[[str], Iterator[Piece]] | None

    def apply(self, text: str) -> str:
        """Return the prepared text. Never fails."""
        if self.pieces is None:
            return text
        return "".join(piece for piece, _, _ in self.pieces(text))

    def with_offsets(self, text: str) -> tuple[str, list[Span]]:
        """Return the prepared text, and for each of its characters the range in `text` that it stands for."""
        if self.pieces is None:
            return text, [(index, index + 1) for index in range(len(text))]
        parts: list[str] = []
        spans: list[Span] = []
        for piece, start, end in self.pieces(text):
            parts.append(piece)
            if len(piece) == end - start:
                spans.extend((index, index + 1) for index in range(start, end))
            else:
                spans.extend([(start, end)] * len(piece))
        return "".join(parts), spans


RAW = Normaliser("raw", 1, None)
"""Texts stay as they are."""

_KNOWN = {
    (entry.name, entry.version): entry
    for entry in (RAW, Normaliser("social", 1, social.pieces), Normaliser("social", 2, social.pieces_2))
}


def normaliser(name: str, version: int) -> Normaliser:
    """Return the text handling of that name and version. Raises TextError for an unknown one."""
    found = _KNOWN.get((name, version))
    if found is None:
        known = ", ".join(f"{name} {version}" for name, version in _KNOWN)
        raise TextError(f"text handling {name!r} version {version} is unknown; this version knows {known}")
    return found
