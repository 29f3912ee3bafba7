"""Dead letters: the original untouched, and headers that other tools can read."""

import struct
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import decode
from worker.messages.deadletter import DeadLetters, Origin
from worker.types import LONGEST_MESSAGE, Failure, Headers, Record, safe_text

FAILURE = Failure(
    "decode",
    "not_json",
    "the value is not JSON: unexpected end at line 1, column 9",
    "worker.errors.NotJson",
)
ORIGIN = Origin("mood-group", "2")


@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())),
    timestamp_ms=st.integers(min_value=-1, max_value=2**62),
)
def test_the_original_survives_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp_ms: int
) -> None:
    record = Record("posts", 1, 2, timestamp_ms, key, value, tuple(headers))
    letter = DeadLetters("dead", "connect", ORIGIN).to_dead_letter(record, FAILURE)
    assert (letter.topic, letter.key, letter.value) == ("dead", key, value)
    assert letter.headers[: len(headers)] == tuple(headers)
    assert len(letter.headers) == len(headers) + 11
    assert letter.timestamp_ms == (timestamp_ms if timestamp_ms >= 0 else None)


def test_connect_profile_is_text_throughout() -> None:
    record = Record("posts", 1, 2**40, 5, b"k", b"{")
    headers = dict(DeadLetters("dead", "connect", ORIGIN).to_dead_letter(record, FAILURE).headers)
    assert headers == {
        "__connect.errors.topic": b"posts",
        "__connect.errors.partition": b"1",
        "__connect.errors.offset": b"1099511627776",
        "__connect.errors.connector.name": b"mood-group",
        "__connect.errors.task.id": b"2",
        "__connect.errors.stage": b"decode",
        "__connect.errors.class.name": b"worker.decode",
        "__connect.errors.exception.class.name": b"worker.errors.NotJson",
        "__connect.errors.exception.message": FAILURE.message.encode(),
        "__connect.errors.exception.stacktrace": f"worker.errors.NotJson: {FAILURE.message}".encode(),
        "moodstream.reason": b"not_json",
    }


def test_spring_profile_has_big_endian_numbers() -> None:
    record = Record("posts", 7, 2**40, 1_700_000_000_000, b"k", b"{")
    headers = dict(DeadLetters("dead", "spring", ORIGIN).to_dead_letter(record, FAILURE).headers)
    assert headers["kafka_dlt-original-topic"] == b"posts"
    assert headers["kafka_dlt-original-partition"] == struct.pack(">i", 7)
    assert headers["kafka_dlt-original-offset"] == struct.pack(">q", 2**40)
    assert headers["kafka_dlt-original-timestamp"] == struct.pack(">q", 1_700_000_000_000)
    assert headers["kafka_dlt-exception-fqcn"] == b"worker.errors.NotJson"
    assert headers["kafka_dlt-exception-message"] == FAILURE.message.encode()


PROFILES: tuple[Literal["connect", "spring"], ...] = ("connect", "spring")
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@given(text=ANY_TEXT | ANY_TEXT.map(lambda text: text * 200))
def test_any_failure_fits_into_headers(text: str) -> None:
    record = Record("posts", 1, 2, 5, None, b"{")
    failure = Failure("decode", text, text, text)
    assert failure.message == safe_text(text)
    for profile in PROFILES:
        letters = DeadLetters("dead", profile, Origin(text, text))
        for _, value in letters.to_dead_letter(record, failure).headers:
            assert value is not None


@given(text=ANY_TEXT | ANY_TEXT.map(lambda text: text * 200))
def test_safe_text_is_one_short_line_that_prints(text: str) -> None:
    safe = safe_text(text)
    assert safe.isprintable()
    assert len(safe) <= LONGEST_MESSAGE
    assert "\n" not in safe
    safe.encode()
    assert safe_text(safe) == safe


def test_safe_text_leaves_ordinary_messages_as_they_are() -> None:
    assert safe_text("no field `größe` in the message — ☕") == "no field `größe` in the message — ☕"
    assert safe_text("a\nb\ud800\x00") == r"a\nb\ud800\x00"


@pytest.mark.parametrize("profile", ["connect", "spring"])
@pytest.mark.parametrize(
    "value",
    [
        b'{"\\ud800": 1}',
        b'{"my private text": 1}',
        b'{"\\u0000\\ud800\\u001b": 1}',
        b'{"' + b"k" * 100_000 + b'": 1}',
    ],
)
def test_a_dead_letter_holds_no_field_name_of_the_body(
    profile: Literal["connect", "spring"], value: bytes
) -> None:
    record = Record("posts", 1, 2, 5, b"k", value)
    failure = decode(record, "text")
    assert isinstance(failure, Failure)
    letter = DeadLetters("dead", profile, ORIGIN).to_dead_letter(record, failure)
    said = b" ".join(data or b"" for _, data in letter.headers)
    assert b"an object with one other field" in said
    assert not any(content in said for content in (b"private", b"ud800", b"kkk"))


OLD: dict[str, Headers] = {
    "connect": tuple(
        (f"__connect.errors.{name}", b"old")
        for name in ("topic", "offset", "exception.message", "of.another.kind")
    ),
    "spring": tuple(
        (f"kafka_dlt-{name}", b"old")
        for name in ("original-topic", "exception-message", "exception-stacktrace")
    ),
}


@pytest.mark.parametrize("profile", ["connect", "spring"])
@pytest.mark.parametrize("before", ["connect", "spring"])
def test_a_replayed_dead_letter_that_fails_again_has_one_set_of_headers(
    profile: Literal["connect", "spring"], before: str
) -> None:
    own: Headers = (("trace", b"1"), ("trace", b"2"), ("caf\udce9", None))
    letters = DeadLetters("dead", profile, ORIGIN)
    record = Record("dead", 1, 2, 5, b"k", b"{", own)
    first = letters.to_dead_letter(record, FAILURE)
    replayed = replace(record, headers=(*own, *OLD[before], ("moodstream.reason", b"old")))
    again = letters.to_dead_letter(replayed, FAILURE)
    assert again == first
    assert again.headers[: len(own)] == own
    assert letters.to_dead_letter(replace(record, headers=first.headers), FAILURE) == first
