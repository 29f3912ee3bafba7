"""Find a usable broker, or say why there is none.

kafka-python's own clients report every failure as "Unable to bootstrap" after half a minute, and they may
spend all of that on one server that never answers. The probe asks every bootstrap server at the same time,
through the same network layer, and keeps each connection's error.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import Any, Literal

from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from worker.errors import BrokerRefused, BrokerUnavailable, MoodstreamError
from worker.kafka import guards
from worker.kafka.diagnose import HANGS_UP, explain, explain_connection
from worker.kafka.options import client_options
from worker.settings.groups import KafkaSettings
from worker.tls import load_key

ATTEMPT_S = 5.0
"""The longest that one probe takes."""

_TURN_S = 2.0
"""How long one server that has answered may take to describe its cluster before another one is asked."""

_LOOK_EVERY_S = 0.01
_PEEK_S = 1.0

Speech = Literal["plain", "login", "tls"]
"""What a port speaks: Kafka without a login, Kafka that wants a login, TLS."""


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python has no types
    """The client's connections, changed to read a refusal before the end of the stream."""

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        return guards.hand_over_last_bytes(transport)

    async def pause(self, seconds: float) -> None:
        """Let the connections make progress."""
        await self._net.sleep(seconds)


def probe(kafka: KafkaSettings, timeout_s: float = ATTEMPT_S) -> KafkaSettings:
    """Connect, log in, ask for the cluster's brokers and reach one of them; then disconnect.

    Returns:
        The settings with the bootstrap server that answered as the only one, for a client's constructor.

    Raises:
        BrokerRefused: a broker answered and refused.
        BrokerUnavailable: none answered within `timeout_s` seconds.
        SettingsError: the private key needs a password, or another one.
    """
    check_key(kafka)
    found = _Search(kafka, time.monotonic() + timeout_s)
    net = NetworkSelector(client_id=kafka.client_id)
    manager = _Manager(net, **client_options(kafka))
    try:
        outcome = manager.call_soon(found.run, manager)
        net.poll(timeout_ms=timeout_s * 1_000 + 500, future=outcome)
        if outcome.is_done and outcome.failed():
            raise explain(outcome.exception) from outcome.exception
    finally:
        manager.close()
        net.close()
    if found.server is None:
        raise found.problem(timeout_s)
    return kafka.model_copy(update={"bootstrap_servers": [found.server]})


class _Search:
    """One search for a server: the first to answer whose cluster can be reached."""

    def __init__(self, kafka: KafkaSettings, deadline: float) -> None:
        self._kafka = kafka
        self._deadline = deadline
        self._problems: list[tuple[str, MoodstreamError]] = []
        self.server: str | None = None

    async def run(self, manager: _Manager) -> None:
        """Ask all servers. Sets `server` when one is found."""
        servers = {node.node_id: _address(node) for node in manager.cluster.bootstrap_brokers()}
        connections = self._connect(manager, servers)
        while connections:
            node_id = await self._answer(manager, connections, servers)
            if node_id is None:
                return
            problem = await self._try_cluster(manager, node_id, servers[node_id], alone=not connections)
            if problem is None:
                self.server = servers[node_id]
                return
            self._problems.append((servers[node_id], problem))
            manager.get_connection(node_id).close()

    def problem(self, timeout_s: float) -> MoodstreamError:
        """The one problem to report: a refusal takes precedence over silence."""
        refused = [problem for _, problem in self._problems if isinstance(problem, BrokerRefused)]
        if refused:
            return refused[0]
        for server, problem in self._problems:
            if HANGS_UP in str(problem):
                mismatch = _mismatch(self._kafka, server)
                if mismatch is not None:
                    return mismatch
        if self._problems:
            return self._problems[0][1]
        servers = ", ".join(self._kafka.bootstrap_servers)
        return BrokerUnavailable(f"{servers}: no answer within {timeout_s:g} s (kafka.bootstrap_servers)")

    def _connect(self, manager: _Manager, servers: Mapping[Any, str]) -> dict[Any, Any]:
        """Begin to connect to all at once, so that a host that drops packets costs no time."""
        connections = {}
        for node_id, server in servers.items():
            try:
                connections[node_id] = manager.get_connection(node_id, timeout_ms=self._left_ms())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
                self._problems.append((server, explain_connection(error, server, self._kafka)))
        return connections

    async def _answer(
        self, manager: _Manager, connections: dict[Any, Any], servers: Mapping[Any, str]
    ) -> Any | None:
        """Wait for the next server that answers, and take it out of `connections`."""
        while connections:
            for node_id, connection in list(connections.items()):
                answer = connection.init_future
                if not answer.is_done:
                    continue
                del connections[node_id]
                if answer.succeeded():
                    return node_id
                problem = explain_connection(answer.exception, servers[node_id], self._kafka)
                self._problems.append((servers[node_id], problem))
            if time.monotonic() >= self._deadline:
                silence = TimeoutError("timed out")
                self._problems += [(servers[one], explain(silence, servers[one])) for one in connections]
                connections.clear()
            await manager.pause(_LOOK_EVERY_S)
        return None

    async def _try_cluster(
        self, manager: _Manager, node_id: Any, server: str, *, alone: bool
    ) -> MoodstreamError | None:
        """Ask a server for the cluster's own addresses, and reach one of them. None when all is well."""
        turn_ms = self._left_ms() if alone else min(self._left_ms(), _TURN_S * 1_000)
        try:
            await manager.wait_for(manager.call_soon(manager.cluster.refresh_metadata, node_id), turn_ms)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
            return explain_connection(error, server, self._kafka)
        members = {node.node_id: _address(node) for node in manager.cluster.brokers()}
        if not members:
            return BrokerUnavailable(f"{server} answers, but knows of no broker yet")
        before = len(self._problems)
        if await self._answer(manager, self._connect(manager, members), members) is not None:
            del self._problems[before:]
            return None
        problems = [problem for _, problem in self._problems[before:]]
        del self._problems[before:]
        refused = [problem for problem in problems if isinstance(problem, BrokerRefused)]
        if refused:
            return refused[0]
        return BrokerUnavailable(
            f"{server} answers, but the cluster's own addresses cannot be reached: {problems[0]}; "
            "see advertised.listeners on the broker"
        )

    def _left_ms(self) -> float:
        return max(1.0, (self._deadline - time.monotonic()) * 1_000)


def _address(node: Any) -> str:
    host = f"[{node.host}]" if ":" in node.host else node.host
    return f"{host}:{node.port}"


def check_key(kafka: KafkaSettings) -> None:
    """Open the client's private key, if there is one, as the client will.

    OpenSSL asks on the terminal for a password that is missing, once for each connection.

    Raises:
        SettingsError: the key is encrypted and the password is missing or wrong.
    """
    if not kafka.security_protocol.endswith("SSL") or kafka.ssl_certfile is None:
        return
    secret = kafka.ssl_password
    try:
        load_key(
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            kafka.ssl_certfile,
            kafka.ssl_keyfile,
            None if secret is None else secret.get_secret_value(),
            password_setting="kafka.ssl_password",  # noqa: S106 - the setting's name
        )
    except OSError as error:  # ssl.SSLError is one
        raise explain(error) from error


def _mismatch(kafka: KafkaSettings, server: str) -> BrokerRefused | None:
    """Why a server hangs up: it expects another protocol. None when that is not the reason."""
    speech = peek(server)
    encrypts, logs_in = kafka.security_protocol.endswith("SSL"), kafka.security_protocol.startswith("SASL")
    if speech is None or (encrypts == (speech == "tls") and (logs_in or speech != "login")):
        return None
    says = {
        "plain": "does not speak TLS on this port",
        "login": "does not speak TLS on this port" if encrypts else "wants a login on this port",
        "tls": "speaks TLS on this port",
    }
    return BrokerRefused(f"{server} {says[speech]}, and kafka.security_protocol is {kafka.security_protocol}")


def peek(server: str) -> Speech | None:
    """Find out which protocol a port that hangs up on us speaks. None when it cannot be determined.

    Sends nothing but the first requests of Kafka's own protocol, and no credentials.
    """
    host, _, port = server.rpartition(":")
    place = (host.strip("[]"), int(port))
    with contextlib.suppress(OSError), socket.create_connection(place, _PEEK_S) as plain:
        if _request(plain, _API_VERSIONS) is not None:
            answer = _request(plain, _SASL_HANDSHAKE)
            return "login" if answer in {_NO_ERROR, _UNSUPPORTED_MECHANISM} else "plain"
    with contextlib.suppress(OSError), socket.create_connection(place, _PEEK_S) as raw:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Nothing is sent over it, so the server's identity does not matter here.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(raw):
            return "tls"
    return None


_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)
_SASL_HANDSHAKE = struct.pack(">hhih", 17, 0, 1, -1) + struct.pack(">h5s", 5, b"PLAIN")
_NO_ERROR, _UNSUPPORTED_MECHANISM = 0, 33
_LONGEST_ANSWER = 1_000_000


def _request(connection: socket.socket, request: bytes) -> int | None:
    """Send a request and return the error code of its answer; None when the answer is not Kafka's."""
    connection.sendall(struct.pack(">i", len(request)) + request)
    answer = b""
    while len(answer) < 10:
        part = connection.recv(65_536)
        if not part:
            return None
        answer += part
    length, correlation, code = struct.unpack(">iih", answer[:10])
    while length <= _LONGEST_ANSWER and len(answer) < length + 4 and (part := connection.recv(65_536)):
        answer += part
    return int(code) if correlation == 1 and length <= _LONGEST_ANSWER else None
