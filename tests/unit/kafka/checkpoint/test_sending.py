"""Output records on their way to the producer."""

from typing import Any

import pytest
from kafka.errors import MessageSizeTooLargeError

from tests.support.scripted_producer import Answer, Scripted
from worker.errors import ExitCode, Fatal
from worker.kafka.checkpoint import await_all, send_all
from worker.kafka.producers import NullAware
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
    with pytest.raises(Fatal) as end:
        await_all(producer, send_all(producer, [record], 0), 1.0)
    assert end.value.exit_code == ExitCode.BROKER_REFUSED
    for word in ("moods.dead-letter", "2,000,009", "max.message.bytes"):
        assert word in str(end.value)
