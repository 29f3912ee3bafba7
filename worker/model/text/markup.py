"""Entities, escapes and HTML tags in a text as what they stand for, with the way back to the original.

Tags are recognised only by the names that HTML has, and only where their attributes are well formed: `<3`,
`a < b`, `List<String>` and `<username>` are text. What a reader of the page does not see is left out:
attributes with `alt` texts, comments, scripts and styles. All is read once: `&lt;b&gt;` is the text `<b>`.
"""

import html
import re
from collections.abc import Iterator
from functools import lru_cache
from html.entities import html5
from typing import NamedTuple

_BLOCKS = (
    "address article aside audio blockquote br caption center dd details div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hr iframe img input li main nav ol option p pre section "
    "summary table tbody td tfoot th thead tr ul video"
)
"""Elements that set apart what stands before and behind them."""

_INLINE = (
    "a abbr acronym b base bdi bdo big body button cite code col colgroup data del dfn em embed font head "
    "html i ins kbd label link mark meta object param path picture q s samp select small source span "
    "strike strong sub sup svg textarea time tt u var wbr"
)
_UNSEEN = "script style template noscript title"
"""Elements of which no reader sees the content; `worker/messages/html_text.py` leaves out the same."""

_BOOLEAN = (
    "allowfullscreen|async|autofocus|autoplay|checked|controls|defer|disabled|hidden|loop|multiple|muted|nowrap|open"
    "|readonly|required|selected"
)
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^\s"'<>=`]++)"""
_ATTRIBUTES = rf"(?:\s++(?:[a-z_:@][\w:.-]*+\s*+=\s*+{_VALUE}|(?:{_BOOLEAN})(?![\w=-])))*+"
_ELEMENTS = "|".join(sorted(f"{_BLOCKS} {_INLINE} {_UNSEEN}".split(), key=len, reverse=True))
_TAG = re.compile(
    rf"<(?:(?P<open>{_ELEMENTS})(?![\w:-])(?P<more>{_ATTRIBUTES})\s*+/?>|/(?P<close>{_ELEMENTS})\s*+>|!doctype\b[^<>]*+>)",
    re.ASCII | re.IGNORECASE,
)
_SPACED = frozenset(f"{_BLOCKS} {_UNSEEN}".split())
_HIDING = frozenset(_UNSEEN.split())
_LETTERS = frozenset("abiqsu")
"""The inline elements that code may hold as well: `a<b>c`."""

_UNIT = re.compile(
    r"\\u(?P<four>[0-9a-fA-F]{4})|\\U(?P<eight>[0-9a-fA-F]{8})|\\u\{(?P<braces>[0-9a-fA-F]{1,6})\}"
    r"|&\#(?P<decimal>[0-9]{1,8});|&\#[xX](?P<hex>[0-9a-fA-F]{1,7});"
)
"""One character by its number, or half of a surrogate pair."""

_NAMED = re.compile(r"&[a-zA-Z][a-zA-Z0-9]{1,31};")
_BLANK = re.compile(r"\\[nrt](?![a-z])")
_START = re.compile(r"[&<\\]")
_ASCII_WORD = re.compile("[A-Za-z0-9]")
_LAST_CODE = 0x10FFFF


class Segment(NamedTuple):
    """A part of the text that was read, and the range of the original that it stands for.

    What was left as it is has the length of its range; whatever was read is shorter.
    """

    start: int
    end: int
    first: int
    last: int

    def begin(self, place: int) -> int:
        """Return where in the original the character at `place` begins."""
        return (
            self.first + place - self.start if self.end - self.start == self.last - self.first else self.first
        )

    def stop(self, place: int) -> int:
        """Return where in the original the character before `place` ends."""
        return self.last + place - self.end if self.end - self.start == self.last - self.first else self.last


class Read(NamedTuple):
    """A text that was read, and its parts in their order."""

    text: str
    segments: list[Segment]

    def back(self, pieces: Iterator[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
        """Yield pieces of what was made of this text with their ranges in the original.

        A piece as long as its range stands for it character for character, before and after.
        """
        at, segments = 0, self.segments
        for piece, start, end in pieces:
            while segments[at].end <= start and at + 1 < len(segments):
                at += 1
            if start == end:
                place = segments[at].begin(start)
                yield piece, place, place
            elif len(piece) != end - start:
                first = segments[at].begin(start)
                while segments[at].end < end:
                    at += 1
                yield from standing_for(piece, first, segments[at].stop(end))
            else:
                done = start
                while done < end:
                    segment = segments[at]
                    stop = min(end, segment.end)
                    yield piece[done - start : stop - start], segment.begin(done), segment.stop(stop)
                    done = stop
                    at += stop == segment.end < end


def standing_for(piece: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Yield a piece all of which stands for a range: in two parts where it happens to be as long as that."""
    if len(piece) == end - start > 1:
        yield piece[:1], start, end
        yield piece[1:], start, end
    elif piece:
        yield piece, start, end


def read_markup(text: str) -> Read | None:
    """Return the text with its entities, escapes and tags read, or None if it has none."""
    candidate = _START.search(text)
    if candidate is None:
        return None
    reader = _Reader(text)
    while candidate is not None:
        place = candidate.start()
        candidate = _START.search(text, reader.at(place) or place + 1)
    return reader.read() if reader.done else None


def around(text: str, place: int) -> tuple[int, int]:
    """Return the range of the tag, comment or unseen element that `place` lies within, else (place, place).

    A text that was cut there would show what no reader sees. What stands before `place` is searched once.
    """
    if text.rfind("<", 0, place) < 0:
        return place, place
    before = _lower(text[:place])
    found: list[tuple[int, int]] = []
    # The first of its name behind the last end: others within it are its content.
    starts = [before.find(f"<{name}", before.rfind(f"</{name}>") + 1) for name in _HIDING]
    for start in (*starts, before.rfind("<")):
        tag = _TAG.match(text, start) if start >= 0 else None
        if tag is not None:
            name = (tag["open"] or "").lower()
            found.append((start, tag.end()))
            if name in _HIDING:
                found.append((start, _behind(text, f"</{name}>", tag.end())))
    starts = [before.find("<!--", before.rfind("-->") + 1), before.rfind("<")]
    found += [
        (start, _behind(text, "-->", start + 4))
        for start in starts
        if start >= 0 and text.startswith("<!--", start)
    ]
    dividing = [each for each in found if each[1] > place]
    return min(dividing, key=lambda each: (each[0], -each[1]), default=(place, place))


def _behind(text: str, what: str, start: int) -> int:
    """Return the place behind the next `what`, in any case, or 0."""
    found = _close(what).search(text, start)
    return found.end() if found else 0


@lru_cache
def _close(what: str) -> re.Pattern[str]:
    return re.compile(re.escape(what), re.ASCII | re.IGNORECASE)


class _Reader:
    """Reads one text from its beginning to its end; `done` is the place up to which it is read."""

    def __init__(self, text: str) -> None:
        self.done = 0
        self._text = text
        self._lower = ""
        self._length = 0
        self._parts: list[str] = []
        self._segments: list[Segment] = []
        self._unclosed: set[str] = set()
        self._lasts: dict[str, int] = {}

    def at(self, place: int) -> int:
        """Read what stands at `place`; return where it ends, or 0 if nothing is there to read."""
        found = self._tag(place) if self._text[place] == "<" else self._sign(place)
        if found is None:
            return 0
        new, end = found
        self._add(self._text[self.done : place], place)
        self._add(new, end)
        return end

    def read(self) -> Read:
        """Return all of the text."""
        self._add(self._text[self.done :], len(self._text))
        return Read("".join(self._parts), self._segments)

    def _add(self, new: str, end: int) -> None:
        """Go on to `end`, with the new text for what is passed."""
        if new:
            self._parts.append(new)
            length = self._length + len(new)
            self._segments.append(Segment(self._length, length, self.done, end))
            self._length = length
        self.done = end

    def _sign(self, place: int) -> tuple[str, int] | None:
        """Read an entity or an escape: the two halves of a surrogate pair are one character."""
        unit = _UNIT.match(self._text, place)
        if unit is None:
            return self._named(place)
        code, end = _code(unit), unit.end()
        if code is None:
            return None
        if 0xD800 <= code < 0xDC00 and (other := _UNIT.match(self._text, end)):
            low = _code(other) or 0
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + (code - 0xD800 << 10) + (low - 0xDC00)), other.end()
        # As in HTML: a lone half and what is beyond Unicode become U+FFFD, `&#150;` the dash that it was in
        # Windows, and a control character nothing.
        return html.unescape(f"&#{code};"), end

    def _named(self, place: int) -> tuple[str, int] | None:
        if named := _NAMED.match(self._text, place):
            new = html5.get(named.group()[1:])
            return None if new is None else (new, named.end())
        blank = _BLANK.match(self._text, place)
        return (" ", blank.end()) if blank else None

    def _tag(self, place: int) -> tuple[str, int] | None:
        """Read a tag, a comment, or an element of which nothing is seen."""
        text = self._text
        if text.startswith("<!--", place):
            end = self._after("-->", place + 4)
            return ("", end) if end else None
        tag = _TAG.match(text, place)
        if tag is None:
            return None
        name, end = (tag["open"] or tag["close"] or "").lower(), tag.end()
        if tag["open"]:
            if name in _LETTERS and not tag["more"] and place and _ASCII_WORD.match(text, place - 1):
                # A tag within a word has its end somewhere.
                return ("", end) if self._last(f"</{name}>") >= end else None
            if name in _HIDING:
                end = self._after(f"</{name}>", end) or end
        return (" " if name in _SPACED else ""), end

    def _after(self, what: str, start: int) -> int:
        """Return the place behind the next `what`, in any case, or 0: looked for once if there is none."""
        if what in self._unclosed:
            return 0
        self._lower = self._lower or _lower(self._text)
        place = self._lower.find(what, start)
        if place < 0:
            self._unclosed.add(what)
            return 0
        return place + len(what)

    def _last(self, what: str) -> int:
        """Return the place of the last `what`, in any case, or -1: looked for once."""
        if what not in self._lasts:
            self._lower = self._lower or _lower(self._text)
            self._lasts[what] = self._lower.rfind(what)
        return self._lasts[what]


def _code(unit: re.Match[str]) -> int | None:
    """Return the number of the character, or None for an escape of what is beyond Unicode: that is text."""
    if unit["decimal"]:
        return int(unit["decimal"])
    code = int(unit["four"] or unit["eight"] or unit["braces"] or unit["hex"], 16)
    return code if code <= _LAST_CODE or unit["hex"] else None


def _lower(text: str) -> str:
    """Return the text with ASCII's capitals in lower case: its length stays."""
    return text.translate(_LOWER)


_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
