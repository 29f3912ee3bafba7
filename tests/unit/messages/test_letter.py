"""Dead letters: the original untouched, and headers that other tools can read."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from worker.messages.deadletter import DeadLetters, Origin
from worker.types import Failure, Record

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
    letter = DeadLetters("dead", "connect", ORIGIN).letter(record, FAILURE)
    assert (letter.topic, letter.key, letter.value) == ("dead", key, value)
    assert letter.headers[: len(headers)] == tuple(headers)
    assert letter.timestamp_ms == (timestamp_ms if timestamp_ms >= 0 else None)


def test_connect_profile_is_text_throughout() -> None:
    record = Record("posts", 1, 2**40, 5, b"k", b"{")
    headers = dict(DeadLetters("dead", "connect", ORIGIN).letter(record, FAILURE).headers)
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
    headers = dict(DeadLetters("dead", "spring", ORIGIN).letter(record, FAILURE).headers)
    assert headers["kafka_dlt-original-topic"] == b"posts"
    assert headers["kafka_dlt-original-partition"] == struct.pack(">i", 7)
    assert headers["kafka_dlt-original-offset"] == struct.pack(">q", 2**40)
    assert headers["kafka_dlt-original-timestamp"] == struct.pack(">q", 1_700_000_000_000)
    assert headers["kafka_dlt-exception-fqcn"] == b"worker.errors.NotJson"
    assert headers["kafka_dlt-exception-message"] == FAILURE.message.encode()
