"""One attempt to reach the brokers, which says why it failed.

kafka-python's own clients answer every failure with «Unable to bootstrap» after half a minute. This asks the
same network layer, but keeps what each connection's own future says.
"""

import time
from typing import Any

from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from worker.connect import guards
from worker.connect.errors import BrokerRefused, BrokerUnavailable
from worker.connect.options import client_options
from worker.connect.reasons import Problem, explain
from worker.settings.groups import KafkaSettings

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
