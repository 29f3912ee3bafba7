"""What a producer may write, and what becomes of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import decode, decoder
from worker.messages.body import visible
from worker.messages.cloudevents import CloudEvent
from worker.types import Failure, Headers, Message, Record, Tombstone


def record(
    value: bytes | None, *headers: tuple[str, bytes | None], timestamp_ms: int = 1_700_000_000_000
) -> Record:
    kept: Headers = headers
    return Record("posts", 3, 41, timestamp_ms, b"key", value, kept)


def message(value: bytes | None, *headers: tuple[str, bytes | None], text_field: str = "text") -> Message:
    result = decode(record(value, *headers), text_field)
    assert isinstance(result, Message), result
    return result


def failure(value: bytes | None, *headers: tuple[str, bytes | None], text_field: str = "text") -> Failure:
    result = decode(record(value, *headers), text_field)
    assert isinstance(result, Failure), result
    return result


def test_json_object() -> None:
    assert message(b'{"text": "so good", "stars": 5}') == Message("so good", "posts:3:41", 1_700_000_000_000)


def test_bare_text_stands_as_it_is() -> None:
    assert message("  naïve café ☕ ".encode()).text == "  naïve café ☕ "


def test_bare_text_in_square_brackets_is_text() -> None:
    assert message(b"[OC] my cat is the best").text == "[OC] my cat is the best"


def test_dotted_path_goes_into_objects_and_arrays() -> None:
    body = b'{"review": {"parts": [{"body": "meh"}]}}'
    assert message(body, text_field="review.parts.0.body").text == "meh"


def test_key_that_holds_the_dots_wins() -> None:
    assert message(b'{"a.b": "flat", "a": {"b": "deep"}}', text_field="a.b").text == "flat"


def test_a_record_that_could_not_be_parsed_is_a_failure_whatever_its_bytes_look_like() -> None:
    raw = Record("posts", 0, 7, 0, None, b'{"text": "I love it"}', unreadable="cannot be parsed (ValueError)")
    found = decode(raw, "text")
    assert isinstance(found, Failure)
    assert (found.stage, found.reason) == ("decode", "record_unreadable")
    assert "cannot be parsed (ValueError)" in found.message


def test_null_value_is_a_tombstone() -> None:
    assert decode(record(None), "text") == Tombstone()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("it", "it"),
        ("pt-BR", "pt-BR"),
        ("en_US", "en-US"),
        ("en_US.UTF-8", "en-US"),
        ("de_DE@euro", "de-DE"),
        (" fr ", "fr"),
        ("iw", "he"),
        ("IW-IL", "he-IL"),
        ("in", "id"),
        ("ji", "yi"),
        ("und", None),
        ("UND", None),
        ("und-Latn", None),
        ("xx", None),
        ("xx-US", None),
        ("qme", None),
        ("qht", None),
        ("qxz", "qxz"),
        ("zxx", None),
        ("mul", None),
        ("art", None),
        ("haw", "haw"),
        ("zh-Hans-CN", "zh-Hans-CN"),
        ("who knows, really", None),
        ("", None),
        ("en-" + "x" * 9, None),
        ("en" + "-abcdefgh" * 4, None),
        ("a" * 200_000, None),
        (7, None),
        (None, None),
        (["en"], None),
    ],
)
def test_language_is_taken_where_it_is_a_tag(given: object, read: str | None) -> None:
    assert message(json.dumps({"text": "ciao", "lang": given}).encode()).lang == read


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({"review": {"body": "x", "lang": "it"}}, "it"),
        ({"review": {"body": "x", "lang": "it"}, "lang": "en"}, "it"),
        ({"review": {"body": "x"}, "lang": "en"}, "en"),
        ({"review": {"body": "x", "lang": "nothing known"}, "lang": "en"}, "en"),
        ({"review": {"body": "x", "lang": "und"}, "lang": "en"}, None),
        ({"review": {"body": "x", "lang": "qst"}, "lang": "en"}, None),
        ({"review.body": "x", "lang": "it"}, "it"),
    ],
)
def test_the_language_beside_a_nested_text_comes_first(body: object, read: str | None) -> None:
    assert message(json.dumps(body).encode(), text_field="review.body").lang == read


def test_half_of_an_emoji_in_an_escape_is_replaced() -> None:
    assert message(rb'{"text": "cut here \ud83d"}').text == "cut here �"


def test_byte_order_mark_is_dropped() -> None:
    assert message(b'\xef\xbb\xbf{"text": "from a spreadsheet"}').text == "from a spreadsheet"


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b'{"text": "unfinished', "not_json", "not JSON"),
        (b'{"text": "a" "b"}', "not_json", "column 14"),
        (b"{}", "text_missing", "empty object"),
        (b'{"txt": "typo in the name"}', "text_missing", "it is an object with one other field"),
        (b'{"a": 1, "b": 2}', "text_missing", "it is an object with 2 other fields"),
        (b'{"text": 7}', "text_not_string", "a number, not a string"),
        (b'{"text": true}', "text_not_string", "a boolean, not a string"),
        (b'{"text": null}', "text_not_string", "null, not a string"),
        (b'{"text": ["a"]}', "text_not_string", "an array, not a string"),
        (b'{"text": ""}', "text_empty", "is empty"),
        (b'{"text": " \\n\\t "}', "text_empty", "is blank"),
        (b"", "text_empty", "is empty"),
        (b"  ", "text_empty", "is blank"),
        (b"\xff\xfe broken", "invalid_utf8", "byte 0xff at position 0"),
        (b'{"text": "caf\xe9"}', "invalid_utf8", "byte 0xe9 at position 13"),
        (b'{"a":' * 100_000, "not_json", "nested too deep"),
        (b"\x00\x00\x00\x00\x11\x02\x06abc", "unsupported_encoding", "schema id 17"),
    ],
)
def test_bad_input_says_what_and_where(value: bytes, reason: str, says: str) -> None:
    result = failure(value)
    assert (result.stage, result.reason) == ("decode", reason)
    assert says in result.message
    assert "\n" not in result.message
    assert result.exception.startswith("worker.errors.")


def test_missing_step_of_a_path_is_named() -> None:
    result = failure(b'{"review": {"stars": 5}}', text_field="review.body")
    assert result.message == (
        "no field `body` under `review` (text_field is `review.body`): it is an object with one other field"
    )


@pytest.mark.parametrize(
    "value",
    [
        '{"text": "SECRET',
        '{"other": "SECRET"}',
        '{"SECRET": 1}',
        '{"text": ["SECRET"]}',
        '{"text": {"SECRET": 1}}',
        '[{"SECRET": 1}]',
        '{"specversion": "1.0", "id": "SECRET", "source": "", "type": "t"}',
    ],
)
def test_the_message_of_a_failure_never_holds_content(value: str) -> None:
    assert "SECRET" not in failure(value.encode()).message


@pytest.mark.parametrize("name", ["content-type", "content-encoding", "ce_datacontenttype"])
@pytest.mark.parametrize("value", [b"SECRET", b"application/xml; x=SECRET", b"text/plain; charset=SECRET"])
def test_nor_what_the_headers_say(name: str, value: bytes) -> None:
    result = decode(record(b"\x02\x06abc", (name, value)), "text")
    assert isinstance(result, Failure)
    assert "secret" not in result.message.lower()


def test_schema_registry_prefix_before_json() -> None:
    assert message(b'\x00\x00\x00\x00\x11{"text": "framed"}').text == "framed"


def test_schema_registry_header_before_json_and_before_avro() -> None:
    header = ("__value_schema_id", b"\x01" + bytes(16))
    assert message(b'{"text": "framed"}', header).text == "framed"
    assert failure(b"\x02\x06abc", header).reason == "unsupported_encoding"
    assert failure(b"bare text", header).reason == "unsupported_encoding"


CE = (("ce_specversion", b"1.0"), ("ce_id", b"77"), ("ce_source", b"/shop"), ("ce_type", b"review"))


def test_cloudevent_in_binary_mode() -> None:
    result = message(
        b'{"text": "nice"}', *CE, ("ce_time", b"2026-01-02T03:04:05Z"), ("content-type", b"application/json")
    )
    assert (result.text, result.event_id, result.event_time_ms) == ("nice", "/shop#77", 1_767_323_045_000)


def test_cloudevent_in_binary_mode_with_plain_text() -> None:
    result = message(b'{"not": "parsed"}', *CE, ("content-type", b"text/plain; charset=utf-8"))
    assert result.text == '{"not": "parsed"}'


def test_cloudevent_in_structured_mode() -> None:
    event = {"specversion": "1.0", "id": "9", "source": "urn:x", "type": "post", "data": {"text": "hey"}}
    assert message(json.dumps(event).encode()).event_id == "urn:x#9"
    event["data"] = "the text itself"
    header = ("content-type", b"application/cloudevents+json; charset=utf-8")
    assert message(json.dumps(event).encode(), header).text == "the text itself"


def test_cloudevent_with_base64_data() -> None:
    event = {"specversion": "1.0", "id": "9", "source": "urn:x", "type": "post", "data_base64": "aGVsbG8="}
    assert message(json.dumps(event).encode()).text == "hello"
    event |= {"datacontenttype": "application/json", "data_base64": "eyJ0ZXh0IjogImpzb24ifQ=="}
    assert message(json.dumps(event).encode()).text == "json"
    for wrong in ("?", 5, ["aGVsbG8="]):
        assert failure(json.dumps(event | {"data_base64": wrong}).encode()).reason == "invalid_cloudevent"


SOURCES = st.text(st.sampled_from("a#%235/"), min_size=1, max_size=8)


@given(first=st.tuples(SOURCES, SOURCES), second=st.tuples(SOURCES, SOURCES))
def test_no_two_cloudevents_share_an_id(first: tuple[str, str], second: tuple[str, str]) -> None:
    ids = [CloudEvent(name, source, None, None).event_id for source, name in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)


def test_the_id_of_an_ordinary_cloudevent_is_its_source_and_id() -> None:
    for source in ("/shop", "urn:x:100%", "https://example.com/a%20b?c=d", "https://example.com/50%25"):
        assert CloudEvent("7#8", source, None, None).event_id == f"{source}#7#8"
    assert CloudEvent("c", "a#b", None, None).event_id == "a%23b#c"


def test_what_is_not_text_identifies_no_cloudevent() -> None:
    event = {"specversion": "1.0", "id": "\ud83d", "source": "s", "type": "t", "data": {"text": "hi"}}
    assert failure(json.dumps(event).encode()).reason == "invalid_cloudevent"
    broken = (("ce_id", b"\xff"), *(header for header in CE if header[0] != "ce_id"))
    assert "`id`" in failure(b"hello", *broken).message


def test_the_content_type_decides_between_the_modes_of_a_cloudevent() -> None:
    event = {"specversion": "1.0", "id": "9", "source": "urn:x", "type": "post", "data": {"text": "hey"}}
    structured = ("content-type", b"application/cloudevents+json")
    assert message(json.dumps(event).encode(), *CE, structured).event_id == "urn:x#9"


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [("1969-07-20T20:17:40Z", -14_182_940_000), ("9999-12-31T23:59:59Z", 253_402_300_799_000)],
)
def test_odd_times_of_events_are_kept(time: str, milliseconds: int) -> None:
    assert message(b"hello", *CE, ("ce_time", time.encode())).event_time_ms == milliseconds


def test_cloudevent_without_what_the_specification_requires() -> None:
    assert "no `id`" in failure(b"hello", ("ce_specversion", b"1.0")).message
    header = ("content-type", b"application/cloudevents+json")
    assert failure(b"[1]", header).reason == "invalid_cloudevent"


def test_unreadable_event_time_costs_no_message() -> None:
    result = message(b"hello", *CE, ("ce_time", b"yesterday"))
    assert result.event_time_ms == 1_700_000_000_000


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "content-type",
                "ce_specversion",
                "ce_id",
                "ce_source",
                "ce_type",
                "ce_time",
                "__value_schema_id",
                "x",
            ]
        ),
        st.none()
        | st.binary(max_size=30)
        | st.sampled_from([b"application/json", b"application/cloudevents+json", b"text/plain"]),
    ),
    max_size=6,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "data", "specversion", "id"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    value=st.binary() | JSON.map(lambda body: json.dumps(body).encode()),
    headers=HEADERS,
    text_field=st.sampled_from(["text", "data.text", "a.0", "..", "²"]),
)
def test_nothing_that_a_producer_writes_raises(
    value: bytes, headers: list[tuple[str, bytes | None]], text_field: str
) -> None:
    items = decoder(text_field).decode(record(value, *headers))
    assert items
    for _, result in items:
        if isinstance(result, Message):
            assert visible(result.text)
            result.text.encode()  # no half surrogates: the tokenizer and the encoder take any decoded text
        else:
            assert isinstance(result, Failure)
            assert result.message
            assert result.reason != "decoder_failed"


@given(text=st.text().filter(visible))
def test_any_text_survives_json(text: str) -> None:
    assert message(json.dumps({"text": text}).encode()).text == text
