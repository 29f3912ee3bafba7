"""What follows a failed checkpoint: one table, read from the top, the first row that fits counts."""

import re
from dataclasses import dataclass
from enum import Enum

import kafka.errors
from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    FencedInstanceIdError,
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTransactionTimeoutError,
    InvalidTxnStateError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    PolicyViolationError,
    ProducerFencedError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TransactionAbortedError,
    UnknownProducerIdError,
    UnsupportedCompressionTypeError,
    UnsupportedVersionError,
)

from worker.errors import ExitCode, Fatal


class Outcome(Enum):
    """How a checkpoint ended."""

    COMMITTED = "committed"
    """Outputs and offsets are in. Go on."""

    ABORTED = "aborted"
    """Neither outputs nor offsets count. The producer is new; rewind the source and do the work again."""

    UNKNOWN = "unknown"
    """The broker may have committed. The producer is new, which settles it; rewind to what is committed."""


class Phase(Enum):
    """How far the checkpoint had come."""

    OPENING = "opening"
    """`init_transactions()`, before the first checkpoint and after every failed one."""

    SENDING = "sending"
    """Outputs and offsets are on their way; nothing counts yet."""

    ENDING = "ending"
    """The commit was asked for; its answer may have been lost."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table. `follows` is an outcome or the exit code of a `Fatal`."""

    errors: tuple[type[Exception], ...]
    phases: tuple[Phase, ...]
    follows: Outcome | ExitCode
    because: str

    def fits(self, error: BaseException, phase: Phase) -> bool:
        """Whether this row speaks of such an error in such a phase."""
        return phase in self.phases and isinstance(error, self.errors)


_ANY = (Phase.OPENING, Phase.SENDING, Phase.ENDING)
_WORK = (Phase.SENDING, Phase.ENDING)

TABLE: tuple[Rule, ...] = (
    Rule(
        (ProducerFencedError, InvalidProducerEpochError, FencedInstanceIdError),
        _ANY,
        ExitCode.FENCED,
        "another worker runs in this slot, or this one stood still for longer than "
        "delivery.transaction_timeout_ms; give each worker its own delivery.slot",
    ),
    Rule(
        (InvalidTxnStateError,),
        _ANY,
        ExitCode.INTERNAL,
        "broker and client disagree on the state of the transaction; a fresh start clears it",
    ),
    Rule(
        (AuthorizationError, SaslAuthenticationFailedError),
        _ANY,
        ExitCode.BROKER_REFUSED,
        "the broker denies it; see the rights of kafka.sasl_plain_username on the topics, the group and the "
        "transactional id",
    ),
    Rule(
        (InvalidTransactionTimeoutError,),
        _ANY,
        ExitCode.USAGE,
        "delivery.transaction_timeout_ms is longer than the broker's transaction.max.timeout.ms",
    ),
    Rule(
        (MessageSizeTooLargeError, RecordListTooLargeError),
        _WORK,
        ExitCode.BROKER_REFUSED,
        "a record is larger than its topic takes; raise max.message.bytes of that topic",
    ),
    Rule(
        (InvalidRecordError, InvalidTimestampError, PolicyViolationError, UnsupportedCompressionTypeError),
        _WORK,
        ExitCode.BROKER_REFUSED,
        "the topic does not take such records; see its configuration (cleanup.policy, message.timestamp.*)",
    ),
    Rule(
        (UnsupportedVersionError,),
        _ANY,
        ExitCode.BROKER_REFUSED,
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
"""Every row's `because` is what the log says. A plain KafkaError while opening is tried again."""


def find_rule(error: BaseException, phase: Phase) -> Rule | None:
    """The row for an error, or None: not Kafka's fault, or worth trying again while opening."""
    error = unwrap(error)
    return next((rule for rule in TABLE if rule.fits(error, phase)), None)


def unwrap(error: BaseException) -> BaseException:
    """What a plain KafkaError is about.

    The client puts the broker's answer into the text of another error («Unexpected error in
    InitProducerIdResponse: [Error 50] InvalidTransactionTimeoutError»), and its class decides.
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
        Fatal: when the table says so.
        BaseException: the error itself, when no row speaks of it.
    """
    rule = find_rule(error, phase)
    if rule is None:
        raise error
    if isinstance(rule.follows, Outcome):
        return rule.follows
    raise Fatal(rule.follows, f"{rule.because} ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    """An error's class and message on one line."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if name in text else f"{name}: {text}"
