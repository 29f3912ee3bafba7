"""Output records on their way to the producer."""

import struct
from typing import Any

import pytest
from kafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError, UnknownError

from tests.support.scripted_producer import Answer, Scripted
from worker.kafka.outcome import Unsendable
from worker.kafka.producer import NullAware, await_all, send_all
from worker.types import OutputRecord


def _value(sent: dict[str, Any]) -> bytes | None:
    return NullAware().serialize("moods", [], sent["value"])


def test_bytes_stay_bytes_and_null_stays_null() -> None:
    producer = Scripted()
    send_all(producer, [OutputRecord("moods", b"k", b""), OutputRecord("moods", b"k", None)], 0)
    assert [_value(sent) for sent in producer.sent] == [b"", None]


def test_a_tombstone_without_a_key_can_be_written() -> None:
    """kafka-python's `send` refuses None for both."""
    producer = Scripted()
    send_all(producer, [OutputRecord("moods", None, None)], 0)
    assert producer.sent[0]["value"] is not None
    assert _value(producer.sent[0]) is None


def test_keys_choose_their_partition_and_keyless_records_share_one() -> None:
    producer = Scripted()
    outputs = [OutputRecord("moods", key, b"v") for key in (b"k", None, None)]
    send_all(producer, outputs, turn=4)
    assert [sent["partition"] for sent in producer.sent] == [None, 1, 1]


def test_keyless_records_move_on_with_each_checkpoint() -> None:
    producer = Scripted()
    for turn in range(6):
        send_all(producer, [OutputRecord("moods", None, b"v")], turn)
    assert [sent["partition"] for sent in producer.sent] == [0, 1, 2, 0, 1, 2]


def test_timestamp_and_headers_go_along() -> None:
    producer = Scripted()
    record = OutputRecord("moods", b"k", b"v", (("a", b"1"), ("a", b"2"), ("b", None)), timestamp_ms=5)
    send_all(producer, [record], 0)
    assert producer.sent[0]["headers"] == [("a", b"1"), ("a", b"2"), ("b", b"")]
    assert producer.sent[0]["timestamp_ms"] == 5


@pytest.mark.parametrize("where", ["client", "broker"])
def test_a_record_too_large_names_topic_size_and_setting(where: str) -> None:
    producer = Scripted()
    record = OutputRecord("moods.dead-letter", b"key", b"x" * 2_000_000, (("h", b"12345"),))
    if where == "client":
        producer.fail["send"] = MessageSizeTooLargeError()
    else:
        producer.answer = lambda sent: Answer(MessageSizeTooLargeError())
    with pytest.raises(MessageSizeTooLargeError) as end:
        await_all(producer, send_all(producer, [record], 0), 1.0)
    for word in ("moods.dead-letter", "2,000,009", "max.message.bytes"):
        assert word in str(end.value)


def test_the_refused_record_is_named_and_not_those_that_shared_its_batch() -> None:
    producer = Scripted()
    others = KafkaError("Failed to append record because it was part of a batch with invalid records")
    errors = {b"a": others, b"b": InvalidTimestampError("too late"), b"c": others}
    producer.answer = lambda sent: Answer(errors[sent["key"]])
    sent = send_all(producer, [OutputRecord("moods", key, b"v") for key in errors], 0)
    with pytest.raises(InvalidTimestampError, match=r"moods.*too late.*message\.timestamp\.after"):
        await_all(producer, sent, 1.0)


@pytest.mark.parametrize("error", [TypeError("x"), AssertionError(), OverflowError(), struct.error("i")])
def test_what_the_client_cannot_write_is_a_refusal_and_no_crash(error: Exception) -> None:
    producer = Scripted()
    producer.fail["send"] = error
    with pytest.raises(Unsendable, match="moods"):
        send_all(producer, [OutputRecord("moods", b"k", b"v")], 0)


def test_a_batch_that_the_client_splits_is_a_refusal() -> None:
    """Its flush does not wait for the parts, and the records would go out after the checkpoint."""
    producer = Scripted()
    producer.fail["flush"] = UnknownError("Future not done")
    with pytest.raises(Unsendable):
        await_all(producer, send_all(producer, [OutputRecord("moods", b"k", b"v")], 0), 1.0)
