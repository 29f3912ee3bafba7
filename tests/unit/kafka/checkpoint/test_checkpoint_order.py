"""The order of a checkpoint, and what is done after each way in which it may end."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from kafka.errors import (
    CommitFailedError,
    InvalidTimestampError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    NotEnoughReplicasError,
    ProducerFencedError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

import worker.kafka.checkpoint
from tests.support.scripted_producer import SNAPSHOT, Answer, Scripted
from worker.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ExitCode,
    Fenced,
    MoodstreamError,
    OutputRefused,
)
from worker.kafka.checkpoint import AtLeastOnceCheckpoint, TransactionalCheckpoint
from worker.kafka.outcome import Outcome
from worker.kafka.topics import Member
from worker.kafka.watchdog import Watchdog
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings, SourceSettings
from worker.types import OutputRecord, TopicPartition

_OUTPUTS = [OutputRecord("moods", b"k1", b"one"), OutputRecord("moods", b"k2", b"two")]
_OFFSETS = {TopicPartition("posts", 0): 41, TopicPartition("posts", 1): 7}
_STEPS = ["begin_transaction", "send", "send", "flush", "send_offsets_to_transaction", "commit_transaction"]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Scripted]:
    """Every producer that the checkpoint has opened, in order."""
    producers: list[Scripted] = []

    def make(**options: Any) -> Scripted:
        producers.append(Scripted(**options))
        return producers[-1]

    monkeypatch.setattr(worker.kafka.checkpoint, "KafkaProducer", make)
    monkeypatch.setattr("worker.kafka.guards.protect", lambda producer: None)
    monkeypatch.setattr(worker.kafka.checkpoint, "probe", lambda kafka: kafka)
    monkeypatch.setattr("worker.kafka.retry.FIRST_S", 0.001)
    return producers


def _transactional(*, members_decide: bool = False) -> TransactionalCheckpoint:
    checkpoint = TransactionalCheckpoint(
        KafkaSettings(),
        SinkSettings(),
        SourceSettings(),
        DeliverySettings(slot="7"),
        members_decide=members_decide,
    )
    checkpoint.open()
    return checkpoint


def test_every_step_in_its_order(made: list[Scripted]) -> None:
    checkpoint = _transactional()
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.COMMITTED
    assert made[0].calls == ["init_transactions", *_STEPS]


def test_the_next_offset_is_committed_with_the_snapshot_of_the_poll(made: list[Scripted]) -> None:
    _transactional().commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    offsets, metadata = made[0].offsets[0]
    assert offsets == {
        ("posts", 0): OffsetAndMetadata(42, "", -1),
        ("posts", 1): OffsetAndMetadata(8, "", -1),
    }
    assert metadata is SNAPSHOT


def test_the_slot_has_one_transactional_id_over_restarts(made: list[Scripted]) -> None:
    _transactional()
    _transactional()
    assert [producer.options["transactional_id"] for producer in made] == ["moodstream.7", "moodstream.7"]


def test_a_record_must_be_given_up_before_the_transaction_is(made: list[Scripted]) -> None:
    _transactional()
    options = made[0].options
    assert options["linger_ms"] + options["request_timeout_ms"] < options["delivery_timeout_ms"]
    assert options["delivery_timeout_ms"] < options["transaction_timeout_ms"]


def test_one_failed_future_stops_the_commit(made: list[Scripted]) -> None:
    """The client itself would commit without the record, and its offset with it."""
    checkpoint = _transactional()
    made[0].answer = lambda sent: Answer(KafkaTimeoutError("expired") if sent["key"] == b"k2" else None)
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
    assert "send_offsets_to_transaction" not in made[0].calls
    assert "commit_transaction" not in made[0].calls


def test_a_future_that_is_not_done_stops_the_commit(made: list[Scripted]) -> None:
    checkpoint = _transactional()
    made[0].answer = lambda sent: Answer(done=sent["key"] == b"k1")
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
    assert "commit_transaction" not in made[0].calls


@pytest.mark.parametrize(
    "snapshot",
    [
        None,
        ConsumerGroupMetadata("group", -1, "", "group.0"),
        ConsumerGroupMetadata("group", 5, "", "group.0"),
    ],
)
def test_offsets_of_no_member_never_reach_the_broker(
    made: list[Scripted], snapshot: ConsumerGroupMetadata | None
) -> None:
    checkpoint = _transactional()
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, snapshot) is Outcome.ABORTED
    assert made[0].calls == ["init_transactions"]


@pytest.mark.parametrize("step", _STEPS[:1] + _STEPS[2:])
def test_after_a_failure_at_any_step_the_producer_is_a_new_one(made: list[Scripted], step: str) -> None:
    checkpoint = _transactional()
    made[0].fail[step] = KafkaError("x")
    wanted = Outcome.UNKNOWN if step == "commit_transaction" else Outcome.ABORTED
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is wanted
    assert made[0].closed
    assert made[1].calls == ["init_transactions"]
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.COMMITTED
    assert made[1].calls[1:] == _STEPS


def test_the_class_behind_the_clients_error_state_decides(made: list[Scripted]) -> None:
    checkpoint = _transactional()
    made[0].fail["send_offsets_to_transaction"] = KafkaError("Cannot execute: we are in an error state")
    made[0]._transaction_manager = type("Manager", (), {"last_error": ProducerFencedError()})()  # type: ignore[attr-defined]
    with pytest.raises(MoodstreamError) as end:
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    assert end.value.exit_code == ExitCode.FENCED


def test_a_fenced_worker_opens_no_new_producer(made: list[Scripted]) -> None:
    """It would fence the worker that took its slot."""
    checkpoint = _transactional()
    made[0].fail["commit_transaction"] = ProducerFencedError()
    with pytest.raises(MoodstreamError):
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    assert len(made) == 1


def test_a_topic_that_is_gone_ends_the_worker(made: list[Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.kafka.checkpoint, "missing_topics", lambda kafka, names: names)
    checkpoint = _transactional()
    made[0].fail["send"] = KafkaTimeoutError("Failed to update metadata after 5.0 secs.")
    with pytest.raises(MoodstreamError, match="moods") as end:
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    assert end.value.exit_code == ExitCode.TOPIC_MISSING


def test_a_refused_record_leaves_a_new_producer_and_the_same_snapshot_serves(made: list[Scripted]) -> None:
    checkpoint = _transactional()
    made[0].answer = lambda sent: Answer(InvalidTimestampError() if sent["key"] == b"k2" else None)
    with pytest.raises(OutputRefused, match="moods"):
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    assert made[0].closed
    assert "send_offsets_to_transaction" not in made[0].calls
    assert checkpoint.commit(_OUTPUTS[:1], _OFFSETS, SNAPSHOT) is Outcome.COMMITTED


def test_the_same_failure_three_times_in_a_row_is_a_records_fault(made: list[Scripted]) -> None:
    checkpoint = _transactional()
    for _ in range(2):
        made[-1].fail["flush"] = KafkaConfigurationError("strange")
        assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
    made[-1].fail["flush"] = KafkaConfigurationError("strange")
    with pytest.raises(OutputRefused, match="3 times in the same way: strange"):
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)


@pytest.mark.parametrize("error", [KafkaTimeoutError("expired"), CommitFailedError()])
def test_what_brokers_and_groups_cause_is_no_records_fault(made: list[Scripted], error: KafkaError) -> None:
    checkpoint = _transactional()
    for _ in range(6):
        made[-1].fail["send_offsets_to_transaction"] = error
        assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED


@pytest.mark.parametrize(
    ("members", "goes_on"),
    [
        ([], True),  # its own session has ended too
        ([("member-1", "moodstream.7")], True),
        ([("other", "moodstream.8")], True),
        ([("other", "moodstream.7")], False),
        (BrokerRefused("denied"), False),
    ],
)
def test_a_transaction_that_has_timed_out_is_told_from_a_twin(
    made: list[Scripted],
    monkeypatch: pytest.MonkeyPatch,
    members: list[tuple[str, str]] | Exception,
    goes_on: bool,
) -> None:
    def ask(kafka: KafkaSettings, group: str) -> Any:
        if isinstance(members, Exception):
            raise members
        return [Member(*member) for member in members]

    monkeypatch.setattr(worker.kafka.checkpoint, "group_members", ask)
    checkpoint = _transactional()
    checkpoint._timeout_s = 0.0  # whatever it takes is too long
    made[0].fail["commit_transaction"] = ProducerFencedError()
    if goes_on:
        assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
        assert len(made) == 2
    else:
        with pytest.raises(Fenced):
            checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
        assert len(made) == 1


@pytest.mark.parametrize(
    ("members", "goes_on"),
    [
        ([("member-1", "moodstream.7")], True),  # the other one opened its producer, and never joined
        ([], True),
        ([("other", "moodstream.7")], False),
    ],
)
def test_in_a_slot_that_was_taken_membership_decides_at_any_time(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch, members: list[tuple[str, str]], goes_on: bool
) -> None:
    monkeypatch.setattr(
        worker.kafka.checkpoint, "group_members", lambda *_: [Member(*one) for one in members]
    )
    checkpoint = _transactional(members_decide=True)
    made[0].fail["flush"] = ProducerFencedError()
    if goes_on:
        assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
        assert [producer.calls[0] for producer in made] == ["init_transactions"] * 2
    else:
        with pytest.raises(Fenced):
            checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
        assert len(made) == 1, "no new producer, which would fence the other worker"


def test_a_named_slot_is_lost_to_a_twin_that_has_yet_to_join(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer of two workers with the same `delivery.slot` is most likely the older one's replacement."""
    monkeypatch.setattr(worker.kafka.checkpoint, "group_members", lambda kafka, group: [])
    checkpoint = _transactional()
    made[0].fail["flush"] = ProducerFencedError()
    with pytest.raises(Fenced):
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)


def test_nothing_to_write_is_committed_at_once(made: list[Scripted]) -> None:
    checkpoint = _transactional()
    assert checkpoint.commit([], {}, SNAPSHOT) is Outcome.COMMITTED
    assert made[0].calls == ["init_transactions"]


def test_opening_waits_for_brokers_and_tells_the_reason_at_the_limit(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        worker.kafka.checkpoint, "probe", _raising(BrokerUnavailable("b:9092 does not listen"))
    )
    checkpoint = TransactionalCheckpoint(
        KafkaSettings(connect_limit_s=0.2), SinkSettings(), SourceSettings(), DeliverySettings()
    )
    with pytest.raises(MoodstreamError, match="does not listen") as end:
        checkpoint.open()
    assert end.value.exit_code == ExitCode.BROKER_UNAVAILABLE


def test_opening_says_so_when_the_client_has_changed_under_the_guards(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.guards.missing", lambda: ["TransactionManager._supports_epoch_bump"])
    with structlog.testing.capture_logs() as lines:
        _transactional()
    assert [line["log_level"] for line in lines] == ["error"]
    assert "exactly-once is NOT assured" in lines[0]["event"]


def test_opening_does_not_wait_for_a_broker_that_refuses(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.kafka.checkpoint, "probe", _raising(BrokerRefused("wrong password")))
    with pytest.raises(MoodstreamError, match="wrong password") as end:
        _transactional()
    assert end.value.exit_code == ExitCode.BROKER_REFUSED


def test_stop_ends_the_wait_and_nothing_is_committed(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.kafka.checkpoint, "probe", _raising(BrokerUnavailable("away")))
    checkpoint = TransactionalCheckpoint(
        KafkaSettings(), SinkSettings(), SourceSettings(), DeliverySettings()
    )
    stop = threading.Event()
    stop.set()
    checkpoint.open(stop)
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
    assert made == []


def test_a_commit_that_hangs_ends_the_process(made: list[Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    released = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        released.set()  # a real exit does not return

    checkpoint = TransactionalCheckpoint(
        KafkaSettings(),
        SinkSettings(),
        SourceSettings(),
        DeliverySettings(),
        watchdog=Watchdog(0.05, lambda: None, connect_limit_s=60, exit=end),
    )
    checkpoint.open()
    monkeypatch.setattr(Scripted, "commit_transaction", lambda _: released.wait(5))
    checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    assert codes == [ExitCode.WATCHDOG]


def test_at_least_once_commits_offsets_only_after_every_output(made: list[Scripted]) -> None:
    calls: list[str] = []

    def commit(offsets: Any) -> None:
        assert offsets == _OFFSETS
        calls.extend([*made[0].calls, "offsets"])

    checkpoint = AtLeastOnceCheckpoint(KafkaSettings(), SinkSettings(), DeliverySettings(), commit)
    checkpoint.open()
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.COMMITTED
    assert calls == ["send", "send", "flush", "offsets"]


def test_at_least_once_keeps_the_offsets_back_when_an_output_failed(made: list[Scripted]) -> None:
    committed: list[Any] = []
    checkpoint = AtLeastOnceCheckpoint(KafkaSettings(), SinkSettings(), DeliverySettings(), committed.append)
    checkpoint.open()
    made[0].answer = lambda sent: Answer(KafkaTimeoutError("expired"))
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED
    assert committed == []


def test_at_least_once_after_a_rebalance(made: list[Scripted]) -> None:
    checkpoint = AtLeastOnceCheckpoint(
        KafkaSettings(), SinkSettings(), DeliverySettings(), _raising(CommitFailedError())
    )
    checkpoint.open()
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.ABORTED


def _raising(error: Exception) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KafkaTimeoutError("expired"), "expired (KafkaTimeoutError); the broker's last answer was moods-2: "),
        (NotEnoughReplicasError(), "moods-2: "),
        (KafkaError("something else"), "something else"),
    ],
)
def test_the_reason_of_a_failure_names_the_partition_that_was_answered(
    made: list[Scripted], monkeypatch: pytest.MonkeyPatch, error: KafkaError, reason: str
) -> None:
    """Whether the batch has expired or the client has given up on it; and no partition of an earlier turn."""
    answers: dict[TopicPartition, Exception] = {}
    monkeypatch.setattr("worker.kafka.guards.note_answers", lambda producer: answers)
    checkpoint = _transactional()
    answers[TopicPartition("earlier", 0)] = NotEnoughReplicasError()
    assert checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT) is Outcome.COMMITTED

    def answer(sent: dict[str, Any]) -> Answer:
        answers[TopicPartition("moods", 2)] = NotEnoughReplicasError()
        return Answer()

    made[0].answer, made[0].fail = answer, {"flush": error}
    monkeypatch.setattr(worker.kafka.checkpoint, "missing_topics", lambda kafka, names: [])
    with structlog.testing.capture_logs() as lines:
        checkpoint.commit(_OUTPUTS, _OFFSETS, SNAPSHOT)
    (found,) = [line["reason"] for line in lines if line["event"].startswith("checkpoint failed")]
    assert found.startswith(reason)
    assert "earlier" not in found
