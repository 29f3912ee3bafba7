"""Which bytes are JSON, which are text, and which are neither; and what declares them to be so."""

import base64
import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import decode
from tests.support.scripted_registry import ScriptedRegistry
from worker.messages.body import visible
from worker.messages.decode import Decoded, Decoder
from worker.messages.fields import Extracted, Fields
from worker.messages.registry import Registry
from worker.settings.groups import SourceSettings
from worker.types import Failure, Message, Record

Header = tuple[str, bytes | None]

UUID = bytes(range(0xA0, 0xB0))
CE: tuple[Header, ...] = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"77"),
    ("ce_source", b"/shop"),
    ("ce_type", b"review"),
)


def of_type(content_type: bytes) -> Header:
    return ("content-type", content_type)


def decoded(value: bytes, *headers: Header, text_field: str = "text") -> Decoded:
    return decode(Record("posts", 0, 7, 1, None, value, headers), text_field)


def text_of(value: bytes, *headers: Header, text_field: str = "text") -> str:
    result = decoded(value, *headers, text_field=text_field)
    assert isinstance(result, Message), result
    return result.text


def failure_of(value: bytes, *headers: Header) -> tuple[str, str]:
    result = decoded(value, *headers)
    assert isinstance(result, Failure), result
    return result.reason, result.message


@pytest.mark.parametrize(
    "value",
    [
        b'"I love it"',
        b' "I love it"\n',
        b'\xef\xbb\xbf"I love it"',
        b'"I \\u006cove it"',
        b'{"text": "I love it"}',
    ],
)
@pytest.mark.parametrize(
    "content_type", [None, b"application/json", b"text/json", b"application/problem+json; charset=UTF-8"]
)
def test_a_json_string_is_the_text(value: bytes, content_type: bytes | None) -> None:
    headers = () if content_type is None else (of_type(content_type),)
    assert text_of(value, *headers) == "I love it"


@pytest.mark.parametrize(
    "text",
    ['"so good" she said', "[OC] my cat", '"', "[", '"open', "42", "true", "nullify it", "-0.5", "[sic]]"],
)
def test_what_only_begins_like_json_is_text(text: str) -> None:
    assert text_of(text.encode()) == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"null", "null"),
        (b" null\n", "null"),
    ],
)
def test_json_without_an_object_or_a_string_has_no_text(value: bytes, says: str) -> None:
    reason, message = failure_of(value)
    assert reason == "text_missing"
    assert says in message
    assert failure_of(value, of_type(b"application/json")) == (reason, message)


@pytest.mark.parametrize("value", [b"42", b"true"])
def test_a_number_or_a_boolean_that_is_declared_json_is_no_text(value: bytes) -> None:
    assert failure_of(value, of_type(b"application/json"))[0] == "text_missing"


def test_an_array_is_gone_into_where_the_path_says_so() -> None:
    assert text_of(b'[{"text": "first"}]', text_field="0.text") == "first"


def test_an_object_that_was_written_as_json_twice_is_read() -> None:
    assert text_of(json.dumps(json.dumps({"text": "so good"})).encode()) == "so good"
    assert text_of(json.dumps("{curly} but no JSON").encode()) == "{curly} but no JSON"


BINARY = [
    (gzip.compress(b"hello", mtime=0), "gzip"),
    (zlib.compress(b"hello"), "zlib"),
    (b"\x28\xb5\x2f\xfd\x04\x58", "zstd"),
    (b"\x04\x22\x4d\x18\x64\x40", "LZ4"),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy"),
    (b"Obj\x01\x04\x14avro.codec", "Avro"),
    (b"\xc3\x01\xaa\xbb\x06abc", "Avro"),
    (b"PK\x03\x04\x14\x00", "zip"),
    (b"PAR1\x15\x04\x00", "Parquet"),
    (b"\xac\xed\x00\x05t\x00\x09I love it", "Java"),
    (b"\x80\x04\x95\x0d\x00", "pickle"),
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
    (b"\x89PNG\r\n\x1a\n\x00", "picture"),
    (b"\x03\x00" + UUID + b"\x12I love it", "Glue"),
    (b"\x03\x05" + UUID + zlib.compress(b'{"text": "x"}'), "Glue"),
    (b"\x01" + UUID + b"\x12I love it", "GUID"),
    (b"\x00\x00\x00\x00\x11\x12I love it", "schema id 17"),
    (b'\x00\x00\x00\x00\x11"seventeen letters', "schema id 17"),
    (b'\x1e{"text": "a"}\n\x1e{"text": "b"}\n', "RFC 7464"),
    ("I love it".encode("utf-16"), "UTF-16"),
    ("Я люблю это".encode("utf-16"), "UTF-16"),
    ("I love it".encode("utf-16-le"), "UTF-16"),
    ("I love it".encode("utf-16-be"), "UTF-16"),
    ('{"text": "x"}'.encode("utf-16-le"), "UTF-16"),
    ('{"text": "x"}'.encode("utf-16-be"), "UTF-16"),
    ("I love it".encode("utf-32"), "UTF-32"),
    (b"\x12I love it", "control characters"),
    (b"\x0a\x05hello\x10\x01", "control characters"),
]


@pytest.mark.parametrize(("value", "says"), BINARY)
def test_what_is_binary_is_named(value: bytes, says: str) -> None:
    reason, message = failure_of(value)
    assert reason == "unsupported_encoding"
    assert says in message


def test_bytes_that_are_not_utf8_and_show_no_format_are_called_just_that() -> None:
    for value in (b"caf\xe9", b"\x93\x00\x01\xc3 I love it", b"\xff" + bytes(901)):
        assert failure_of(value)[0] == "invalid_utf8"


@pytest.mark.parametrize(("value", "says"), [pair for pair in BINARY if pair[0][:1] != b"\x00"])
def test_declared_json_does_not_hide_what_is_binary(value: bytes, says: str) -> None:
    reason, message = failure_of(value, of_type(b"application/json"))
    if says == "control characters":
        assert reason in {"not_json", "invalid_utf8"}
    else:
        assert (reason, says in message) == ("unsupported_encoding", True)


@pytest.mark.parametrize(
    "value",
    [
        b'\x00\x00\x00\x00\x05{"text": "I love it"}',
        b'\x00\x00\x00\x00\x05"I love it"',
        b'\x00\x00\x00\x00\x00\x00\x00\x00\x05{"text": "I love it"}',
        b"\x01" + UUID + b'{"text": "I love it"}',
        b"\x03\x00" + UUID + b'{"text": "I love it"}',
    ],
)
def test_json_behind_a_schema_registrys_frame_is_read(value: bytes) -> None:
    assert text_of(value) == "I love it"


@pytest.mark.parametrize(
    "text", ["line\ttab\r\nline\f", "\x1b[1mbold\x1b[0m", "a\x08b", "ends with zeros\x00\x00"]
)
def test_harmless_control_characters_stay_text(text: str) -> None:
    assert text_of(text.encode()) == text


def test_declared_text_may_hold_odd_control_characters() -> None:
    assert text_of(b"\x02bold\x02", of_type(b"text/plain")) == "\x02bold\x02"
    assert failure_of("I love it".encode("utf-16"), of_type(b"text/plain"))[0] == "unsupported_encoding"
    assert failure_of(b"a\x00b", of_type(b"text/plain"))[0] == "unsupported_encoding"


@pytest.mark.parametrize(
    ("content_type", "says"),
    [
        (b"application/avro", "Avro"),
        (b"avro/binary", "Avro"),
        (b"application/vnd.apache.avro", "Avro"),
        (b"application/x-protobuf", "Protobuf"),
        (b"application/vnd.google.protobuf", "Protobuf"),
        (b"application/cloudevents+protobuf", "Protobuf"),
        (b"application/cloudevents+avro", "Avro"),
        (b"application/json-seq", "sequence"),
        (b"application/x-ndjson", "sequence"),
        (b"application/msgpack", "MessagePack"),
        (b"application/cbor", "CBOR"),
        (b"application/xml", "XML"),
        (b"application/soap+xml; charset=utf-8", "XML"),
        (b"application/x-www-form-urlencoded", "form"),
        (b"application/gzip", "compressed"),
        (b"image/png", "image"),
        (b"Application/X-Protobuf", "Protobuf"),
    ],
)
@pytest.mark.parametrize("value", [b"I love it", b'[{"text": "I love it"}]', b"\x0a\x09I love it"])
def test_what_is_declared_as_a_form_that_cannot_be_read_is_refused(
    content_type: bytes, says: str, value: bytes
) -> None:
    for header in ("content-type", "Content-Type", "ce_datacontenttype", "contentType"):
        headers = (*CE, (header, content_type)) if header.startswith("ce_") else ((header, content_type),)
        reason, message = failure_of(value, *headers)
        assert reason == "unsupported_encoding"
        assert says in message


@pytest.mark.parametrize(
    "content_type", [b"application/octet-stream", b"application/vnd.shop.review", b"x", b";", b""]
)
def test_a_type_that_says_nothing_leaves_it_to_the_bytes(content_type: bytes) -> None:
    assert text_of(b'{"text": "so good"}', of_type(content_type)) == "so good"
    assert text_of(b"so good", of_type(content_type)) == "so good"


@pytest.mark.parametrize("content_type", [b"text/plain", b"text/html; charset=utf-8", b'"text/plain"'])
def test_declared_text_stands_as_it_is(content_type: bytes) -> None:
    assert text_of(b'{"text": "so good"}', of_type(content_type)) == '{"text": "so good"}'


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        ("us-ascii", "utf-8"),
        ("iso-8859-1", "latin-1"),
        ('"ISO-8859-15"', "iso-8859-15"),
        ("windows-1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16le", "utf-16-le"),
    ],
)
def test_a_declared_character_set_is_used(charset: str, codec: str) -> None:
    header = of_type(f"text/plain; charset={charset}".encode())
    assert text_of("café très bon".encode(codec), header) == "café très bon"
    json_header = of_type(f"application/json;charset={charset}".encode())
    assert text_of('{"text": "café"}'.encode(codec), json_header) == "café"


@pytest.mark.parametrize("charset", ["x-unknown", "", "rot13", "idna", "unicode_escape", "hex", "a" * 100])
def test_an_unknown_character_set_is_refused(charset: str) -> None:
    reason, message = failure_of(b"hello", of_type(f"text/plain; charset={charset}".encode()))
    assert (reason, "character set" in message) == ("unsupported_encoding", True)


def test_bytes_that_are_not_in_their_declared_character_set_are_refused() -> None:
    assert failure_of(b"\x1b$B!", of_type(b"text/plain; charset=iso-2022-jp"))[0] == "unsupported_encoding"
    assert failure_of(b"caf\xe9", of_type(b"text/plain; charset=us-ascii"))[0] == "invalid_utf8"


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-16be", "A\u4f60\u597d\u4e16\u754c"),
        ("utf-16be", "Hello there"),
        ("utf-16le", "\u3000\u3053\u308c\u306f"),
        ("utf-16le", "Hello"),
        ("utf-32be", "Hello there"),
        ("utf-32le", "Hello"),
        ("utf-16", "Hello"),
        ("UTF32", "\u3000\u3053"),
    ],
)
def test_a_zero_at_the_beginning_of_declared_wide_text_is_no_frame(charset: str, text: str) -> None:
    value, header = text.encode(charset), of_type(f"text/plain; charset={charset}".encode())
    assert text_of(value, header) == text
    with ScriptedRegistry() as server:
        [item] = Decoder(Fields.at("text"), Registry(server.url)).decode(
            Record("posts", 0, 7, 1, None, value, (header,))
        )
        assert isinstance(item.decoded, Message)
        assert item.decoded.text == text
        assert server.asked == []


@pytest.mark.parametrize("digits", [4_300, 4_301, 50_000])
@pytest.mark.parametrize("after", ["", " is it", "; is it"])
def test_an_entity_of_thousands_of_digits_is_text(digits: int, after: str) -> None:
    text = f"&#{'1' * digits}{after}"
    assert text_of(json.dumps({"text": text}).encode()) == text
    for marked in (f"nice &amp; {text}", "<b>" * 6_000 + f"nice &amp; {text}"):
        found = Fields.of(SourceSettings(html="strip")).read({"text": marked})
        assert isinstance(found, Extracted)
        assert found.text.startswith("nice & &#1")


@pytest.mark.parametrize("encoding", ["br", "x-br", "LZ4", "snappy", "my own", "gzip, br"])
def test_a_content_encoding_that_cannot_be_read_is_refused_whatever_the_bytes_are(encoding: str) -> None:
    for value in (b'{"text": "so good"}', gzip.compress(b"so good", mtime=0)):
        assert failure_of(value, ("Content-Encoding", encoding.encode()))[0] == "unsupported_encoding"


@pytest.mark.parametrize("encoding", ["identity", "", "utf-8", "UTF-8"])
def test_a_content_encoding_that_changes_nothing_is_none(encoding: str) -> None:
    assert text_of(b"so good", ("content-encoding", encoding.encode())) == "so good"


@pytest.mark.parametrize(
    ("data", "datacontenttype", "text"),
    [
        (b'"I love it"', "application/json", "I love it"),
        (b'{"text": "I love it"}', "text/json", "I love it"),
        (b"I love it", "text/plain", "I love it"),
        (b'"I love it"', "text/plain", '"I love it"'),
        (b"caf\xe9", "text/plain; charset=iso-8859-1", "café"),
        (b'"I love it"', None, "I love it"),
    ],
)
def test_the_data_of_a_cloudevent_are_what_their_type_says(
    data: bytes, datacontenttype: str | None, text: str
) -> None:
    event = {"specversion": "1.0", "id": "9", "source": "urn:x", "type": "post"}
    event |= {} if datacontenttype is None else {"datacontenttype": datacontenttype}
    event["data_base64"] = base64.b64encode(data).decode()
    assert text_of(json.dumps(event).encode()) == text
    header = () if datacontenttype is None else (("ce_datacontenttype", datacontenttype.encode()),)
    assert text_of(data, *CE, *header) == text


def test_binary_data_of_a_cloudevent_are_refused() -> None:
    event = {"specversion": "1.0", "id": "9", "source": "urn:x", "type": "post"}
    for data, kind in (
        (b"\x12I love it", "application/avro"),
        (gzip.compress(b"x", mtime=0), "application/json"),
    ):
        body = event | {"datacontenttype": kind, "data_base64": base64.b64encode(data).decode()}
        assert failure_of(json.dumps(body).encode())[0] == "unsupported_encoding"
    body = event | {"datacontenttype": "application/xml", "data": "<post>so good</post>"}
    assert failure_of(json.dumps(body).encode())[0] == "unsupported_encoding"


INVISIBLE = [
    *("", " ", "\n\t", "\u00a0", "\u200b", "\u200b\u200b \ufeff", "\ufe0f", "\x00", "\x00" * 6, "\x1b\x07"),
    *(
        "\u202a\u202c",
        "\u2066\u2069",
        "\u200e",
        "\u061c",
        "\u2800",
        "\u2800\u2800",
        "\u3164",
        "\uffa0",
        "\u115f",
    ),
    *("\u00ad", "\u034f", "\u180e", "\u2060", "\u2063", "\U000e0041\U000e007f", "\U0001d173", "\ufffc"),
    *("&nbsp;", "&nbsp;&nbsp;", "&#160;", "&#xA0;", "&nbsp", " &zwnj; \u200b&ensp;"),
]


@pytest.mark.parametrize("text", INVISIBLE)
def test_text_with_nothing_to_see_is_empty(text: str) -> None:
    assert failure_of(json.dumps({"text": text}).encode())[0] == "text_empty"
    assert failure_of(text.encode(), of_type(b"text/plain"))[0] == "text_empty"
    assert failure_of(text.encode())[0] == "text_empty"


@pytest.mark.parametrize(
    "text",
    [
        "😀",
        "❤️",
        "👩\u200d👩\u200d👧",
        "🏴\U000e0067\U000e0062\U000e007f",
        ".",
        "\u200bx",
        "&",
        "&amp;",
        "&nbsp;x",
        "\u0601",
        "한",
    ],
)
def test_what_can_be_seen_is_text(text: str) -> None:
    assert text_of(json.dumps({"text": text}).encode()) == text
    assert text_of(text.encode()) == text


DRAWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Format characters that are drawn, mostly signs before a number (Unicode's Prepended_Concatenation_Mark)."""


@given(st.characters(categories=["Cc", "Zs", "Zl", "Zp"]) | st.characters(categories=["Cf"]))
def test_every_blank_of_unicode_is_invisible(character: str) -> None:
    assert visible(character) == (ord(character) in DRAWN)


@given(
    st.text(
        st.characters(
            categories=["L", "N", "P", "S"],
            exclude_characters="\u2800\u3164\uffa0\u115f\u1160\ufffc\U0001d159&",
        ),
        min_size=1,
    )
)
def test_letters_numbers_and_signs_are_visible(text: str) -> None:
    assert visible(text)


@given(
    st.text(min_size=1).filter(visible),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "iso-8859-15", "cp1252"]),
)
def test_any_text_survives_any_declared_character_set(text: str, charset: str) -> None:
    try:
        value = json.dumps({"text": text}, ensure_ascii=False).encode(charset)
    except UnicodeEncodeError:
        return
    assert text_of(value, of_type(f"application/json; charset={charset}".encode())) == text
