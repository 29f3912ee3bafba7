"""Marked tokens to ranges of the text that a person can point at."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from worker.types import Range

_JOINER = "\u200d"
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Mn", "Mc", "Me"})
"""Unicode's categories of control and format characters, surrogates and combining marks."""
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")
"""Thai, Lao, Burmese, Khmer and kana: what stands between two spaces there is more than a word."""


def whole_words(text: str, ranges: Sequence[Range], words: Sequence[int | None]) -> list[Range]:
    """Return for each token the range of its word in `text`, so that no word is marked in part.

    `ranges` are the tokens' own, `words` the numbers of the words that the tokenizer saw, None for a mark.
    Tokens of scripts without spaces keep their own range.
    """
    found: dict[int, Range] = {}
    for word, (start, end) in zip(words, ranges, strict=True):
        if word is not None and start < end:
            first, last = found.get(word, (start, end))
            found[word] = (min(first, start), max(last, end))
    spaced = {word for word, (start, end) in found.items() if not _NO_SPACES.search(text, start, end)}
    return [
        found[word] if word in spaced and start < end else (start, end)
        for word, (start, end) in zip(words, ranges, strict=True)
    ]


def joined(text: str, marked: Iterable[Range]) -> tuple[Range, ...]:
    """Join the ranges of marked tokens (in the order of the text) and return what they cover.

    Ranges that touch, overlap, or have nothing visible between them become one. None of them cuts a sign in
    two: accents that stand as characters of their own, variation selectors, skin tones and what a zero-width
    joiner ties on belong to the character before them. Empty ranges are left out.
    """
    found: list[Range] = []
    for start, end in marked:
        if start >= end:
            continue
        start, end = _whole_signs(text, start, end)  # noqa: PLW2901 - the same range, widened
        if found and not _shows(text[found[-1][1] : start]):
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _whole_signs(text: str, start: int, end: int) -> Range:
    while start > 0 and (_belongs_before(text[start]) or text[start - 1] == _JOINER):
        start -= 1
    while end < len(text) and (_belongs_before(text[end]) or text[end - 1] == _JOINER):
        end += 1
    return start, end


def _belongs_before(character: str) -> bool:
    """Whether a character is part of the sign before it."""
    return character == _JOINER or character in _SKIN_TONES or unicodedata.category(character).startswith("M")


def _shows(between: str) -> bool:
    """Whether anything of it can be seen: not so for white space, control characters and stray accents."""
    return any(not sign.isspace() and unicodedata.category(sign) not in _UNSEEN for sign in between)
