"""Presets: the examples of docs/how-to/fields.md, and what the shapes say besides posts."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from worker.errors import TextMissing
from worker.messages.fields import Extracted, Fields
from worker.messages.html_text import HtmlText
from worker.messages.presets import PRESETS, UNAVAILABLE
from worker.messages.watch import BODIES, Unmatched
from worker.settings.groups import PresetName, SourceSettings
from worker.types import Tombstone

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "fields.md").read_text(encoding="utf-8")
SECTIONS = re.findall(
    r"^### `(\w+)`\n.*?```json\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE
)


def read(preset: str, body: object, *keep: str, **source: Any) -> Extracted | Tombstone | None:
    return Fields.of(SourceSettings.model_validate({"preset": preset, **source}), keep).read(body)


def text(preset: str, body: object, **source: Any) -> str:
    found = read(preset, body, **source)
    assert isinstance(found, Extracted)
    return found.text


def test_the_settings_the_code_and_the_docs_have_the_same_presets() -> None:
    assert list(PRESETS) == list(get_args(PresetName)) == [name for name, _, _ in SECTIONS]


@pytest.mark.parametrize(("preset", "body", "shown"), SECTIONS, ids=[name for name, _, _ in SECTIONS])
def test_the_example_of_the_docs_is_read_as_they_say(preset: str, body: str, shown: str) -> None:
    found = read(preset, json.loads(body))
    assert isinstance(found, Extracted)
    lines = {"text": found.text, "lang": found.lang, "event_id": found.event_id, "time": found.time_ms}
    assert "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None) == shown


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_reads_plain_text_and_refuses_other_objects(preset: str) -> None:
    if PRESETS[preset].filter is None:
        assert text(preset, "just text") == "just text"
    with pytest.raises(TextMissing):
        read(preset, {"nothing": "here"})


def test_what_the_user_sets_wins_over_the_preset() -> None:
    body = {"schema": {}, "payload": {"text": "a", "note": "b", "n": 1}}
    assert text("connect", body) == "a"
    assert text("connect", body, text_field="note") == "b"
    assert text("connect", body, text_field="text") == "a"
    assert read("connect", body, filter="n == `2`") is None
    found = read("connect", body, "n as number")
    assert isinstance(found, Extracted)
    assert found.kept == {"number": 1}


AFTER = {"id": 7, "text": "Fine.", "product": "kettle"}
SOURCE = {"table": "reviews", "ts_ms": 5}


@pytest.mark.parametrize(
    "event",
    [
        {"before": AFTER, "after": None, "op": "d", "source": SOURCE},
        {"schema": {}, "payload": {"before": AFTER, "after": None, "op": "d"}},
        {"schema": {}, "payload": None},
        {"id": 7, "text": None, "__deleted": "true"},
    ],
)
def test_the_event_of_a_delete_is_a_tombstone(event: object) -> None:
    assert read("debezium", event) == Tombstone()


@pytest.mark.parametrize(
    "event",
    [
        {"op": "t", "source": SOURCE},
        {"op": "m", "message": {"prefix": "x"}, "source": SOURCE},
        {"before": None, "after": None, "op": "t"},
        {"after": {**AFTER, "text": UNAVAILABLE}, "before": None, "op": "u"},
        {"after": {**AFTER, "text": UNAVAILABLE}, "before": {"id": 7, "text": UNAVAILABLE}, "op": "u"},
        {"id": 7, "text": UNAVAILABLE},
    ],
)
def test_an_event_without_a_new_text_is_filtered(event: object) -> None:
    assert read("debezium", event) is None


def test_a_value_that_an_update_leaves_out_is_taken_from_the_row_before() -> None:
    event = {"before": AFTER, "after": {**AFTER, "text": UNAVAILABLE, "note": UNAVAILABLE}, "op": "u"}
    found = read("debezium", event, "product", "note", "__op as op")
    assert isinstance(found, Extracted)
    assert (found.text, found.kept) == ("Fine.", {"product": "kettle", "note": None, "op": "u"})


def test_a_flat_row_and_a_row_in_a_string_are_read() -> None:
    assert text("debezium", {**AFTER, "__deleted": "false", "__op": "c"}) == "Fine."
    assert text("debezium", {"after": json.dumps(AFTER), "op": "c"}) == "Fine."  # MongoDB


def test_outside_its_preset_the_mark_of_a_value_left_out_is_a_text() -> None:
    found = Fields.of(SourceSettings()).read({"text": UNAVAILABLE})
    assert isinstance(found, Extracted)


def test_mastodons_events_and_boosts() -> None:
    status = {"content": "<p>Hello</p>", "uri": "u", "language": None}
    event = {"stream": ["public"], "event": "update", "payload": json.dumps(status)}
    assert text("mastodon", event) == "Hello"
    assert read("mastodon", {"event": "delete", "payload": "112"}) is None
    assert text("mastodon", {"content": "", "reblog": status}) == "Hello"
    quoted = {"content": '<p class="quote-inline">RE: <a href="x">x</a></p><p>So true</p>'}
    assert text("mastodon", quoted) == "So true"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "commit", "commit": {"operation": "create", "collection": "app.bsky.feed.like"}},
        {"kind": "commit", "commit": {"operation": "delete", "collection": "app.bsky.feed.post"}},
        {"kind": "identity", "did": "did:plc:abc"},
    ],
)
def test_what_is_no_post_on_bluesky_is_filtered(body: object) -> None:
    assert read("bluesky", body) is None


def test_a_post_of_blueskys_api_is_read_too() -> None:
    found = read("bluesky", {"uri": "at://a/b/c", "record": {"text": "Hi", "langs": ["pt-BR"]}})
    assert found == Extracted("Hi", "pt-BR", "at://a/b/c", None, {})


def test_deleted_texts_of_reddit_are_no_texts() -> None:
    assert text("reddit", {"kind": "t1", "data": {"body": "Nice"}}) == "Nice"
    assert read("reddit", {"body": "[removed]", "name": "t1_x"}) is None
    assert text("reddit", {"title": "Still here", "selftext": "[deleted]"}) == "Still here"


def test_long_posts_and_reposts_of_x_are_read_whole() -> None:
    assert text("x", {"data": {"text": "cut…", "note_tweet": {"text": "whole"}}}) == "whole"
    assert text("x", {"text": "cut…", "extended_tweet": {"full_text": "whole"}}) == "whole"
    assert text("x", {"full_text": "RT …", "retweeted_status": {"full_text": "whole"}}) == "whole"
    quote = {
        "data": {"text": "mine", "referenced_tweets": [{"type": "quoted", "id": "1"}]},
        "includes": {"tweets": [{"id": "1", "text": "theirs"}]},
    }
    assert text("x", quote) == "mine"


def test_reviews_of_the_stores_in_their_other_shapes() -> None:
    feed = {"title": {"label": "Good"}, "content": {"label": "Works."}, "id": {"label": "5"}}
    assert text("app_store", feed) == "Good\nWorks."
    assert text("google_play", {"content": "Works.", "at": "2024-07-01 12:00:00"}) == "Works."
    assert (
        text("product_review", {"summary": "Good", "reviewText": "I <3 it & more"}) == "Good\nI <3 it & more"
    )


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("<p>one <b>two</b></p><p>three<br>four</p>", "one two\n\nthree\nfour"),
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("I <3 this & a < b", "I <3 this & a < b"),
        ('<img src="x" alt="a cat"> here', "here"),
        ("<script>x()</script><style>p{}</style>seen<!-- not -->", "seen"),
        ("<ul><li>one<li>two</ul>end", "one\ntwo\n\nend"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "1 2\n3"),
        ("<p>  many \n blanks </p>", "many blanks"),
        ("<p></p>", ""),
        ("<div>" * 6_000 + "deep &amp; low", "deep & low"),
    ],
)
def test_html_is_read_as_what_a_reader_sees(source: str, seen: str) -> None:
    assert HtmlText()(source) == seen


def test_only_the_users_own_settings_are_reported_with_a_preset() -> None:
    reports: list[Unmatched] = []
    source = SourceSettings(preset="product_review", id_field="uid")
    fields = Fields.of(source, [], reports.append)
    for _ in range(BODIES):
        fields.read({"text": "no title, no time, no language"})
    assert reports == [Unmatched(("source.id_field `uid`",), ("text",))]


def test_a_preset_that_suits_no_message_is_reported() -> None:
    reports: list[Unmatched] = []
    fields = Fields.of(SourceSettings(preset="mastodon"), [], reports.append)
    for _ in range(BODIES):
        with pytest.raises(TextMissing):
            fields.read({"status": "x"})
    assert reports == [Unmatched(("source.preset",), ("status",))]
