"""How texts are prepared before they are tokenised. A pack names the method and the version that it needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from worker.errors import TextError
from worker.model.text import social, social_3
from worker.model.text.markup import around
from worker.model.text.names import EmojiNames, own_names

Span = tuple[int, int]
"""Start and end of a range of characters (Unicode code points) in the original text."""

_PASSED_OVER = 4
"""So many unseen parts at most are passed over at the end of what is read: more would take long to find."""

_UNSEEN_TIMES = 32
"""An unseen part is passed over if it is at most so many times as long as what is read: 1 MB for a pack."""

Piece = tuple[str, int, int]
"""A piece of the new text, and the range of the original that it stands for."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """One way to prepare texts. Any change in its behaviour is a new version: packs keep theirs.

    `pieces` yields the new text in pieces, each with its range in the original, in order; a piece as long as
    its range stands character for character.
    """

    name: str
    version: int
    pieces: Callable[[str], Iterator[Piece]] | None
    named: Callable[[EmojiNames, str], Iterator[Piece]] | None = None
    """Makes the pieces of a version that takes the names of emoji from a table."""
    table: str = ""
    """The digest of that table."""
    markup: Callable[[str, int], Span] | None = None
    """Returns the range that a place divides of what is left out; None if nothing is."""

    def reach(self, text: str, most: int) -> int:
        """Return where to stop reading a text of which `most` characters may be read.

        If that lies within something that no reader sees, it is passed over without being counted; if that is
        very long, reading stops before it.
        """
        place = most
        if self.markup is not None:
            for _ in range(_PASSED_OVER):
                start, end = self.markup(text, place) if place < len(text) else (place, place)
                if start == end:
                    return min(place, len(text))
                if end - start > most * _UNSEEN_TIMES:
                    return start
                place = end + place - start
            place = self.markup(text, place)[0] if place < len(text) else place
        return min(place, len(text))

    def onward(self, text: str, start: int) -> int:
        """Return where to begin reading, from `start` on: behind anything unseen that `start` lies in."""
        return start if self.markup is None else self.markup(text, start)[1]

    def with_names(self, names: EmojiNames) -> "Normaliser":
        """Return the same with another table of emoji names. Only for a version that takes one."""
        if self.named is None:
            raise TextError(
                f"text handling {self.name!r} version {self.version} takes no table of emoji names"
            )
        return replace(self, pieces=partial(self.named, names), table=names.digest)

    def apply(self, text: str) -> str:
        """Return the prepared text. Never fails."""
        return text if self.pieces is None else "".join(piece for piece, _, _ in self.pieces(text))

    def begin(self, text: str, enough: int) -> tuple[str, bool]:
        """Prepare a text up to `enough` characters of the new one; return them, and whether that is all.

        An emoji becomes words, so a text may grow tenfold: whoever reads only its beginning does not pay for
        the rest.
        """
        if self.pieces is None:
            return text[:enough], len(text) <= enough
        parts: list[str] = []
        length = 0
        pieces = self.pieces(text)
        for piece, _, _ in pieces:
            parts.append(piece)
            length += len(piece)
            if length >= enough:
                # Several pieces may stand for the same range, so its end does not say that this was the last.
                more = length > enough or any(following for following, _, _ in pieces)
                return "".join(parts)[:enough], not more
        return "".join(parts), True

    def with_offsets(self, text: str, enough: int | None = None) -> tuple[str, list[Span]]:
        """Return the prepared text, and for each of its characters the range in `text` that it stands for.

        With `enough`, only up to that many characters of the prepared text.
        """
        if self.pieces is None:
            return text[:enough], [(index, index + 1) for index in range(len(text[:enough]))]
        parts: list[str] = []
        spans: list[Span] = []
        for piece, start, end in self.pieces(text):
            parts.append(piece)
            if len(piece) == end - start:
                spans.extend((index, index + 1) for index in range(start, end))
            else:
                spans.extend([(start, end)] * len(piece))
            if enough is not None and len(spans) >= enough:
                break
        return "".join(parts)[:enough], spans[:enough]


RAW = Normaliser("raw", 1, None)
"""Texts stay as they are."""

_KNOWN = {
    (entry.name, entry.version): entry
    for entry in (
        RAW,
        Normaliser("social", 1, social.pieces),
        Normaliser("social", 2, social.pieces_2),
        Normaliser("social", 3, None, social_3.pieces_3, markup=around),
    )
}


def normaliser(name: str, version: int, names: EmojiNames | None = None) -> Normaliser:
    """Return the text handling of that name and version, with these names of emoji where it takes any.

    Without `names` it is the table that new packs get: what training reads with.

    Raises:
        TextError: an unknown handling, or a table for one that takes none.
    """
    found = _KNOWN.get((name, version))
    if found is None:
        known = ", ".join(f"{name} {version}" for name, version in _KNOWN)
        raise TextError(f"text handling {name!r} version {version} is unknown; this version knows {known}")
    if names is None and found.named is not None:
        names = own_names()
    return found if names is None else found.with_names(names)
