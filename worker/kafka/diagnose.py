"""One attempt to reach the brokers, which says why it failed.

kafka-python's own clients answer every failure with «Unable to bootstrap» after half a minute. This asks the
same network layer, but keeps what each connection's own future says.

Why a connection failed, as one line that names the setting to look at.

What an exception out of the consumer means: end, or wait and go on.
"""

import re
import ssl
import time
from typing import Any

from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    CorruptRecordError,
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    IllegalGenerationError,
    IllegalSaslStateError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    KafkaProtocolError,
    RebalanceInProgressError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnknownMemberIdError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from worker.errors import BrokerRefused, BrokerUnavailable, SourceFenced
from worker.kafka import guards
from worker.kafka.login import TokenRefused, TokenUnavailable
from worker.kafka.options import client_options
from worker.settings.groups import KafkaSettings

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
    (TokenRefused, "cannot be logged in to: {text}"),
    (TokenUnavailable, "cannot be logged in to yet: {text}"),
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
            problem = BrokerUnavailable if kind is TokenUnavailable else BrokerRefused
            return problem(f"{server} {meaning.format(text=text)}")
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


_LOOK_EVERY_S = 0.01


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python has no types
    """The client's connections, reading a refusal before the end of the stream."""

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        return guards.hand_over_last_bytes(transport)

    async def pause(self, seconds: float) -> None:
        """Let the connections get on."""
        await self._net.sleep(seconds)


def probe(kafka: KafkaSettings, timeout_s: float = 5.0) -> None:
    """Connect, log in, ask for the cluster's brokers and reach one of them; then hang up.

    Raises:
        BrokerRefused: a broker answered and refused.
        BrokerUnavailable: none answered within `timeout_s` seconds.
    """
    options = client_options(kafka)
    net = NetworkSelector(client_id=kafka.client_id)
    manager = _Manager(net, **options)
    try:
        outcome = manager.call_soon(_reach, manager, time.monotonic() + timeout_s)
        net.poll(timeout_ms=timeout_s * 1_000 + 500, future=outcome)
        if not outcome.is_done:
            servers = ", ".join(kafka.bootstrap_servers)
            raise BrokerUnavailable(f"{servers}: no answer within {timeout_s:g} s (kafka.bootstrap_servers)")
        if outcome.failed():
            raise outcome.exception
        if outcome.value is not None:
            raise outcome.value
    finally:
        manager.close()
        net.close()


async def _reach(manager: _Manager, deadline: float) -> Problem | None:
    bootstrap = {node.node_id: f"{node.host}:{node.port}" for node in manager.cluster.bootstrap_brokers()}
    problem, node_id = await _first_answer(manager, bootstrap, deadline)
    if node_id is None:
        return problem
    try:
        await manager.wait_for(
            manager.call_soon(manager.cluster.refresh_metadata, node_id), _left_ms(deadline)
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return explain(bootstrap[node_id], error)
    members = {node.node_id: f"{node.host}:{node.port}" for node in manager.cluster.brokers()}
    if not members:
        return BrokerUnavailable(f"{bootstrap[node_id]} answers, but knows of no broker yet")
    problem, reached = await _first_answer(manager, members, deadline)
    if reached is None and isinstance(problem, BrokerUnavailable):
        return BrokerUnavailable(
            f"{bootstrap[node_id]} answers, but the cluster's own addresses cannot be reached: {problem}; "
            "see advertised.listeners on the broker"
        )
    return problem if reached is None else None


async def _first_answer(
    manager: _Manager, nodes: dict[Any, str], deadline: float
) -> tuple[Problem | None, Any | None]:
    """Connect to all at once; the first that answers, or the problem to tell.

    A host that swallows packets costs nothing while another one answers.
    """
    connections = {}
    problems: list[Problem] = []
    for node_id, server in nodes.items():
        try:
            connections[node_id] = manager.get_connection(node_id, timeout_ms=_left_ms(deadline))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            problems.append(explain(server, error))
    while connections:
        for node_id, connection in list(connections.items()):
            answer = connection.init_future
            if not answer.is_done:
                continue
            if answer.succeeded():
                return None, node_id
            problems.append(explain(nodes[node_id], answer.exception))
            del connections[node_id]
        if time.monotonic() >= deadline:
            problems += [explain(nodes[node_id], TimeoutError("timed out")) for node_id in connections]
            break
        await manager.pause(_LOOK_EVERY_S)
    refusals = [problem for problem in problems if isinstance(problem, BrokerRefused)]
    return (refusals or problems)[0], None


def _left_ms(deadline: float) -> float:
    return max(1.0, (deadline - time.monotonic()) * 1_000)


_GROUP_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
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
    for kind, meaning in _GROUP_REFUSALS:
        if isinstance(error, kind):
            raise BrokerRefused(f"{meaning}: {' '.join(str(error).split())}") from error
    if not isinstance(error, _PASSING):
        raise error
