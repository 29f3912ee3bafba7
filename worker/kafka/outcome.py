"""What follows a failed checkpoint: one table, read from the top; the first matching row applies."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

import kafka.errors
from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTransactionTimeoutError,
    InvalidTxnStateError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    PolicyViolationError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TransactionAbortedError,
    UnknownProducerIdError,
    UnsupportedCompressionTypeError,
    UnsupportedVersionError,
)

from worker.errors import BrokerRefused, ExitCode, Fatal, MoodstreamError, OutputRefused
from worker.kafka.diagnose import FENCED, describe, explain


class Unsendable(KafkaError):  # type: ignore[misc]  # kafka-python has no types
    """The client itself cannot write a record."""


REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    InvalidTimestampError,
    PolicyViolationError,
    Unsendable,
)
"""Errors about a single record of a checkpoint."""


class Outcome(Enum):
    """How a checkpoint ended."""

    COMMITTED = "committed"
    """Outputs and offsets are written. Go on."""

    ABORTED = "aborted"
    """Neither outputs nor offsets count. The producer is new; rewind the source and do the work again."""

    UNKNOWN = "unknown"
    """The broker may have committed. Opening the new producer has settled it; rewind to what is committed."""


class Phase(Enum):
    """How far the checkpoint had come."""

    OPENING = "opening"
    """`init_transactions()`, before the first checkpoint and after every failed one."""

    SENDING = "sending"
    """Outputs and offsets are on their way; nothing counts yet."""

    ENDING = "ending"
    """The commit was requested; its answer may have been lost."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table. `follows` is an outcome, or a function that makes the error to raise.

    That function is `explain`, or an error class whose message begins with `because`.
    """

    errors: tuple[type[Exception], ...]
    phases: tuple[Phase, ...]
    follows: Outcome | Callable[..., MoodstreamError]
    because: str = ""

    def fits(self, error: BaseException, phase: Phase) -> bool:
        """Whether this row covers such an error in such a phase."""
        return phase in self.phases and isinstance(error, self.errors)


_ANY = (Phase.OPENING, Phase.SENDING, Phase.ENDING)
_WORK = (Phase.SENDING, Phase.ENDING)

TABLE: tuple[Rule, ...] = (
    Rule(FENCED, _ANY, explain),
    Rule(
        (InvalidTxnStateError,),
        _ANY,
        partial(Fatal, ExitCode.INTERNAL),
        "broker and client disagree on the state of the transaction; a fresh start clears it",
    ),
    Rule((AuthorizationError, SaslAuthenticationFailedError), _ANY, explain),
    Rule(
        (InvalidTransactionTimeoutError,),
        _ANY,
        partial(Fatal, ExitCode.USAGE),
        "delivery.transaction_timeout_ms is longer than the broker's transaction.max.timeout.ms",
    ),
    Rule(REFUSALS, _WORK, OutputRefused, "Kafka refuses a record"),
    Rule(
        (UnsupportedCompressionTypeError,),
        _WORK,
        BrokerRefused,
        "the topic does not take records compressed like this (sink.compression_type)",
    ),
    Rule(
        (UnsupportedVersionError,),
        _ANY,
        BrokerRefused,
        "the broker is too old for this delivery.guarantee",
    ),
    Rule(
        (CommitFailedError,),
        _WORK,
        Outcome.ABORTED,
        "the group has rebalanced since the records were read",
    ),
    Rule(
        (TransactionAbortedError,),
        _WORK,
        Outcome.ABORTED,
        "the transaction was aborted",
    ),
    Rule(
        (OutOfOrderSequenceNumberError, UnknownProducerIdError),
        _WORK,
        Outcome.ABORTED,
        "the broker has lost sight of this producer's sequence",
    ),
    Rule(
        (KafkaError,),
        (Phase.SENDING,),
        Outcome.ABORTED,
        "a record or an offset was not taken in time, so nothing of this checkpoint counts",
    ),
    Rule(
        (KafkaError,),
        (Phase.ENDING,),
        Outcome.UNKNOWN,
        "the answer to the commit is missing",
    ),
)
"""`because` says why. A plain KafkaError while opening is not listed: opening is tried again."""


def find_rule(error: BaseException, phase: Phase) -> Rule | None:
    """The row for an error, or None: not Kafka's fault, or worth trying again while opening."""
    error = unwrap(error)
    return next((rule for rule in TABLE if rule.fits(error, phase)), None)


def unwrap(error: BaseException) -> BaseException:
    """The error that a plain KafkaError wraps, or the error itself.

    The client puts the broker's answer into the text of another error ("Unexpected error in
    InitProducerIdResponse: [Error 50] InvalidTransactionTimeoutError"), and its class decides.
    """
    if type(error) is not KafkaError:
        return error
    for name in re.findall(r"\w+Error\b", str(error)):
        kind = getattr(kafka.errors, name, None)
        if kind is not None and kind is not KafkaError:
            return kind(*error.args)  # type: ignore[no-any-return]  # kafka-python has no types
    return error


def judge(error: BaseException, phase: Phase) -> Outcome:
    """What follows an error.

    Raises:
        MoodstreamError: when the table says so.
        BaseException: the error itself, when no row covers it.
    """
    rule = find_rule(error, phase)
    if rule is None:
        raise error
    if isinstance(rule.follows, Outcome):
        return rule.follows
    error = unwrap(error)
    if rule.follows is explain:
        raise explain(error) from error
    raise rule.follows(f"{rule.because}: {describe(error)}") from error
