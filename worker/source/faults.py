"""What an exception out of the consumer means: end, or wait and go on."""

from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    CorruptRecordError,
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    RebalanceInProgressError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnknownMemberIdError,
)

from worker.connect import BrokerRefused
from worker.source.errors import SourceFenced

_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (
        AuthorizationError,
        "the broker denies access to the topics or the group (source.topics, source.group_id)",
    ),
    (SaslAuthenticationFailedError, "the broker refuses the login (kafka.sasl_plain_username)"),
    (InvalidSessionTimeoutError, "the broker does not allow source.session_timeout_ms"),
    (InvalidGroupIdError, "the broker does not allow source.group_id"),
    (InconsistentGroupProtocolError, "other consumers with another way of sharing use source.group_id"),
    (GroupMaxSizeReachedError, "the group is full (group.max.size of the broker)"),
)

_PASSING = (
    RetriableError,
    KafkaConnectionError,
    CorruptRecordError,
    # The group has moved on; the next poll joins again.
    CommitFailedError,
    RebalanceInProgressError,
    IllegalGenerationError,
    UnknownMemberIdError,
)


def raise_if_final(error: KafkaError, twin: str) -> None:
    """Raise what ends the source; return when waiting may help. `twin` is the line for a fenced slot.

    Raises:
        SourceFenced: another worker is in the slot.
        BrokerRefused: the broker refuses.
        KafkaError: the error itself, when it is none that passes.
    """
    if isinstance(error, FencedInstanceIdError):
        raise SourceFenced(twin) from error
    for kind, meaning in _REFUSALS:
        if isinstance(error, kind):
            raise BrokerRefused(f"{meaning}: {' '.join(str(error).split())}") from error
    if not isinstance(error, _PASSING):
        raise error
