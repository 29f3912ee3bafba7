"""Where things lie in a message: text, time, id, language, what is kept, and whether it is wanted at all."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from worker.errors import DecodeError, FilterNotBoolean, TextEmpty, TextMissing, TextNotString
from worker.expressions import (
    MISSING,
    Expression,
    Keep,
    Path,
    Query,
    follow,
    parse_expression,
    parse_filter,
    parse_keep,
    parse_list,
    split_type,
)
from worker.messages.body import as_text, kind_of, language_tag
from worker.messages.html_text import HtmlText
from worker.messages.places import Places
from worker.messages.presets import PRESETS, UNAVAILABLE, Preset, Verdict
from worker.messages.scalars import identifier, scalar, time_ms
from worker.messages.watch import Unmatched, Watch
from worker.settings.groups import SourceSettings
from worker.types import Scalar, Tombstone

__all__ = ["Extracted", "Fields", "Keep", "Scalar", "parse_keep"]

_NOTHING_KEPT: Mapping[str, Scalar] = {}

Found = TypeVar("Found")


class Extracted(NamedTuple):
    """What a body holds. `time_ms` is Unix time; each of None is for the caller to fill in.

    `kept` has one entry for each `sink.keep`, None where the body has no such value.
    """

    text: str
    lang: str | None = None
    event_id: str | None = None
    time_ms: int | None = None
    kept: Mapping[str, Scalar] = _NOTHING_KEPT


class _Unchanged(Exception):
    """A change event that leaves the text out, since it is as it was."""


class Fields:
    """Reads bodies as the settings of `source` say.

    Args:
        text: expressions of the parts of the text, in order.
        time, id_, lang: expressions of the other values; None leaves them to the record.
        filters: all must be true for a body to be read.
        keep: what the output keeps.
        preset: the shape of the messages.
        html: the texts are HTML.
        on_unmatched: called once, after the first thousand objects, with the settings that matched none.
        own: the fields of `SourceSettings` that the user set; what a preset adds need not match.
    """

    def __init__(
        self,
        text: Sequence[Expression],
        *,
        time: Expression | None = None,
        id_: Expression | None = None,
        lang: Expression | None = None,
        filters: Sequence[Expression] = (),
        keep: Sequence[Keep] = (),
        preset: Preset | None = None,
        html: bool = False,
        on_unmatched: Callable[[Unmatched], None] | None = None,
        own: Collection[str] = ("text_field",),
    ) -> None:
        self._text = tuple(text)
        self._time, self._id, self._lang = time, id_, lang
        self._filters = tuple(filters)
        self._keep = tuple(keep)
        self._unwrap = preset.unwrap if preset is not None else None
        self._html = HtmlText() if html else None
        only = text[0].plain if len(text) == 1 else None
        extras = (time, id_, lang, self._filters, self._keep, preset)
        self._simple = None if html or any(extras) else only
        """The path of the text where that is all there is to read."""
        self.places = Places.of(
            text,
            keep,
            [each for each in (time, id_, lang, *filters) if each is not None],
            preset=preset,
            html=html,
        )
        self._watch = None
        if on_unmatched is not None:
            filtered = f"source.filter `{filters[-1].text}`" if filters and "filter" in own else None
            self._watch = Watch(self._checks(own), filtered, on_unmatched)

    @classmethod
    def of(
        cls,
        source: SourceSettings,
        keep: Sequence[str] = (),
        on_unmatched: Callable[[Unmatched], None] | None = None,
    ) -> "Fields":
        """Read the settings. What a preset says counts where the user has set nothing.

        Raises:
            ExpressionError: an expression of `keep` cannot be used; those of `source` were checked.
            SettingsError: HTML is to be read and the package for it is missing.
        """
        preset = None if source.preset is None else PRESETS[source.preset]
        base = preset or Preset()
        own = {name for name in source.model_fields_set if getattr(source, name) is not None}
        own_text = preset is None or "text_field" in own
        filters = [each for each in (base.filter, source.filter) if each is not None]
        return cls(
            parse_list(source.text_field if own_text else base.text),
            time=_expression(source.time_field or base.time),
            id_=_expression(source.id_field or base.id),
            lang=_expression(source.lang_field or base.lang),
            filters=[parse_filter(each) for each in filters],
            keep=[parse_keep(split_type(each)[0]) for each in keep],
            preset=preset,
            html=source.html == "strip" or (source.html == "auto" and base.html),
            on_unmatched=on_unmatched,
            own=own if preset is not None else own | {"text_field"},
        )

    @property
    def whole_arrays(self) -> bool:
        """Whether the text is looked for in an array as a whole, as in `0.text` or `[0].text`."""
        return any(
            way.steps[0].isdigit() if isinstance(way, Path) else way.text.lstrip()[:1] in {"[", "@"}
            for expression in self._text
            for way in expression.ways
        )

    @classmethod
    def at(cls, text_field: str) -> "Fields":
        """Make what reads the text alone.

        Raises:
            ExpressionError: `text_field` cannot be used.
        """
        return cls(parse_list(text_field))

    def read(self, body: object) -> Extracted | Tombstone | None:
        """Read one body. A string is the text itself.

        Returns:
            What the body holds; a tombstone for the event that a row is deleted; None for a body that the
            filter drops, that its preset has no use for, or whose text an update left as it was.

        Raises:
            DecodeError: there is no text, or the filter is neither true nor false.
        """
        if self._watch is not None:
            self._observe(body)
        if self._simple is not None:
            text, lang = _text_at(body, self._simple)
            return Extracted(text, lang)
        body = self._unwrapped(body)
        if isinstance(body, Verdict):
            return Tombstone() if body is Verdict.DELETED else None
        if not self._wanted(body):
            return None
        try:
            text, lang = self._text_and_language(body)
        except _Unchanged:
            return None
        if self._lang is not None:
            lang = _first(self._lang, body, language_tag) or lang
        return Extracted(
            text,
            None if lang == "und" else lang,
            None if self._id is None else _first(self._id, body, identifier),
            None if self._time is None else _first(self._time, body, time_ms),
            {keep.name: _kept(keep.expression.find(body)) for keep in self._keep}
            if self._keep
            else _NOTHING_KEPT,
        )

    def end(self) -> None:
        """Call `on_unmatched` now, though fewer than a thousand objects were read: there are no more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.end()

    def _observe(self, body: object) -> None:
        """Let the watch see an object, as the expressions see it."""
        body = self._unwrapped(body) if isinstance(body, Mapping) else None
        if self._watch is None or not isinstance(body, Mapping):
            return
        # What is neither true nor false has matched something, and has its own error.
        wanted = all(each.verdict(body) is not False for each in self._filters)
        if self._watch.look(body, wanted=wanted):
            self._watch = None

    def _unwrapped(self, body: object) -> object:
        return body if self._unwrap is None else self._unwrap(body)

    def _wanted(self, body: object) -> bool:
        """Whether no filter drops the body.

        Raises:
            FilterNotBoolean: a filter is neither true nor false.
        """
        for expression in self._filters:
            found = expression.verdict(body)
            if found is False:
                return False
            if found is not True:
                raise FilterNotBoolean(
                    f"source.filter gives {kind_of(found)} for this message, not true or false"
                )
        return True

    def _text_and_language(self, body: object) -> tuple[str, str | None]:
        """Join the parts of the text with line breaks; parts that are not there are left out."""
        if isinstance(body, str):
            return self._as_text(body, "the value"), None
        if len(self._text) == 1:
            return self._part(body, self._text[0])
        parts: list[tuple[str, str | None]] = []
        error: DecodeError | None = None
        for expression in self._text:
            try:
                parts.append(self._part(body, expression))
            except (TextMissing, TextEmpty) as missing:
                error = error if isinstance(error, TextEmpty) else missing
        if not parts:
            raise error or TextMissing("text_field is empty")
        tags = (tag for _, tag in parts if tag is not None)
        return "\n".join(text for text, _ in parts), next(tags, None)

    def _part(self, body: object, expression: Expression) -> tuple[str, str | None]:
        """Find one part of the text, and the language beside it: the first way to a visible text counts."""
        if expression.plain is not None and len(self._text) == 1:
            around = _walk(body, expression.plain)
            return self._as_text(around[-1], f"`{expression.text}`"), _language_of(around)
        error: DecodeError | None = None
        for way in expression.ways:
            value = way.find(body)
            if value is None:
                continue
            if isinstance(way, Query) and isinstance(value, list):
                value = "\n".join(each for each in value if isinstance(each, str))
            try:
                text = self._as_text(value, f"`{way.text}`")
            except (TextEmpty, TextNotString) as unusable:
                error = error or unusable
                continue
            return text, _language_of(_walk(body, way) if isinstance(way, Path) else [body, text])
        raise error or TextMissing(f"nothing at `{expression.text}` (text_field): {_what_is_there(body)}")

    def _as_text(self, value: object, where: str) -> str:
        if self._unwrap is not None and value == UNAVAILABLE:
            raise _Unchanged
        if self._html is not None and isinstance(value, str):
            value = self._html(value)
        return as_text(value, where)

    @property
    def text_names(self) -> tuple[str, ...]:
        """The fields of a message of which one must be there for the text; none where this is not known.

        With a filter it is not: messages of another kind may be meant to be dropped.
        """
        return tuple(self.places.holds_text or ()) if self.places.text and not self._filters else ()

    def _checks(self, own: Collection[str]) -> dict[str, Callable[[object], bool]]:
        """For each setting of the user's own: whether it matches a body. A preset's text need match once."""
        checks: dict[str, Callable[[object], bool]] = {}
        if "text_field" in own:
            for expression in self._text:
                checks[f"source.text_field `{expression.text}`"] = _matches(expression, _itself)
        else:
            checks["source.preset"] = lambda body: any(each.find(body) is not None for each in self._text)
        named = {"time_field": self._time, "id_field": self._id, "lang_field": self._lang}
        usable = {"time_field": time_ms, "id_field": identifier, "lang_field": language_tag}
        for name, each in named.items():
            if each is not None and name in own:
                checks[f"source.{name} `{each.text}`"] = _matches(each, usable[name])
        for keep in self._keep:
            checks[f"sink.keep `{keep.expression.text}`"] = _matches(keep.expression, _itself)
        return checks


def _expression(text: str | None) -> Expression | None:
    return None if text is None else parse_expression(text)


def _itself(value: object) -> object:
    return value


def _matches(expression: Expression, convert: Callable[[object], object]) -> Callable[[object], bool]:
    return lambda body: _first(expression, body, convert) is not None


def _first(expression: Expression, body: object, convert: Callable[[object], Found | None]) -> Found | None:
    """Return the first value that can be converted."""
    for value in expression.all(body):
        found = convert(value)
        if found is not None:
            return found
    return None


def _kept(value: object) -> Scalar:
    return None if value == UNAVAILABLE else scalar(value)


def _text_at(body: object, path: Path) -> tuple[str, str | None]:
    """Find the text in a JSON value, and its language in the same object or an enclosing one.

    A JSON string is the text itself. The nearest object whose `lang` is a language tag gives the language.

    Raises:
        TextMissing, TextNotString, TextEmpty: there is no text at the path.
    """
    if isinstance(body, str):
        return as_text(body, "the value"), None
    if isinstance(body, dict) and (value := body.get(path.text)) is not None:  # by far the most common case
        tag = language_tag(body.get("lang"))
        return as_text(value, path.quoted), None if tag == "und" else tag
    around = _walk(body, path)
    return as_text(around[-1], path.quoted), _language_of(around)


def _language_of(around: Sequence[object]) -> str | None:
    for each in reversed(around[:-1]):
        if isinstance(each, Mapping) and (tag := language_tag(each.get("lang"))) is not None:
            return None if tag == "und" else tag
    return None


def _walk(value: object, path: Path) -> list[object]:
    """Follow a dotted path. A key that contains the dots itself wins.

    Returns:
        All values on the path, from the outermost to the one that it names.

    Raises:
        TextMissing: names the first step that does not exist, and the kind of value that is there instead.
    """
    if isinstance(value, Mapping) and path.text in value:
        return [value, value[path.text]]
    passed = [value]
    for number, step in enumerate(path.steps):
        found = follow(passed[-1], step)
        if found is MISSING:
            where = f"under `{'.'.join(path.steps[:number])}`" if number else "in the message"
            raise TextMissing(
                f"no field `{step}` {where} (text_field is `{path.text}`): {_what_is_there(passed[-1])}"
            )
        passed.append(found)
    return passed


def _what_is_there(here: object) -> str:
    """Describe a value, but never by the names of its fields: they are content too."""
    if isinstance(here, Mapping):
        if not here:
            return "it is an empty object"
        return (
            "it is an object with one other field"
            if len(here) == 1
            else f"it is an object with {len(here)} other fields"
        )
    if isinstance(here, list):
        return f"it is an array of {len(here)}"
    return f"it is {kind_of(here)}"
