"""Records that hold several messages, and records that are compressed."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import decode, decoder
from worker.messages.compression import LARGEST, MOST_PARTS, decompress
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.decode import MOST_MESSAGES, Decoder, Item
from worker.messages.fields import Fields
from worker.settings.groups import SourceSettings
from worker.types import Failure, Filtered, Headers, Message, Record, Tombstone

JSON = ("content-type", b"application/json")
BATCH = ("content-type", b"application/cloudevents-batch+json; charset=utf-8")


def record(body: object, *headers: tuple[str, bytes | None]) -> Record:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    kept: Headers = headers
    return Record("posts", 3, 41, 1_700_000_000_000, b"key", value, kept)


def items(body: object, *headers: tuple[str, bytes | None], text_field: str = "text") -> list[Item]:
    return decoder(text_field).decode(record(body, *headers))


def event(number: int, **more: Any) -> dict[str, Any]:
    """A CloudEvent in JSON."""
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/shop",
        "type": "review",
        "data": {"text": f"post {number}"},
        **more,
    }


@given(st.lists(st.sampled_from(["so good", "terrible", "ok"]), min_size=1, max_size=30))
def test_each_element_is_a_message_with_an_id_of_its_own(texts: list[str]) -> None:
    found = [item.decoded for item in items([{"text": text, "lang": "en"} for text in texts])]
    assert found == [
        Message(text, f"posts:3:41:{index}", 1_700_000_000_000, "en") for index, text in enumerate(texts)
    ]


def test_an_element_that_was_written_as_json_twice_is_the_object_that_it_holds() -> None:
    """As a record's value that is such a string is read."""
    for body in (['{"text": "so good"}'], [{"text": "so good"}], '{"text": "so good"}'):
        [item] = items(body)
        assert isinstance(item.decoded, Message)
        assert item.decoded.text == "so good"
    [item] = items(["{not JSON"])
    assert isinstance(item.decoded, Message)
    assert item.decoded.text == "{not JSON"


def test_strings_in_an_array_are_texts() -> None:
    assert [item.decoded.text for item in items(["a", "b"], JSON) if isinstance(item.decoded, Message)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    "bad", [None, 7, {}, {"text": ""}, [["nested"]], {"text": "\ud800", "n": 2**80, "x": ""}]
)
def test_a_bad_element_is_a_dead_letter_of_its_own(bad: object) -> None:
    """Its neighbours are answered, so replaying it must not answer them again."""
    first, middle, last = items([{"text": "a"}, bad, {"text": "b"}], ("trace", b"t"), JSON)
    assert isinstance(first.decoded, Message)
    assert isinstance(last.decoded, Message)
    if not isinstance(middle.decoded, Failure):
        assert isinstance(middle.decoded, Message)  # half of a surrogate pair is repaired
        return
    letter = DeadLetters("dead", "connect", Origin("g", "0")).to_dead_letter(middle.record, middle.decoded)
    assert letter.value is not None
    assert json.loads(letter.value) == bad
    headers = dict(letter.headers)
    assert headers["moodstream.index"] == b"1"
    assert headers["trace"] == b"t"
    assert headers["__connect.errors.offset"] == b"41"
    again = decode(Record("dead", 0, 0, 0, letter.key, letter.value, letter.headers))
    assert isinstance(again, Failure)
    assert again.reason == middle.decoded.reason


@pytest.mark.parametrize(
    ("body", "says"), [([], "empty array"), ([1] * (MOST_MESSAGES + 1), "array of 1001; at most 1000")]
)
def test_an_array_without_messages_or_with_too_many_is_one_dead_letter(body: object, says: str) -> None:
    [item] = items(body)
    assert isinstance(item.decoded, Failure)
    assert item.decoded.reason == "array_unusable"
    assert says in item.decoded.message


@pytest.mark.parametrize("text_field", ["0.text", "[0].text", "[].text", "0.text | text", "body || 0.text"])
def test_a_path_into_the_array_reads_it_as_one_message(text_field: str) -> None:
    [item] = items([{"text": "only this"}], text_field=text_field)
    assert isinstance(item.decoded, Message)
    assert item.decoded.text == "only this"
    assert item.decoded.event_id == "posts:3:41"


def test_a_deleted_row_among_others_does_not_delete_their_key() -> None:
    """A tombstone of the output would be for the key of the whole record."""
    reader = Decoder(Fields.of(SourceSettings(preset="debezium")))
    deleted = {"before": {"text": "old"}, "after": None, "op": "d"}
    created = {"before": None, "after": {"text": "so good"}, "op": "c"}
    first, second = reader.decode(record([deleted, created]))
    assert first.decoded == Filtered()
    assert isinstance(second.decoded, Message)
    [alone] = reader.decode(record(deleted))
    assert alone.decoded == Tombstone()


def test_an_element_that_is_nested_too_deep_is_one_dead_letter() -> None:
    """Python reads deeper than it writes; what cannot be written again cannot be replayed alone."""
    for depth in (200, 300, 900):
        found = decoder().decode(record(b"[" * depth + b"1" + b"]" * depth))
        assert all(isinstance(item.decoded, Failure) for item in found)
        assert all(
            item.decoded.reason != "decoder_failed" for item in found if isinstance(item.decoded, Failure)
        )


def test_a_batch_of_cloudevents() -> None:
    found = items([event(1), event(2, time="2026-11-26T10:00:00Z"), event(3, id="")], BATCH)
    first, second, third = (item.decoded for item in found)
    assert isinstance(first, Message)
    assert (first.text, first.event_id) == ("post 1", "/shop#e1")
    assert isinstance(second, Message)
    assert second.event_time_ms == 1_795_687_200_000
    assert isinstance(third, Failure)
    assert third.reason == "invalid_cloudevent"
    assert ("content-type", b"application/cloudevents+json") in found[2].record.headers
    assert decode(found[0].record) == first  # a dead letter of an element can be replayed alone


@pytest.mark.parametrize("body", [event(1), b"I love it", {}])
def test_a_batch_that_is_no_array_is_a_dead_letter(body: object) -> None:
    [item] = items(body, BATCH)
    assert isinstance(item.decoded, Failure)


def test_an_array_of_events_and_the_array_in_an_event() -> None:
    plain = [item.decoded for item in items([event(1), {"text": "no event"}])]
    assert [message.event_id for message in plain if isinstance(message, Message)] == [
        "/shop#e1",
        "posts:3:41:1",
    ]
    binary = (("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/s"), ("ce_type", b"t"), JSON)
    inside = [item.decoded for item in items([{"text": "a"}, {"text": "b"}], *binary)]
    assert [message.event_id for message in inside if isinstance(message, Message)] == ["/s#7:0", "/s#7:1"]


@pytest.mark.parametrize("headers", [(), (("content-type", b"application/cloudevents+json"),), (JSON,)])
def test_the_array_in_an_event_that_is_an_object(headers: Headers) -> None:
    """Whether the content type announces the event or not."""
    found = [item.decoded for item in items(event(1, data=[{"text": "a"}, {"text": "b"}]), *headers)]
    assert [(message.text, message.event_id) for message in found if isinstance(message, Message)] == [
        ("a", "/shop#e1:0"),
        ("b", "/shop#e1:1"),
    ]


def test_an_event_key_with_an_at_sign_is_a_path() -> None:
    found = [item.decoded for item in items([{"@message": "a"}, {"@message": "b"}], text_field="@message")]
    assert [message.text for message in found if isinstance(message, Message)] == ["a", "b"]


def _parts(count: int, encoding: str, content: bytes = b"") -> bytes:
    """A value of many small parts, the text in the last one."""
    pack = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress
    return pack(content) * count + pack(b"so good")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_value_of_many_parts_is_read_up_to_a_limit(encoding: str) -> None:
    header = ("content-encoding", encoding.encode())
    [item] = items(_parts(MOST_PARTS - 1, encoding), header)
    assert isinstance(item.decoded, Message)
    assert item.decoded.text == "so good"
    for count in (MOST_PARTS, 50_000):
        [item] = items(_parts(count, encoding), header)
        assert isinstance(item.decoded, Failure)
        assert item.decoded.reason == "decompression_failed"
        assert f"more than {MOST_PARTS:,} {encoding} parts" in item.decoded.message


@given(st.lists(st.binary(max_size=9_000), min_size=1, max_size=5), st.sampled_from(["gzip", "zstd"]))
def test_parts_of_any_size_are_put_together(contents: list[bytes], encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress
    assert decompress(b"".join(map(pack, contents)), encoding) == b"".join(contents)


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
@given(text=st.text("ab \U0001f600", min_size=1, max_size=500).filter(str.strip))
def test_a_compressed_value_is_read(encoding: str, text: str) -> None:
    value = ENCODERS[encoding](json.dumps({"text": text}).encode())
    found = decode(record(value, ("content-encoding", encoding.encode())))
    assert isinstance(found, Message)
    assert found.text == text


def test_members_and_frames_one_after_the_other_are_one_value() -> None:
    parts = (b'{"text": ', b'"so good"}')
    for encoding in ("gzip", "zstd"):
        value = b"".join(map(ENCODERS[encoding], parts))
        found = decode(record(value, ("content-encoding", encoding.encode())))
        assert isinstance(found, Message)


def test_deflate_without_the_header_of_zlib_is_read_too() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    value = packer.compress(b'{"text": "so good"}') + packer.flush()
    assert isinstance(decode(record(value, ("content-encoding", b"deflate"))), Message)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_what_is_not_compressed_so_or_is_cut_short_is_refused(encoding: str) -> None:
    header = ("content-encoding", encoding.encode())
    whole = ENCODERS[encoding](b'{"text": "so good, really, so very good"}')
    for value in (b'{"text": "so good"}', whole[:-3], whole[:8], b""):
        found = decode(record(value, header))
        assert isinstance(found, Failure), value
    found = decode(record(whole[:-3], header))
    assert isinstance(found, Failure)
    assert (found.reason, encoding in found.message) == ("decompression_failed", True)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_a_value_that_grows_without_end_is_stopped(encoding: str) -> None:
    value = ENCODERS[encoding](b" " * (LARGEST + 1))
    assert len(value) < 100_000
    found = decode(record(value, ("content-encoding", encoding.encode())))
    assert isinstance(found, Failure)
    assert "32 MiB" in found.message


@given(st.binary(max_size=100), st.sampled_from(["gzip", "zstd", "deflate"]))
def test_no_bytes_stop_a_decompressor(value: bytes, encoding: str) -> None:
    for start in (b"", ENCODERS[encoding](b"x")[:6]):
        found = decode(record(start + value, ("content-encoding", encoding.encode())))
        assert not isinstance(found, Failure) or found.reason != "decoder_failed"
