"""What follows each error of a checkpoint."""

import inspect

import kafka.errors
import pytest
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    InvalidProducerEpochError,
    InvalidTransactionTimeoutError,
    InvalidTxnStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumberError,
    ProducerFencedError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    TransactionAbortedError,
    TransactionalIdAuthorizationFailedError,
)

from worker.errors import ExitCode, MoodstreamError, OutputRefused
from worker.kafka.outcome import REFUSALS, TABLE, Outcome, Phase, find_rule, judge


@pytest.mark.parametrize(
    ("error", "phase", "outcome"),
    [
        (CommitFailedError(), Phase.SENDING, Outcome.ABORTED),
        (TransactionAbortedError(), Phase.SENDING, Outcome.ABORTED),
        (OutOfOrderSequenceNumberError(), Phase.SENDING, Outcome.ABORTED),
        (KafkaTimeoutError("Expiring 3 record(s)"), Phase.SENDING, Outcome.ABORTED),
        (KafkaConnectionError(), Phase.SENDING, Outcome.ABORTED),
        (KafkaError("for unknown reasons: RequestTimedOutError"), Phase.ENDING, Outcome.UNKNOWN),
        (RequestTimedOutError(), Phase.ENDING, Outcome.UNKNOWN),
        (KafkaTimeoutError(), Phase.ENDING, Outcome.UNKNOWN),
    ],
)
def test_the_worker_goes_on(error: Exception, phase: Phase, outcome: Outcome) -> None:
    assert judge(error, phase) is outcome


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProducerFencedError(), ExitCode.FENCED),
        (InvalidProducerEpochError(), ExitCode.FENCED),
        (FencedInstanceIdError(), ExitCode.FENCED),
        (InvalidTxnStateError(), ExitCode.INTERNAL),
        (TransactionalIdAuthorizationFailedError(), ExitCode.BROKER_REFUSED),
        (TopicAuthorizationFailedError({"moods"}), ExitCode.BROKER_REFUSED),
        (InvalidTransactionTimeoutError(), ExitCode.USAGE),
    ],
)
def test_the_worker_ends_whatever_the_phase(error: Exception, code: int, phase: Phase) -> None:
    with pytest.raises(MoodstreamError) as end:
        judge(error, phase)
    assert end.value.exit_code == code
    assert "\n" not in str(end.value)
    assert "None" not in str(end.value)


@pytest.mark.parametrize("error", REFUSALS)
def test_a_record_that_kafka_refuses_is_not_tried_for_ever(error: type[KafkaError]) -> None:
    with pytest.raises(OutputRefused, match=error.__name__):
        judge(error(), Phase.SENDING)


def test_a_lost_answer_to_the_commit_is_never_taken_for_an_abort() -> None:
    for error in (KafkaTimeoutError(), KafkaConnectionError(), KafkaError("new in some later client")):
        assert judge(error, Phase.ENDING) is Outcome.UNKNOWN


def _every_error() -> list[type[KafkaError]]:
    found = [value for _, value in inspect.getmembers(kafka.errors, inspect.isclass)]
    return [
        value for value in found if issubclass(value, KafkaError) and value.__name__ != "LogTruncationError"
    ]


@pytest.mark.parametrize("phase", [Phase.SENDING, Phase.ENDING])
def test_the_table_has_an_answer_to_every_error_of_the_client(phase: Phase) -> None:
    silent = [kind.__name__ for kind in _every_error() if find_rule(kind("x"), phase) is None]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "Unexpected error in InitProducerId: InvalidTransactionTimeoutError",
            ExitCode.USAGE,
        ),
        (
            "Cannot execute, we are in an error state: [Error 90] ProducerFencedError",
            ExitCode.FENCED,
        ),
    ],
)
def test_the_class_inside_a_wrapped_error_counts(text: str, code: int) -> None:
    with pytest.raises(MoodstreamError) as end:
        judge(KafkaError(text), Phase.OPENING)
    assert end.value.exit_code == code


def test_a_fault_of_our_own_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        judge(ZeroDivisionError(), Phase.SENDING)


def test_no_row_hides_behind_an_earlier_one() -> None:
    """Each row is the first that fits for each error class and phase that it names."""
    for row in TABLE:
        for kind in row.errors:
            for phase in row.phases:
                assert find_rule(kind("x"), phase) is row, (kind.__name__, phase)


def test_brokers_that_are_away_while_opening_are_waited_for() -> None:
    assert find_rule(KafkaTimeoutError(), Phase.OPENING) is None
    assert find_rule(KafkaConnectionError(), Phase.OPENING) is None
