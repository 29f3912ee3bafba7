"""Checkpoints on the embedded broker: what is written together, and what an aborted one leaves behind."""

import pytest
from kafka.structs import TopicPartition as ClientTopicPartition

from tests.support.stream import Stream, Topics, assert_each_once, numbered
from worker.errors import ExitCode, MoodstreamError
from worker.kafka.outcome import Outcome
from worker.settings.groups import KafkaSettings
from worker.types import OutputRecord, TopicPartition


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    return Topics(settings, unique).create()


@pytest.fixture
def stream(topics: Topics) -> Stream:
    return Stream(topics).open().join()


@pytest.mark.parametrize("exactly_once", [True, False])
def test_each_record_once(topics: Topics, exactly_once: bool) -> None:
    fed = topics.feed(numbered(300))
    stream = Stream(topics, exactly_once=exactly_once).open()
    stream.run(len(fed))
    stream.close()
    assert_each_once(fed, topics.read())


def test_a_restart_goes_on_where_the_last_worker_committed(topics: Topics) -> None:
    fed = topics.feed(numbered(200))
    first = Stream(topics).open()
    first.run(100)
    first.close()
    second = Stream(topics).open()
    second.run(len(fed) - sum(1 for _ in topics.read()))
    second.close()
    assert_each_once(fed, topics.read())


def test_an_aborted_checkpoint_leaves_nothing_to_read_and_is_done_again(
    topics: Topics, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outputs reach the broker, the commit does not: a reader of committed data must not see them."""
    fed = topics.feed(numbered(50))
    records = stream.read(5.0)
    with monkeypatch.context() as patch:
        patch.setattr("worker.kafka.checkpoint.next_offsets", _refuse)
        assert stream.write(records) is Outcome.ABORTED
    assert topics.read() == []
    assert len(topics.read(isolation="read_uncommitted")) == len(records)
    stream.run(len(fed))
    stream.close()
    assert_each_once(fed, topics.read())


def test_offsets_and_outputs_are_in_together(topics: Topics, stream: Stream) -> None:
    topics.feed(numbered(40))
    stream.run(40)
    consumer = stream.source._consumer
    assert consumer is not None
    parts = [ClientTopicPartition(*part) for part in stream.source.assignment()]
    assert sum(consumer.committed(part) or 0 for part in parts) == 40
    stream.close()


def test_null_values_null_keys_headers_and_timestamps_arrive(topics: Topics, stream: Stream) -> None:
    topics.feed(numbered(1))
    records = stream.read(5.0)
    topic = topics.sink.topic
    outputs = [
        OutputRecord(topic, b"key", None, timestamp_ms=1_700_000_000_000),
        OutputRecord(topic, None, None),
        OutputRecord(topic, None, b"", (("name", b"1"), ("name", b"2"), ("empty", None))),
    ]
    offsets = {record.topic_partition: record.offset for record in records}
    assert stream.checkpoint.commit(outputs, offsets, stream.source.snapshot()) is Outcome.COMMITTED
    rows = topics.read()
    by_key = {row.key: row for row in rows if row.key}
    assert by_key[b"key"].value is None
    assert by_key[b"key"].timestamp == 1_700_000_000_000
    assert sorted(repr(row.value) for row in rows if row.key is None) == ["None", "b''"]
    headers = next(row.headers for row in rows if row.value == b"")
    assert [(name, value or b"") for name, value in headers] == [
        ("name", b"1"),
        ("name", b"2"),
        ("empty", b""),
    ]
    stream.close()


def test_a_megabyte_goes_through(settings: KafkaSettings, unique: str) -> None:
    topics = Topics(settings, unique).create(large=True)
    fed = topics.feed([b"%d " % number + b"x" * 1_000_000 for number in range(3)])
    stream = Stream(topics).open()
    stream.run(3)
    stream.close()
    assert_each_once(fed, topics.read())


def test_a_missing_output_topic_ends_the_worker_with_its_name(topics: Topics, stream: Stream) -> None:
    topics.feed(numbered(1))
    records = stream.read(5.0)
    offsets = {record.topic_partition: record.offset for record in records}
    with pytest.raises(MoodstreamError, match="nowhere") as end:
        stream.checkpoint.commit([OutputRecord("nowhere", b"k", b"v")], offsets, stream.source.snapshot())
    assert end.value.exit_code == ExitCode.TOPIC_MISSING
    stream.close()


def test_a_twin_in_the_slot_is_fenced(topics: Topics, stream: Stream) -> None:
    topics.feed(numbered(1))
    records = stream.read(5.0)
    twin = Stream(topics).open()
    with pytest.raises(MoodstreamError, match=r"delivery\.slot") as end:
        stream.write(records)
    assert end.value.exit_code == ExitCode.FENCED
    for one in (stream, twin):
        one.close()


def _refuse(offsets: dict[TopicPartition, int]) -> None:
    from kafka.errors import KafkaTimeoutError

    raise KafkaTimeoutError("made up by the test")
