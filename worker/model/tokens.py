"""Texts as rows of token numbers, and which windows are cut from a text that is too long for one row."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tokenizers import Encoding

from worker.types import LongText, Range

MOST_WINDOWS = 8
"""The most windows of one text: a megabyte of text costs no more than eight long reviews."""


def rows_of(long_text: LongText) -> int:
    """Return in how many rows a text is read at most."""
    return {"truncate": 1, "head_tail": 2, "windows": MOST_WINDOWS}[long_text]


class Window(NamedTuple):
    """Where a row was cut from: a part of the text that was tokenised begins at `start`, a place in the text.

    `rows` is how many rows of that part were wanted, 0 for all of it; `place` are the row's tokens in it.
    """

    start: int
    rows: int
    place: Range


class Tokens(NamedTuple):
    """One text as the model reads it: token numbers with [CLS] and [SEP]; `truncated` if parts are not read.

    `text` is the text itself: if a head marks tokens, their places in it are needed. A text that is read in
    several `windows`, each a row of its own, has the `ids` of a text that is cut.
    """

    ids: list[int]
    truncated: bool
    text: str = ""
    windows: tuple["Tokens", ...] = ()
    read: int = 0
    """Of a text in windows: how many tokens are in them, with one [CLS] and one [SEP]."""
    window: Window | None = None
    """Of a row that is a window."""

    @property
    def token_count(self) -> int:
        """How many tokens are read."""
        return self.read or len(self.ids)


class Part(NamedTuple):
    """A part of a text, tokenised: one entry a token, but for [CLS] and [SEP]."""

    ids: list[int]
    words: list[int | None]
    spans: list[Range]
    """Where the tokens are in the prepared text."""
    prepared: int
    """Characters of the prepared text."""
    whole: bool
    """Whether all of the part was tokenised."""
    start: int
    rows: int
    room: int
    """How many tokens of a text fit into a row."""
    ends: tuple[list[int], list[int]]
    """What goes before and after them: [CLS] and [SEP]."""

    def row(self, place: Range) -> list[int]:
        """Return the row for these of the tokens."""
        first, last = self.ends
        return [*first, *self.ids[slice(*place)], *last]

    def window(self, text: str, place: Range) -> Tokens:
        """Return the same as a window of `text`."""
        return Tokens(self.row(place), False, text, window=Window(self.start, self.rows, place))


def part_of(encoding: Encoding, longest: int, *, start: int, rows: int, prepared: int, whole: bool) -> Part:
    """Return what the library made of a part of a text, in rows of at most `longest` tokens, put together."""
    special = [bool(value) for value in encoding.special_tokens_mask]
    first = special.index(False) if False in special else 1
    last = special[::-1].index(False) if False in special else len(special) - first
    ids: list[int] = []
    words: list[int | None] = []
    spans: list[Range] = []
    for chunk in (encoding, *encoding.overflowing):
        read = slice(first, len(chunk.ids) - last)
        ids += chunk.ids[read]
        words += chunk.word_ids[read]
        spans += chunk.offsets[read]
    ends = encoding.ids[:first], encoding.ids[len(encoding.ids) - last :]
    return Part(ids, words, spans, prepared, whole, start, rows, longest - first - last, ends)


def spread(tokens: int, room: int) -> list[Range]:
    """Return windows of at most `room` tokens that cover all of them, as ranges.

    They are as few as possible, of the same length but for one token, and none overlaps another.
    """
    count = -(-tokens // room)
    ends = [tokens * number // count for number in range(count + 1)] if count else []
    return list(pairwise(ends))


def tokens_in(windows: Sequence[Tokens]) -> int:
    """Return how many tokens are in windows, which do not overlap; [CLS] and [SEP] are counted once."""
    places = [row.window.place for row in windows if row.window is not None]
    read = sum(end - start for start, end in places)
    return len(windows[0].ids) + read - (places[0][1] - places[0][0]) if places else 0
