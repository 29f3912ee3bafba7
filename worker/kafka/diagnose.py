"""What a Kafka error means: one line for a person, which names the setting to look at."""

import re
import ssl

from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    CorruptRecordError,
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    GroupMaxSizeReachedError,
    IllegalGenerationError,
    IllegalSaslStateError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidProducerEpochError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    KafkaProtocolError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RebalanceInProgressError,
    RecordListTooLargeError,
    RetriableError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    UnknownMemberIdError,
    UnsupportedSaslMechanismError,
)

from worker.errors import BrokerRefused, BrokerUnavailable, Fenced, MoodstreamError
from worker.kafka.login import TokenRefused, TokenUnavailable
from worker.settings.groups import KafkaSettings
from worker.tls import certificate_wanted, tls_refusal

FENCED = (FencedInstanceIdError, ProducerFencedError, InvalidProducerEpochError)
"""What Kafka answers a member or a producer that another one has replaced."""

OWN_SLOTS = "give each worker its own delivery.slot, or none of them one"
ANOTHER_WORKER = f"another worker runs in this slot; {OWN_SLOTS}"

_RIGHTS = "the rights of kafka.sasl_plain_username, or of the client certificate"

_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (TokenRefused, "cannot be logged in to"),
    (
        SaslAuthenticationFailedError,
        "refuses the login (kafka.sasl_plain_username, kafka.sasl_plain_password)",
    ),
    (UnsupportedSaslMechanismError, "does not offer this way to log in (kafka.sasl_mechanism)"),
    (IllegalSaslStateError, "expects no login on this port (kafka.security_protocol)"),
    (
        TopicAuthorizationFailedError,
        f"denies access to a topic (source.topics, sink.topic, sink.dead_letter_topic; {_RIGHTS})",
    ),
    (
        GroupAuthorizationFailedError,
        f"denies access to the consumer group (source.group_id; {_RIGHTS})",
    ),
    (
        TransactionalIdAuthorizationFailedError,
        f"denies the transactional id, made of source.group_id, a dot and the worker's slot ({_RIGHTS})",
    ),
    (AuthorizationError, f"denies access ({_RIGHTS})"),
    (InvalidSessionTimeoutError, "does not allow source.session_timeout_ms"),
    (InvalidGroupIdError, "does not allow source.group_id"),
    (
        InconsistentGroupProtocolError,
        "says that source.group_id is used by other consumers, which share partitions in another way",
    ),
    (GroupMaxSizeReachedError, "says that the group is full (group.max.size of the broker)"),
)
"""What a broker refuses for good. The first matching row applies."""

_TLS_NAMES = {
    "ca": "kafka.ssl_cafile",
    "certificate": "kafka.ssl_certfile",
    "key": "kafka.ssl_keyfile",
    "protocol": "kafka.security_protocol",
    "host": "kafka.ssl_check_hostname",
}
"""The settings that a message about TLS names."""

HANGS_UP = "closes the connection at once: does the port speak what kafka.security_protocol says?"
_SILENCES: tuple[tuple[str, str], ...] = (
    ("dns", "is no known host name (kafka.bootstrap_servers)"),
    ("econnrefused", "does not listen (kafka.bootstrap_servers)"),
    ("socket disconnected", HANGS_UP),
    ("econnreset", HANGS_UP),
    ("connection reset", HANGS_UP),
    ("broken pipe", HANGS_UP),
    ("eof", HANGS_UP),
    ("timed out", "does not answer in time (kafka.bootstrap_servers)"),
    ("timeout", "does not answer in time (kafka.bootstrap_servers)"),
)
"""What the client says when nobody answered, and what it means."""

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

_WITHOUT_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (KafkaTimeoutError, "no answer in time"),
    (KafkaConnectionError, "the connection failed"),
    (MessageSizeTooLargeError, "the record is larger than the topic takes (max.message.bytes)"),
    (RecordListTooLargeError, "the records are larger than the topic takes (max.message.bytes)"),
)
"""For errors that come without a message, or only with the client's remarks on the protocol."""


def explain(error: BaseException, server: str = "the broker") -> MoodstreamError:
    """What an error of the client or the network means.

    Args:
        error: the error.
        server: who was asked, as `host:port` where that is known.

    Returns:
        Fenced: another worker has taken the slot.
        BrokerRefused: the broker answered and refuses; trying again does not help.
        BrokerUnavailable: trying again may help.
    """
    if isinstance(error, FENCED):
        return Fenced(f"{ANOTHER_WORKER}: {describe(error)}")
    if isinstance(error, TokenUnavailable):
        return BrokerUnavailable(f"{server} cannot be logged in to yet: {plain(error)}")
    for kind, meaning in _REFUSALS:
        if isinstance(error, kind):
            return BrokerRefused(f"{server} {meaning}: {plain(error)}")
    if isinstance(error, KafkaError) and not isinstance(error, (KafkaConnectionError, KafkaProtocolError)):
        kind = BrokerUnavailable if isinstance(error, _PASSING) else BrokerRefused
        text = describe(error)
        silence = next((meaning for sign, meaning in _SILENCES if sign in text.lower()), None)
        return kind(f"{server} {silence}" if silence else f"{server} says: {text}")
    return _of_the_connection(error, server)


def _of_the_connection(error: BaseException, server: str) -> MoodstreamError:
    text = plain(error)
    lowered = text.lower()
    refusal = tls_refusal(text, _TLS_NAMES)
    if refusal is not None:
        return BrokerRefused(f"{server} cannot be reached over TLS: {refusal}: {text}")
    if isinstance(error, KafkaProtocolError) or "invalid frame length" in lowered:
        # A TLS alert or a web page, read as if it were a Kafka response.
        return BrokerRefused(
            f"{server} answers, but not with Kafka's protocol: {text} (kafka.security_protocol, the port in "
            "kafka.bootstrap_servers)"
        )
    if isinstance(error, ssl.SSLError) or (isinstance(error, OSError) and error.filename is not None):
        # The error names a file if one could not be read; other OS errors come from the network.
        return BrokerRefused(
            f"the TLS files cannot be used: {text} (kafka.ssl_cafile, kafka.ssl_certfile, kafka.ssl_keyfile)"
        )
    for sign, meaning in _SILENCES:
        if sign in lowered:
            return BrokerUnavailable(f"{server} {meaning}")
    return BrokerUnavailable(f"{server}: {text} (kafka.bootstrap_servers)")


def explain_connection(error: BaseException, server: str, kafka: KafkaSettings) -> MoodstreamError:
    """What a failed connection means, given the settings."""
    wanted = None if kafka.ssl_certfile is not None else certificate_wanted(str(error), _TLS_NAMES)
    if wanted is not None:
        return BrokerRefused(f"{server} cannot be reached over TLS: {wanted}: {plain(error)}")
    return explain(error, server)


def raise_if_final(error: KafkaError, twin: str) -> None:
    """Raise what ends the source; return when waiting may help. `twin` is the message for a fenced slot.

    Raises:
        Fenced: another worker is in the slot.
        BrokerRefused: the broker refuses.
        KafkaError: the error itself, when it is not a temporary one.
    """
    if isinstance(error, FencedInstanceIdError):
        raise Fenced(twin) from error
    if any(isinstance(error, kind) for kind, _ in _REFUSALS):
        raise explain(error) from error
    if not isinstance(error, _PASSING):
        raise error


def describe(error: BaseException) -> str:
    """An error on one line: its message, and its class if it is not ours. Never "None"."""
    if isinstance(error, MoodstreamError):
        return " ".join(str(error).split())
    name = type(error).__name__
    text = plain(error)
    return text if name in text else f"{text} ({name})"


def plain(error: BaseException) -> str:
    """The message without class names and error numbers in front, on one line."""
    said = next(iter(error.args), None) if isinstance(error, KafkaError) else str(error)
    if isinstance(said, (set, frozenset)):  # the topics that are denied
        said = ", ".join(sorted(map(str, said)))
    text = "" if said is None or said == type(error).__name__ else " ".join(str(said).split())
    text = re.sub(r"^(\[Error -?\d+\] )?(\w+Error: )+", "", text)
    if text and text != "None":
        return text
    for kind, words in _WITHOUT_WORDS:
        if isinstance(error, kind):
            return words
    described = getattr(error, "description", None)
    return " ".join(str(described).split()) if described else type(error).__name__
