"""Text handling `social`: posts as an uncased model with Wikipedia's vocabulary can read them.

Version 1: user names and links become one word each, as in TweetEval (Barbieri et al. 2020,
arXiv:2010.12421). Literal escapes and HTML entities become what they stand for. Letters repeated three times
or more are cut to two, words in a hashtag are set apart by their capitals, and an emoji is named: the
vocabulary has hardly any, and would read all others as one and the same unknown word.

Version 2: the same, but letters that words hardly ever double are cut to one (`greaaaat`), and letters of
other shapes (full width, script), of which the vocabulary knows none, become plain ones first.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from worker.model.text.emoji import EMOJI, STARTS, emoji_name

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


PLAIN = _table()
_ANY = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _BLOCKS) + "]")


def plain_letters(text: str) -> str:
    """Return `text` with plain ASCII for each letter, digit or mark of another shape; its length stays.

    Such letters are full width, in circles, or the bold, italic and script ones of mathematics; people write
    with them to stand out. The plain one is that of Unicode's compatibility form (NFKC, Unicode Standard
    Annex 15), which is used for these blocks alone, so that one character stands for one.
    """
    return text if text.isascii() or not _ANY.search(text) else text.translate(PLAIN)


_PATTERN = re.compile(
    r"(?P<escape>(?:\\u[0-9a-fA-F]{4})+|\\[nrt](?![a-z]))"
    r"|(?P<entity>&(?:[a-zA-Z]{2,8}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});)"
    r"|(?P<link>(?:https?://|www\.)[^\s<>\"]+)"
    r"|(?P<user>(?<![\w.@/])@\w{1,50})"
    r"|(?P<tag>\#(?=\w*[^\W\d_])\w+)"
    r"|(?P<long>(?P<letter>[^\W\d_IXM])(?P=letter){2,})"
    rf"|(?P<emoji>(?P<one>{EMOJI})(?:\s*(?P=one))*)"
)
_CANDIDATE = re.compile(rf"[\\&@#{STARTS}]|https?://|www\.|([^\W\d_IXM])\1\1")
"""Where a match may begin: to look for that takes a third of the time that trying all of it anywhere does."""

_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=_)(?=[^\W_])")

ONCE = frozenset("aghijnrtuvwyz")
"""Letters to cut to one. In 175,000 posts and reviews, 567 words with one of these drawn out are in the
vocabulary with it once and not twice, 86 with it twice (56 of them `iii`). With `o`, `l` and `m` it is more
often the other way round."""

Piece = tuple[str, int, int]


def pieces(text: str) -> Iterator[Piece]:
    """Yield the new text in pieces, each with the range of `text` that it stands for, in order: version 1."""
    return _pieces(text, frozenset())


def pieces_2(text: str) -> Iterator[Piece]:
    """Yield the new text as `pieces` does: version 2."""
    return _pieces(plain_letters(text), ONCE)


def _pieces(text: str, once: frozenset[str]) -> Iterator[Piece]:
    def read(match: re.Match[str]) -> Iterable[Piece]:
        if match.lastgroup == "tag":
            return tag_pieces(match.group(), match.start())
        return ((_replacement(match, once), *match.span()),)

    return with_rest(text, _matches(text), read)


def with_rest(
    text: str, matches: Iterable[re.Match[str]], read: Callable[[re.Match[str]], Iterable[Piece]]
) -> Iterator[Piece]:
    """Yield what `read` makes of each match, and what stands between them as it is."""
    done = 0
    for match in matches:
        start, end = match.span()
        if start > done:
            yield text[done:start], done, start
        yield from read(match)
        done = end
    if done < len(text):
        yield text[done:], done, len(text)


def _matches(text: str) -> Iterator[re.Match[str]]:
    """Yield what `_PATTERN.finditer` does."""
    candidate = _CANDIDATE.search(text)
    while candidate:
        match = _PATTERN.match(text, candidate.start())
        if match:
            yield match
        candidate = _CANDIDATE.search(text, match.end() if match else candidate.start() + 1)


def _replacement(match: re.Match[str], once: frozenset[str]) -> str:
    """Return the replacement for a match of any kind except a hashtag."""
    found = match.group()
    if match["link"]:
        return "http"
    if match["user"]:
        return "@user"
    if match["long"]:
        return found[: 1 if found[0].lower() in once else 2]
    if match["emoji"]:
        return f" {emoji_name(match['one'])} "
    if match["entity"]:
        return html.unescape(found)
    return _unescaped(found)


def _unescaped(found: str) -> str:
    """Undo a run of literal escapes; surrogate pairs are joined, a lone one becomes U+FFFD."""
    if found[1] != "u":
        return " "
    units = "".join(chr(int(unit, 16)) for unit in found.split("\\u")[1:])
    joined = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "".join(f" {emoji_name(char)} " if re.fullmatch(EMOJI, char) else char for char in joined)


def tag_pieces(tag: str, start: int, capitals: re.Pattern[str] = _CAPITALS) -> Iterator[Piece]:
    """Yield a hashtag with a space between its words; the spaces stand for nothing."""
    done = 0
    for place in (match.start() for match in capitals.finditer(tag)):
        yield tag[done:place], start + done, start + place
        yield " ", start + place, start + place
        done = place
    yield tag[done:], start + done, start + len(tag)
