"""Why a connection failed, as one line that names the setting to look at."""

import re
import ssl

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaError,
    KafkaProtocolError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from worker.connect.errors import BrokerRefused, BrokerUnavailable

Problem = BrokerUnavailable | BrokerRefused

_TLS_REFUSALS: tuple[tuple[str, str], ...] = (
    ("hostname mismatch", "its certificate does not name this host (kafka.ssl_check_hostname)"),
    ("ip address mismatch", "its certificate does not name this address (kafka.ssl_check_hostname)"),
    ("certificate_verify_failed", "its certificate is not signed by a trusted authority (kafka.ssl_cafile)"),
    ("certificate verify failed", "its certificate is not signed by a trusted authority (kafka.ssl_cafile)"),
    ("certificate required", "it wants a client certificate (kafka.ssl_certfile, kafka.ssl_keyfile)"),
    ("bad certificate", "it does not accept the client certificate (kafka.ssl_certfile, kafka.ssl_keyfile)"),
    ("unknown ca", "it does not trust the client certificate's authority (kafka.ssl_certfile)"),
    ("certificate unknown", "it does not accept the client certificate (kafka.ssl_certfile)"),
    ("wrong_version_number", "it does not speak TLS on this port (kafka.security_protocol)"),
    ("wrong version number", "it does not speak TLS on this port (kafka.security_protocol)"),
    ("record layer failure", "it does not speak TLS on this port (kafka.security_protocol)"),
)
"""What OpenSSL says (in lower case), and what it means. The first that fits counts."""


_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (
        SaslAuthenticationFailedError,
        "refuses the login: {text} (kafka.sasl_plain_username, kafka.sasl_plain_password)",
    ),
    (UnsupportedSaslMechanismError, "does not offer this way to log in: {text} (kafka.sasl_mechanism)"),
    (IllegalSaslStateError, "expects no login on this port: {text} (kafka.security_protocol)"),
    (AuthorizationError, "denies access: {text} (the rights of kafka.sasl_plain_username)"),
)


def explain(server: str, error: BaseException) -> Problem:
    """The problem behind a failed connection to `server` (`host:port`)."""
    text = _plain(error)
    for kind, meaning in _REFUSALS:
        if isinstance(error, kind):
            return BrokerRefused(f"{server} {meaning.format(text=text)}")
    lowered = text.lower()
    for sign, meaning in _TLS_REFUSALS:
        if sign in lowered:
            return BrokerRefused(f"{server} cannot be trusted over TLS: {meaning}: {text}")
    if isinstance(error, KafkaProtocolError) or "invalid frame length" in lowered:
        # A TLS alert or a web page, read as if it were Kafka's.
        return BrokerRefused(
            f"{server} answers, but not as Kafka does there: {text} (kafka.security_protocol, the port in "
            "kafka.bootstrap_servers)"
        )
    if isinstance(error, ssl.SSLError) or (isinstance(error, OSError) and error.filename is not None):
        # A file is named where one could not be read; other operating system errors are the network's.
        return BrokerRefused(
            f"the TLS files cannot be used: {text} (kafka.ssl_cafile, kafka.ssl_certfile, kafka.ssl_keyfile)"
        )
    for sign, meaning in _SILENCES:
        if sign in lowered:
            return BrokerUnavailable(f"{server} {meaning}")
    return BrokerUnavailable(f"{server}: {text} (kafka.bootstrap_servers)")


_HANGS_UP = "closes the connection at once: does the port speak what kafka.security_protocol says?"
_SILENCES: tuple[tuple[str, str], ...] = (
    ("dns", "is no known host name (kafka.bootstrap_servers)"),
    ("econnrefused", "does not listen (kafka.bootstrap_servers)"),
    ("socket disconnected", _HANGS_UP),
    ("econnreset", _HANGS_UP),
    ("connection reset", _HANGS_UP),
    ("broken pipe", _HANGS_UP),
    ("eof", _HANGS_UP),
    ("timed out", "does not answer in time (kafka.bootstrap_servers)"),
    ("timeout", "does not answer in time (kafka.bootstrap_servers)"),
)
"""What the client says where nobody answered, and what it means."""


def _plain(error: BaseException) -> str:
    """The message without class names and error numbers, on one line."""
    text = str(error.args[0]) if isinstance(error, KafkaError) and error.args else str(error)
    text = re.sub(r"^(\[Error -?\d+\] )?(\w+Error: )+", "", " ".join(text.split()))
    return text or type(error).__name__
