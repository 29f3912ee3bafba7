"""Which fields of a body the settings read: a table need read no other columns, and names them in errors."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from worker.expressions import Expression, Keep, Path
from worker.messages.presets import Preset


class Places(NamedTuple):
    """What is known of the places that are read.

    Fields:
        text: the paths at which the text may be; none where this is not known.
        only: the path of the text where the text is that value, and nothing else.
        kept: for each field that is kept, the paths at which it may be; none where this is not known.
        read: paths, and names among which are the fields at the top that are read; None where any may be.
        holds_text: fields at the top that may hold the text or a part of it; None where it may be any.
    """

    text: tuple[str, ...]
    only: str | None
    kept: tuple[tuple[str, ...], ...]
    read: frozenset[str] | None
    holds_text: frozenset[str] | None

    @classmethod
    def of(
        cls,
        text: Sequence[Expression],
        keep: Sequence[Keep],
        others: Sequence[Expression],
        *,
        preset: Preset | None,
        html: bool,
    ) -> Self:
        """Find the places of expressions.

        Args:
            text: those of the parts of the text.
            keep: the fields that are kept.
            others: all other expressions.
            preset: the shape of the messages; in an envelope nothing is known.
            html: the text is made from HTML.
        """
        enveloped = preset is not None and preset.unwrap is not None
        plain = text[0].plain if len(text) == 1 else None
        kept = [each.expression for each in keep]
        holds_text = _names(text)
        return cls(
            text=() if enveloped else _paths(text),
            only=None if enveloped or html or plain is None else plain.text,
            kept=tuple(() if enveloped else _paths([each]) for each in kept),
            read=None if enveloped else _names([*text, *kept, *others], whole_paths=True),
            holds_text=None
            if holds_text is None
            else holds_text | frozenset(preset.envelope if preset is not None else ()),
        )


def _paths(expressions: Iterable[Expression]) -> tuple[str, ...]:
    """Return all ways of these expressions if each is a path, else none."""
    ways = [way for expression in expressions for way in expression.ways]
    paths = tuple(way.text for way in ways if isinstance(way, Path))
    return paths if len(paths) == len(ways) else ()


def _names(expressions: Iterable[Expression], *, whole_paths: bool = False) -> frozenset[str] | None:
    """Return the fields at the top that expressions may read; of paths the whole instead if `whole_paths`."""
    found: set[str] = set()
    for way in (way for expression in expressions for way in expression.ways):
        names = frozenset({way.text}) if whole_paths and isinstance(way, Path) else way.names
        if names is None:
            return None
        found |= names
    return frozenset(found)
