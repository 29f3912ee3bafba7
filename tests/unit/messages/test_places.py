"""Which fields a setting reads: no other field makes a difference, and no part of the text is missed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.expressions import parse_expression, parse_list
from worker.messages.fields import Fields
from worker.messages.watch import Unmatched
from worker.settings.groups import SourceSettings

EXPRESSIONS = [
    "a",
    "a.b",
    "a.0.b",
    '"a.b"',
    "a | b",
    "a.b || b.a",
    "a[*].b",
    "a[0].b",
    "a[?b == 'x'].c | [0]",
    "join(' ', a[*].b)",
    "not_null(a, b.c, `1`)",
    "sort_by(a, &b)[0].c",
    "{x: a, y: b}.x",
    "[a, b.c]",
    "a && !b",
    "a[1:3]",
    "a.*.b",
    "to_number(a) > `3`",
]
ANYTHING = ["@", "*", "*.b", "values(@)", "keys(@)[0]", "a[?@ == 'x']"]
KEYS = st.sampled_from(["a", "b", "c", "x", "a.b", "z"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 5) | st.sampled_from(["x", "4", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(EXPRESSIONS), st.dictionaries(KEYS, VALUES, max_size=5))
def test_a_field_that_is_not_named_makes_no_difference(text: str, body: dict[str, Any]) -> None:
    expression = parse_expression(text)
    names: set[str] = set()
    for way in expression.ways:
        assert way.names is not None
        names |= way.names
    assert expression.find({name: value for name, value in body.items() if name in names}) == (
        expression.find(body)
    )


@pytest.mark.parametrize("text", ANYTHING)
def test_an_expression_that_takes_fields_as_they_come_may_read_any(text: str) -> None:
    [part] = parse_list(text)
    assert any(way.names is None for way in part.ways)


def test_the_places_of_settings() -> None:
    fields = Fields.of(
        SourceSettings(text_field="title, body.text | text", filter="stars > `3`", time_field="at"),
        keep=["user.name as by", "tags[0] as tag"],
    )
    places = fields.places
    assert places.text == ("title", "body.text", "text")
    assert places.only is None
    assert places.kept == (("user.name",), ())
    assert places.read == frozenset({"title", "body.text", "text", "stars", "at", "user.name", "tags"})
    assert places.holds_text == frozenset({"title", "body", "body.text", "text"})
    assert Fields.at("body.text").places.only == "body.text"
    assert Fields.of(SourceSettings(text_field="body", html="strip")).places.only is None
    envelope = Fields.of(SourceSettings(preset="mastodon")).places
    assert (envelope.text, envelope.only, envelope.read) == ((), None, None)
    assert {"payload", "content", "reblog"} <= (envelope.holds_text or set())


def test_what_matched_nothing_is_told_at_the_end_of_a_short_stream() -> None:
    told: list[Unmatched] = []
    fields = Fields.of(SourceSettings(time_field="at"), on_unmatched=told.append)
    fields.end()
    assert told == []  # nothing was read
    fields = Fields.of(SourceSettings(time_field="at"), on_unmatched=told.append)
    fields.read({"text": "so good", "time": 1})
    fields.end()
    fields.end()
    assert told == [Unmatched(("source.time_field `at`",), ("text", "time"), 1)]
    fields = Fields.of(SourceSettings(time_field="at"), on_unmatched=told.append)
    fields.read({"text": "so good", "at": 1_719_835_200})
    fields.end()
    assert len(told) == 1
