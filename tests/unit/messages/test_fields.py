"""Where things lie in a message: its values, what is kept, what is filtered, and what is never there."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import (
    DecodeError,
    ExpressionError,
    FilterNotBoolean,
    TextEmpty,
    TextMissing,
    TextNotString,
)
from worker.expressions import parse_list
from worker.messages.fields import Extracted, Fields
from worker.messages.presets import PRESETS
from worker.messages.scalars import scalar, time_ms
from worker.messages.watch import BODIES, Unmatched
from worker.settings.groups import SourceSettings
from worker.types import Tombstone


def read(body: object, *keep: str, **source: Any) -> Extracted | Tombstone | None:
    return Fields.of(SourceSettings(**source), keep).read(body)


def found(body: object, *keep: str, **source: Any) -> Extracted:
    result = read(body, *keep, **source)
    assert isinstance(result, Extracted)
    return result


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"title": "Good", "body": "Works."}, "Good\nWorks."),
        ({"title": "Good"}, "Good"),
        ({"title": None, "body": "Works."}, "Works."),
        ({"title": " ", "body": "Works."}, "Works."),
        ("just text", "just text"),
    ],
)
def test_several_paths_are_joined_by_line_breaks(body: object, text: str) -> None:
    assert found(body, text_field="title, body").text == text


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"other": 1}, TextMissing),
        ({"title": "", "other": 1}, TextEmpty),
        ({"title": "Good", "body": 5}, TextNotString),
    ],
)
def test_joined_paths_without_a_text(body: object, error: type[DecodeError]) -> None:
    with pytest.raises(error):
        read(body, text_field="title, body")


@pytest.mark.parametrize("sign", ["|", "||"])
def test_of_alternatives_the_first_with_text_counts(sign: str) -> None:
    field = f"full_text {sign} text"
    assert found({"text": "cut…", "full_text": "whole"}, text_field=field).text == "whole"
    assert found({"text": "short", "full_text": ""}, text_field=field).text == "short"
    assert found({"text": "short", "full_text": {}}, text_field=field).text == "short"
    with pytest.raises(TextMissing, match="nothing at `full_text"):
        read({"a": 1}, text_field=field)


def test_the_texts_of_an_expression_are_joined() -> None:
    body = {"parts": [{"text": "one"}, {"text": "two"}, {"image": 1}]}
    assert found(body, text_field="parts[*].text").text == "one\ntwo"


def test_the_language_stands_beside_the_text_or_where_the_setting_says() -> None:
    body = {"lang": "fr", "review": {"body": "x", "lang": "en_GB"}, "locale": "de-DE"}
    assert found(body, text_field="review.body").lang == "en-GB"
    assert found(body, text_field="nothing, review.body").lang == "en-GB"
    assert found(body, text_field="review.body", lang_field="locale").lang == "de-DE"
    assert found(body, text_field="review.body", lang_field="nothing").lang == "en-GB"
    assert found({"text": "x", "locale": "und", "lang": "en"}, lang_field="locale").lang is None


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("2024-07-01T12:00:00Z", 1_719_835_200_000),
        ("2024-07-01T14:00:00.123+02:00", 1_719_835_200_123),
        ("2024-07-01 12:00:00", 1_719_835_200_000),
        ("20240701", 1_719_792_000_000),
        (1_719_835_200, 1_719_835_200_000),
        (1_719_835_200.5, 1_719_835_200_500),
        (1_719_835_200_123, 1_719_835_200_123),
        (1_719_835_200_123_999, 1_719_835_200_123),
        (1_719_835_200_123_999_999, 1_719_835_200_123),
        ("1719835200", 1_719_835_200_000),
        ("1719835200123", 1_719_835_200_123),
        (-86_400, -86_400_000),
        (0, 0),
    ],
)
def test_a_time_is_read_in_the_unit_that_its_size_tells(value: object, ms: int) -> None:
    assert time_ms(value) == ms
    assert found({"text": "x", "at": value}, time_field="at").time_ms == ms


@pytest.mark.parametrize(
    "value",
    [
        "+50000-01-01T00:00:00Z",
        "50000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59x",
        10**20,
        1e300,
        math.inf,
        math.nan,
        True,
        None,
        "yesterday",
        "2024",
        [],
    ],
)
def test_what_is_no_time_leaves_the_time_to_the_record(value: object) -> None:
    assert found({"text": "x", "at": value}, time_field="at").time_ms is None


def test_the_first_time_that_can_be_read_counts() -> None:
    body = {"text": "x", "a": "Wed Oct 10 20:19:24 2018", "b": "1719835200000"}
    assert found(body, time_field="a | b").time_ms == 1_719_835_200_000


@pytest.mark.parametrize(("value", "event_id"), [("a7", "a7"), (17, "17"), (0, "0"), ("", None), (1.5, None)])
def test_an_id_is_a_string_or_a_whole_number(value: object, event_id: str | None) -> None:
    assert found({"text": "x", "id": value}, id_field="id").event_id == event_id


def test_what_is_kept_becomes_flat_values() -> None:
    body = {
        "text": "x",
        "product": "kettle",
        "author": {"name": "Ann", "since": 2019},
        "stars": 4,
        "verified": True,
        "tags": ["a", "b"],
        "huge": 10**30,
    }
    kept = found(
        body, "product", "author.name as author", "author as who", "stars", "verified", "tags", "no", "huge"
    ).kept
    assert kept == {
        "product": "kettle",
        "author": "Ann",
        "who": '{"name":"Ann","since":2019}',
        "stars": 4,
        "verified": True,
        "tags": '["a","b"]',
        "no": None,
        "huge": 1e30,
    }


def test_a_filter_drops_what_it_is_false_for() -> None:
    kept = {"text": "x", "lang": "en", "stars": 5}
    assert found(kept, filter="lang == 'en' && stars >= `4`").text == "x"
    assert read({**kept, "stars": 1}, filter="lang == 'en' && stars >= `4`") is None
    # It is asked before the text: what it drops needs none.
    assert read({"lang": "de"}, filter="lang == 'en'") is None


@pytest.mark.parametrize("sign", ["||", "|"])
def test_an_or_between_two_paths_in_a_filter_is_an_or(sign: str) -> None:
    body = {"text": "x"}
    expression = f"verified {sign} starred"
    for more, wanted in (
        ({"verified": False, "starred": True}, True),
        ({"verified": True, "starred": False}, True),
        ({"starred": True}, True),
        ({"verified": None, "starred": True}, True),
        ({"verified": False, "starred": False}, False),
        ({"verified": False}, False),
    ):
        assert (read({**body, **more}, filter=expression) is not None) is wanted, more
        if sign == "||" and len(more) == 2 and None not in more.values():  # as JMESPath itself says
            assert (read({**body, **more}, filter=f"({expression})") is not None) is wanted
    for odd in ({}, {"verified": "yes"}, {"verified": False, "starred": 1}):
        with pytest.raises(FilterNotBoolean):
            read({**body, **odd}, filter=expression)


@pytest.mark.parametrize("expression", ["stars", "stars > 'a'", "missing", "stars > missing"])
def test_a_filter_that_is_no_boolean_is_a_dead_letter(expression: str) -> None:
    with pytest.raises(FilterNotBoolean) as caught:
        read({"text": "x", "stars": 5}, filter=expression)
    assert caught.value.reason == "filter_not_boolean"
    assert str(caught.value).startswith("source.filter gives ")


def test_html_is_read_where_the_setting_asks_for_it() -> None:
    body = {"text": "<p>Good &amp; cheap</p>"}
    assert found(body).text == "<p>Good &amp; cheap</p>"
    assert found(body, html="strip").text == "Good & cheap"
    with pytest.raises(TextEmpty):
        read({"text": "<p><img alt='cat'></p>"}, html="strip")


def test_a_setting_that_matches_nothing_is_reported_once_with_the_fields_seen() -> None:
    reports: list[Unmatched] = []
    source = SourceSettings(text_field="title, txet", time_field="at", id_field="id")
    fields = Fields.of(source, ["product", "prodcut as p"], reports.append)
    for number in range(BODIES + 5):
        assert not reports or number >= BODIES
        fields.read({"id": number, "title": "t", "product": 1, "author": {"na\x1bme": "A"}, "at": "never"})
    assert reports == [
        Unmatched(
            ("source.text_field `txet`", "source.time_field `at`", "sink.keep `prodcut`"),
            ("id", "title", "product", "author", "author.na\\x1bme", "at"),
        )
    ]


def test_the_fields_that_a_report_names_are_bounded() -> None:
    reports: list[Unmatched] = []
    fields = Fields.of(SourceSettings(), [], reports.append)
    for number in range(BODIES):
        with pytest.raises(TextMissing):
            fields.read({f"{'k' * 300}{number}-{place}": 1 for place in range(50)})
    (report,) = reports
    assert report.settings == ("source.text_field `text`",)
    assert len(report.fields) == 1
    assert len(report.fields[0]) == 40


def test_a_filter_that_lets_nothing_through_is_the_only_one_reported() -> None:
    reports: list[Unmatched] = []
    source = SourceSettings(filter='lang == "en"', time_field="at")
    fields = Fields.of(source, [], reports.append)
    for _ in range(BODIES):
        assert fields.read({"text": "x", "lang": "en"}) is None
    assert reports == [Unmatched(('source.filter `lang == "en"`',), ("text", "lang"))]


def test_a_setting_that_matches_once_in_a_thousand_is_not_reported() -> None:
    reports: list[Unmatched] = []
    fields = Fields.of(SourceSettings(time_field="at"), [], reports.append)
    for number in range(BODIES):
        fields.read({"text": "x", "at": "2024-07-01T00:00:00Z"} if number == 700 else {"text": "x"})
    assert reports == []


NAMES = [
    "text",
    "a",
    "b",
    "schema",
    "payload",
    "op",
    "after",
    "before",
    "source",
    "data",
    "kind",
    "commit",
    "event",
    "includes",
    "reblog",
    "lang",
    "body",
    "retweeted_status",
    "referenced_tweets",
    "tweets",
    "id",
    "type",
    "selftext",
    "title",
    "__deleted",
    "comments",
]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=()), max_size=8)
    | st.sampled_from(["__debezium_unavailable_value", "<p>a<br>b", "2024-07-01", "update"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)
_EXPRESSIONS = st.sampled_from(
    [
        "text",
        "a.b",
        "a | text",
        "a[*].b",
        "join('', a)",
        "sort_by(a, &b)[0]",
        "max_by(a, &b)",
        "to_number(a)",
        "a == b",
        "avg(a)",
        "a[::0]",
        "keys(@)",
        "to_string(@)",
        "not_null(a, b)",
        "*.b",
        "..",
        "²",
    ]
)
_PRESETS = st.sampled_from([None, *PRESETS])


@given(body=JSON, text=_EXPRESSIONS, other=_EXPRESSIONS, filter_=st.none() | _EXPRESSIONS, preset=_PRESETS)
def test_any_body_gives_a_text_or_a_decode_error(
    body: object, text: str, other: str, filter_: str | None, preset: str | None
) -> None:
    source: dict[str, Any] = {"time_field": other, "id_field": text, "filter": filter_, "preset": preset}
    if preset is None:
        source |= {"text_field": f"{text}, {other}", "lang_field": other, "html": "strip"}
    fields = Fields.of(SourceSettings(**source), [f"{text} as x", f"{other} as y"], lambda _: None)
    try:
        result = fields.read(body)
    except DecodeError:
        return
    if isinstance(result, Extracted):
        assert result.text.encode()
        assert all(value is None or isinstance(value, (str, int, float)) for value in result.kept.values())


@given(JSON)
def test_a_kept_value_is_one_that_a_column_takes(value: object) -> None:
    kept = scalar(value)
    assert kept is None or isinstance(kept, (str, bool, int, float))
    if isinstance(kept, str):
        kept.encode()
    if isinstance(kept, float):
        assert math.isfinite(kept)


def test_the_settings_and_the_expressions_agree() -> None:
    with pytest.raises(ExpressionError):
        Fields.of(SourceSettings(), ["a =="])
    assert [each.text for each in parse_list(SourceSettings().text_field)] == ["text"]
