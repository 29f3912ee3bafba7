"""Text handling `social`, version 3: the same for a sign however it is written, and on any Python.

As version 2, but:

- Entities, escapes and HTML are read before anything else (`markup.py`), so that `&#128512;` and
  `\\ud83d\\ude00` are the emoji that they stand for.
- An emoji's name comes from the pack's table (`names.py`). One that is not in it is called "emoji".
- More letters of other shapes become plain (`shapes.py`), and keycaps are their digits.
- What a word and a letter is does not depend on the interpreter's version of Unicode: the ranges stand here,
  as they do for names in XML (https://www.w3.org/TR/xml/#NT-NameChar).
"""

import re
from collections.abc import Iterable, Iterator

from worker.model.text.emoji import BASES, FLAGS
from worker.model.text.markup import read_markup, standing_for
from worker.model.text.names import UNKNOWN, EmojiNames
from worker.model.text.shapes import plain_letters
from worker.model.text.social import ONCE, Piece, tag_pieces, with_rest

NAMED = (
    rf"{BASES}\u23E9-\u23FA\U0001F004\U0001F0CF\U0001F18E\U0001F191-\U0001F19A\U0001F201\U0001F21A\U0001F22F"
    r"\U0001F232-\U0001F23A\U0001F250\U0001F251\U0001F7F0"
)
"""The characters that an emoji's name is looked up for, as the inside of a pattern's brackets. Of most blocks
these are all characters: what Unicode will add to them is an emoji."""

DRESS = r"\uFE0E\uFE0F\U0001F3FB-\U0001F3FF"
"""Variation selectors and skin tones."""

_AFTER = rf"[{DRESS}\U000E0020-\U000E007F]*"
_EMOJI = rf"(?:[{FLAGS}]{{2}}|[{NAMED}]{_AFTER}(?:\u200D[{NAMED}\u2194\u2195]{_AFTER})*)"
_UNDRESSED = re.compile(f"[{DRESS}]")
_SUBDIVISION = re.compile("\U0001f3f4[\U000e0020-\U000e007f]")
"""The flags of England, Scotland and Wales: a black flag and the name of the country in invisible signs."""

_NOT_IXM = (
    r"A-HJ-LN-WYZa-z\u00AA\u00B5\u00BA\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u02AF\u0370-\u037D\u037F-\u0481"
    r"\u048A-\u0556\u0561-\u0587\u05D0-\u05EA\u0620-\u064A\u0671-\u06D3\u0904-\u0939\u0E01-\u0E30\u1E00-\u1FFF"
    r"\u3041-\u3096\u30A1-\u30FA\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7A3"
)
_LETTER = f"{_NOT_IXM}IXM"
_WORD = (
    rf"0-9{_LETTER}\u0300-\u036F\u0483-\u0487\u0591-\u05BD\u064B-\u0669\u06F0-\u06F9\u0900-\u0963\u0966-\u1DFF"
    r"\u2C00-\u2DFF\u30FC-\u30FF\u3105-\u318E\uA000-\uABFF\U00010000-\U0001CFFF\U0001E000-\U0001EFFF"
    r"\U00020000-\U0003FFFF_"
)
_CAPITALS = re.compile(rf"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=_)(?!_)(?=[{_WORD}])")
_PATTERN = re.compile(
    r"(?P<link>(?:https?://|www\.)[^\s<>\"]+)"
    rf"|(?P<user>(?<![{_WORD}.@/])@[{_WORD}]{{1,50}})"
    rf"|(?P<tag>\#(?=[{_WORD}]*[{_LETTER}])[{_WORD}]+)"
    rf"|(?P<long>(?P<letter>[{_NOT_IXM}])(?P=letter){{2,}})"
    rf"|(?P<emoji>(?P<one>{_EMOJI})(?:\s*(?P=one))*)"
    r"|(?P<keycap>(?P<key>[0-9\#*])\uFE0F?\u20E3)"
)
_CANDIDATE_ASCII = re.compile(r"[@#]|https?://|www\.|([A-HJ-LN-WYZa-z])\1\1")
"""Where a match may begin: to look for that takes a third of the time that trying all of it anywhere does."""

_MAY_BEGIN = (
    r"[@#\u203C-\u2B55\U0001F004-\U0001FAFF]|https?://|www\.|([A-HJ-LN-WYZa-z\u00AA-\u1FFF\u3041-\uD7A3])\1\1"
)
_CANDIDATE = re.compile(_MAY_BEGIN)
_CANDIDATE_OR_KEYCAP = re.compile(rf"{_MAY_BEGIN}|[0-9*]\uFE0F?\u20E3")
_KEYCAP = "\u20e3"


def pieces_3(names: EmojiNames, text: str) -> Iterator[Piece]:
    """Yield the new text in pieces, each with the range of `text` that it stands for, in order.

    A piece as long as its range stands for it character for character.
    """
    read = read_markup(text)
    if read is None:
        return _pieces(names, plain_letters(text))
    return read.back(_pieces(names, plain_letters(read.text)))


def _pieces(names: EmojiNames, text: str) -> Iterator[Piece]:
    def read(match: re.Match[str]) -> Iterable[Piece]:
        found, start, end = match.group(), *match.span()
        if match.lastgroup == "tag":
            return tag_pieces(found, start, _CAPITALS)
        if match.lastgroup == "long":
            return ((found[: 1 if found[0].lower() in ONCE else 2], start, end),)
        return standing_for(_replacement(names, match), start, end)

    return with_rest(text, _matches(text), read)


def _matches(text: str) -> Iterator[re.Match[str]]:
    """Yield what `_PATTERN.finditer` does."""
    if text.isascii():
        search = _CANDIDATE_ASCII.search
    else:
        search = _CANDIDATE_OR_KEYCAP.search if _KEYCAP in text else _CANDIDATE.search
    candidate = search(text)
    while candidate:
        match = _PATTERN.match(text, candidate.start())
        if match:
            yield match
        candidate = search(text, match.end() if match else candidate.start() + 1)


def _replacement(names: EmojiNames, match: re.Match[str]) -> str:
    """Return the replacement for a link, a user's name, an emoji or a keycap."""
    if match["link"]:
        return "http"
    if match["user"]:
        return "@user"
    if match["keycap"]:
        return match["key"]
    return f" {name_of(names, match['one'])} "


def name_of(names: EmojiNames, emoji: str) -> str:
    """Return an emoji in words: the name of all of it, or else of its first character, or else "emoji"."""
    if "\U0001f1e6" <= emoji[0] <= "\U0001f1ff" or _SUBDIVISION.match(emoji):
        return "flag"
    whole = names.of(_UNDRESSED.sub("", emoji)) if len(emoji) > 1 else None
    return whole or names.of(emoji[0]) or UNKNOWN
