"""A record that fails is found and dealt with, and all others of its window go their way, in order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import one_each
from worker.errors import ExitCode, OutputRefused
from worker.kafka.limits import TopicLimits
from worker.kafka.outcome import Outcome
from worker.messages.deadletter import DeadLetters, Origin
from worker.observe.metrics import Metrics
from worker.stream.fitting import Fitter
from worker.stream.isolation import Isolation
from worker.stream.pipeline import Pipeline, Processed, Result
from worker.types import Failure, Filtered, OutputRecord, Record, Skipped, Tombstone, TopicPartition

NOW_MS = 1_700_000_000_000


class Broker:
    """A checkpoint whose broker refuses some outputs: all of a commit, as Kafka does."""

    def __init__(self, refuses: Callable[[OutputRecord], bool]) -> None:
        self.refuses = refuses
        self.written: list[OutputRecord] = []
        self.offsets: dict[TopicPartition, int] = {}
        self.commits = 0
        self.outcomes: dict[int, Outcome] = {}

    def open(self, stop: Any = None) -> None: ...
    def close(self) -> None: ...
    def commit(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[TopicPartition, int], snapshot: Any
    ) -> Outcome:
        self.commits += 1
        if any(self.refuses(output) for output in outputs):
            raise OutputRefused("Kafka refuses a record: topic moods: InvalidRecordError")
        outcome = self.outcomes.get(self.commits, Outcome.COMMITTED)
        if outcome is Outcome.COMMITTED:
            self.written += outputs
            for part, offset in offsets.items():
                assert offset > self.offsets.get(part, -1), "offsets go back"
                self.offsets[part] = offset
        return outcome


class Copy:
    """A pipeline that passes values through, and fails for some."""

    def __init__(self, fails: Callable[[Record], bool] = lambda _: False) -> None:
        self.fails = fails

    def process(self, records: Sequence[Record]) -> Processed:
        if any(self.fails(record) for record in records):
            raise ZeroDivisionError
        outputs = [
            OutputRecord("moods", record.key, record.value, (), record.timestamp_ms) for record in records
        ]
        return one_each(records, outputs)


def _records(count: int) -> list[Record]:
    return [
        Record("posts", number % 3, number // 3, NOW_MS, b"%d" % number, b"%d" % number)
        for number in range(count)
    ]


def _isolation(
    broker: Broker, pipeline: Copy | None = None, on_poison: Literal["stop", "skip"] = "stop"
) -> Isolation:
    letters = DeadLetters("dead", "connect", Origin("group", "0"))
    fitter = Fitter({"moods": TopicLimits(10**6)}, letters.to_dead_letter, dead_letter_topic="dead")
    copy = cast("Pipeline", pipeline or Copy())
    return Isolation(copy, broker, fitter, on_poison=on_poison, metrics=Metrics())


def _run(isolation: Isolation, records: list[Record]) -> Processed:
    processed = isolation.process(records)
    assert isolation.commit(records, processed, object()) is Outcome.COMMITTED
    assert isolation.done == len(records)
    return processed


@given(count=st.integers(1, 40), bad=st.sets(st.integers(0, 39), max_size=5))
def test_refused_outputs_become_dead_letters_and_the_others_go_out_once(count: int, bad: set[int]) -> None:
    keys = {b"%d" % number for number in bad}
    broker = Broker(lambda output: output.topic == "moods" and output.key in keys)
    records = _records(count)
    _run(_isolation(broker), records)
    assert [output.key for output in broker.written] == [record.key for record in records]
    for output in broker.written:
        assert output.topic == ("dead" if output.key in keys else "moods")
    last = {record.topic_partition: record.offset for record in records}
    assert broker.offsets == last


class Several(Copy):
    """A pipeline whose records hold one message for each letter of their value; an `x` is filtered out."""

    def process(self, records: Sequence[Record]) -> Processed:
        return Processed(
            [[self._result(record, letter) for letter in record.value or b""] for record in records]
        )

    def _result(self, record: Record, letter: int) -> Result:
        if letter == ord("x"):
            return Result(record, Filtered(), None)
        return Result(record, Tombstone(), OutputRecord("moods", record.key, bytes([letter])))


@given(
    values=st.lists(st.text("abcx", max_size=5), min_size=1, max_size=20),
    bad=st.sets(st.integers(0, 19), max_size=4),
)
def test_messages_of_one_record_are_committed_together(values: list[str], bad: set[int]) -> None:
    """Whatever is refused: an offset is never committed without all outputs of its record."""
    keys = {b"%d" % number for number in bad}
    broker = Broker(lambda output: output.topic == "moods" and output.key in keys)
    records = [
        Record("posts", 0, number, NOW_MS, b"%d" % number, value.encode())
        for number, value in enumerate(values)
    ]
    _run(_isolation(broker, Several()), records)
    expected = [(record.key, len((record.value or b"").replace(b"x", b""))) for record in records]
    for key, count in expected:
        of_record = [output for output in broker.written if output.key == key]
        assert len(of_record) == count
        assert {output.topic for output in of_record} <= {"dead" if key in keys else "moods"}
    assert broker.offsets == {records[0].topic_partition: len(records) - 1}


def test_one_bad_record_among_256_takes_few_commits() -> None:
    broker = Broker(lambda output: output.topic == "moods" and output.key == b"77")
    _run(_isolation(broker), _records(256))
    assert broker.commits <= 2 * 8 + 4


def test_a_refused_time_is_replaced_before_the_output_is_given_up() -> None:
    broker = Broker(lambda output: output.timestamp_ms is not None and output.key == b"1")
    _run(_isolation(broker), _records(4))
    assert [output.topic for output in broker.written] == ["moods"] * 4
    assert dict(broker.written[1].headers)["moodstream.timestamp"] == str(NOW_MS).encode()


def test_a_dead_letter_that_is_refused_goes_without_the_records_own_bytes() -> None:
    broker = Broker(lambda output: output.key == b"1" or b"1" in (output.value or b""))
    _run(_isolation(broker), _records(4))
    letter = broker.written[1]
    assert (letter.topic, letter.key, letter.value) == ("dead", b"posts:1:0", None)
    assert dict(letter.headers)["moodstream.value.at"] == b"posts:1:0"


def test_what_nothing_can_be_written_for_stops_the_worker_with_its_place() -> None:
    broker = Broker(lambda output: output.key in {b"5", b"posts:2:1"})
    isolation, records = _isolation(broker), _records(9)
    processed = isolation.process(records)
    with pytest.raises(OutputRefused, match=r"topic posts, partition 2, offset 1: .*on_poison") as end:
        isolation.commit(records, processed, object())
    assert end.value.exit_code == ExitCode.BROKER_REFUSED
    assert isolation.done == 5  # all before it
    assert [output.key for output in broker.written] == [b"%d" % number for number in range(5)]


def test_with_skip_it_is_told_counted_and_passed_over() -> None:
    broker = Broker(lambda output: output.key in {b"5", b"posts:2:1"})
    isolation = _isolation(broker, on_poison="skip")
    with structlog.testing.capture_logs() as lines:
        processed = _run(isolation, _records(9))
    assert [output.key for output in broker.written] == [b"%d" % number for number in range(9) if number != 5]
    assert isinstance(processed.answers[5], Skipped)
    [line] = [line for line in lines if line["log_level"] == "error"]
    assert (line["topic"], line["partition"], line["offset"], line["became"]) == ("posts", 2, 1, "skipped")
    assert broker.offsets[TopicPartition("posts", 2)] == 2


def test_a_rebalance_in_a_search_ends_it_and_what_was_committed_stays() -> None:
    broker = Broker(lambda output: output.topic == "moods" and output.key == b"7")
    broker.outcomes = {4: Outcome.ABORTED}
    isolation, records = _isolation(broker), _records(8)
    assert isolation.commit(records, isolation.process(records), object()) is Outcome.ABORTED
    assert isolation.done == len(broker.written) < 8


def test_a_record_that_cannot_be_labelled_is_a_dead_letter() -> None:
    broker = Broker(lambda _: False)
    processed = _run(_isolation(broker, Copy(lambda record: record.key in {b"3", b"8"})), _records(20))
    failures = [number for number, answer in enumerate(processed.answers) if isinstance(answer, Failure)]
    assert failures == [3, 8]
    assert [output.key for output in broker.written] == [b"%d" % number for number in range(20)]
    assert {output.topic for number, output in enumerate(broker.written) if number in {3, 8}} == {"dead"}
    assert all(
        answer.reason == "internal_error" for answer in processed.answers if isinstance(answer, Failure)
    )


def test_one_record_alone_in_its_window_does_not_end_the_worker_either() -> None:
    processed = _isolation(Broker(lambda _: False), Copy(lambda record: record.key == b"0")).process(
        _records(1)
    )
    assert processed.outputs[0].topic == "dead"


def test_a_pipeline_that_fails_for_everything_is_no_fault_of_the_messages() -> None:
    with pytest.raises(ZeroDivisionError):
        _isolation(Broker(lambda _: False), Copy(lambda _: True)).process(_records(4))
