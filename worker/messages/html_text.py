"""HTML as the text that a reader sees."""

import re

from worker.errors import SettingsError
from worker.messages.body import without_entities

_TAG = re.compile(r"<(?:/?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?>|!--)")
"""A tag, or the beginning of a comment. In plain text people write `<3` and `a < b`, which are neither."""

_ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_UNSEEN = "script, style, template, noscript, title, .quote-inline"
"""What no reader sees. Mastodon puts the address of a quoted post into `.quote-inline`, for old programs."""

_PARAGRAPH, _LINE, _CELL = "\x1d", "\x1e", "\x1f"
"""Marks for where a paragraph, a line or a cell begins or ends."""

_BREAKS = re.compile(
    r"</?(?:(?P<paragraph>p|blockquote|pre|ul|ol|dl|table|h[1-6])|(?P<cell>td|th)"
    r"|br|hr|div|li|dt|dd|tr|section|article|header|footer|figure|figcaption)(?![A-Za-z0-9-])",
    re.IGNORECASE,
)
_MOST_TAGS = 5_000
"""With more tags they are only cut out: a parser takes minutes for 200,000 elements inside one another."""

_BLANKS = re.compile(r"[ \t\r\f\n]+")
_MARK = f"[{_PARAGRAPH}{_LINE}{_CELL}]"
_MARKS = re.compile(f" ?(?:{_MARK} ?)+")


class HtmlText:
    """Reads HTML.

    Raises:
        SettingsError: the package for it is not installed.
    """

    def __init__(self) -> None:
        try:
            from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - an extra
        except ImportError:
            raise SettingsError(
                ["source.html: reading HTML needs the extra `html`: pip install 'moodstream[html]'"]
            ) from None
        self._parse = LexborHTMLParser

    def __call__(self, source: str) -> str:
        """Return the text: paragraphs apart by an empty line, lines by a line break.

        What is written in attributes is left out, `alt` texts too. In text without any tag only entities
        (`&amp;`) are replaced, so that plain text passes unharmed.
        """
        if _TAG.search(source) is None:
            return without_entities(source) if _ENTITY.search(source) else source
        marked = _BREAKS.sub(_marked, re.sub(_MARK, "", source))
        return _MARKS.sub(_break, _BLANKS.sub(" ", self._text(marked))).strip()

    def _text(self, source: str) -> str:
        if source.count("<") > _MOST_TAGS:
            return without_entities(_TAG.sub("", source))
        tree = self._parse(source)
        for node in tree.css(_UNSEEN):
            node.decompose()
        root = tree.body or tree.root
        return root.text() if root is not None else ""


def _marked(tag: re.Match[str]) -> str:
    """Put the mark of a tag in front of it."""
    return (_PARAGRAPH if tag["paragraph"] else _CELL if tag["cell"] else _LINE) + tag[0]


def _break(marks: re.Match[str]) -> str:
    if _PARAGRAPH in marks[0]:
        return "\n\n"
    return "\n" if _LINE in marks[0] else " "
