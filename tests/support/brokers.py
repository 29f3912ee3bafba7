"""Apache Kafka on 127.0.0.1: one node or several, killed and started again on the same ports and data.

with KafkaCluster(folder) as cluster:
    cluster.kill()          # kill -9
    cluster.start()         # same ports, same data; returns when every node is there
    cluster.bootstrap       # "127.0.0.1:41231"
"""

import base64
import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.support.libs import kafka_libs

_HOST = "127.0.0.1"
_JVM = ("-Xms400m", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_READY_S = 90.0


@dataclass(frozen=True)
class Listener:
    """One more port of each node, beside the plain one: its security protocol and its settings.

    `settings` are broker properties without their `listener.name.<name>.` prefix.
    """

    name: str
    protocol: str
    settings: Mapping[str, str]


class KafkaNode:
    """One process that is broker and controller in one."""

    def __init__(self, node_id: int, folder: Path, listeners: Sequence[Listener]) -> None:
        self.node_id = node_id
        self.folder = folder
        self.ports = _free_ports(2 + len(listeners))
        self.listeners = listeners
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port of the plain listener."""
        return self.ports[0]

    @property
    def controller(self) -> str:
        """As `controller.quorum.voters` names it."""
        return f"{self.node_id}@{_HOST}:{self.ports[1]}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def configure(
        self, voters: str, nodes: int, cluster_id: str, scram: Mapping[str, str], more: Mapping[str, str]
    ) -> None:
        """Write its properties and format its data folder, once."""
        self.folder.mkdir(parents=True)
        text = "\n".join(
            f"{name}={value}" for name, value in {**self._properties(voters, nodes), **more}.items()
        )
        (self.folder / "server.properties").write_text(text + "\n")
        (self.folder / "log4j2.properties").write_text(
            "logger.markers.name=kafka.coordinator.transaction.TransactionMarkerChannelManager\n"
            "logger.markers.level=INFO\n"  # see `skipped_markers`
            "rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=out\nappender.out.type=Console\n"
            "appender.out.name=out\nappender.out.layout.type=PatternLayout\n"
            "appender.out.layout.pattern=%d %p %c{1} %m%n\n"
        )
        users = [f"SCRAM-SHA-256=[name={user},password={password}]" for user, password in scram.items()]
        add = [part for user in users for part in ("--add-scram", user)]
        tool = self._java(
            "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties", *add
        )
        result = subprocess.run(
            tool, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        if result.returncode != 0:
            raise RuntimeError(f"Kafka's storage was not formatted: {result.stdout}{result.stderr}")

    def start(self) -> None:
        """Start it, and do not wait. Nothing happens when it runs."""
        if self.running:
            return
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", "server.properties", jvm=_JVM),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, timeout_s: float = 30.0) -> None:
        """SIGTERM: it hands over and closes its files in order."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log_tail(self, lines: int = 20) -> str:
        """The end of what it printed."""
        path = self.folder / "broker.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def skipped_markers(self) -> bool:
        """Whether it left out markers of a transaction that it had promised to commit.

        Kafka 4.4 does so at times when its only broker dies in a commit: on its return the coordinator looks
        for the partitions before it knows where they are, takes them for deleted, and calls the transaction
        complete. Its records stay in the log, and no read_committed consumer sees them or those after them.
        """
        path = self.folder / "broker.log"
        return path.exists() and "likely deleted already" in path.read_text(errors="replace")

    def partition_folder(self, topic: str, partition: int) -> Path:
        """Where a partition's segments lie."""
        return self.folder / "data" / f"{topic}-{partition}"

    def _java(self, main: str, *arguments: str, jvm: Sequence[str] = ("-Xmx256m",)) -> list[str]:
        log4j = "-Dlog4j2.configurationFile=log4j2.properties"
        return ["java", *jvm, log4j, "-cp", f"{kafka_libs()}/*", main, *arguments]

    def _properties(self, voters: str, nodes: int) -> dict[str, str]:
        copies = min(nodes, 3)
        in_sync = max(1, copies - 1)
        every = [("PLAIN", "PLAINTEXT", self.ports[0]), ("CONTROLLER", "PLAINTEXT", self.ports[1])]
        every += [
            (own.name, own.protocol, port) for own, port in zip(self.listeners, self.ports[2:], strict=True)
        ]
        spoken = [(name, port) for name, _, port in every if name != "CONTROLLER"]
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listeners": ",".join(f"{name}://{_HOST}:{port}" for name, _, port in every),
            "advertised.listeners": ",".join(f"{name}://{_HOST}:{port}" for name, port in spoken),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol, _ in every),
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "5",
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.num.partitions": "5",
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(in_sync),
            "default.replication.factor": str(copies),
            "min.insync.replicas": str(in_sync),
            "group.initial.rebalance.delay.ms": "0",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "2000",
            # A node that was killed is let in again only after this: 9 s by default. Much less, and a busy
            # machine takes living nodes for dead.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }
        for own in self.listeners:
            prefix = f"listener.name.{own.name.lower()}."
            properties |= {prefix + name: value for name, value in own.settings.items()}
        return properties


class KafkaCluster:
    """`nodes` nodes that replicate to one another; ready when `start` returns.

    Args:
        folder: where properties, logs and data lie; it must not hold a cluster yet.
        nodes: one or three.
        listeners: more ports for each node, such as one with TLS.
        scram: users and passwords for SCRAM-SHA-256.
        properties: broker properties over the ones that the harness sets.

    As a context manager it starts on entry, and on exit it is killed and its data removed.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        *,
        listeners: Sequence[Listener] = (),
        scram: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.nodes = [
            KafkaNode(number, folder / f"node-{number}", listeners) for number in range(1, nodes + 1)
        ]
        self._scram = dict(scram or {})
        self._properties = dict(properties or {})

    @property
    def bootstrap(self) -> str:
        """The plain listeners of all nodes, comma-separated."""
        return ",".join(f"{_HOST}:{node.port}" for node in self.nodes)

    def port(self, listener: str) -> int:
        """The first node's port of one of the further listeners."""
        names = [own.name for own in self.nodes[0].listeners]
        return self.nodes[0].ports[2 + names.index(listener)]

    def start(self, *, wait: bool = True) -> Self:
        """Start every node that does not run, on its own port and data, and wait until all are there."""
        voters = ",".join(node.controller for node in self.nodes)
        # 0 in front: a first letter "-", one time in 64, would read as an option.
        cluster_id = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        fresh = not self.nodes[0].folder.exists()
        for node in self.nodes:
            if fresh:
                node.configure(voters, len(self.nodes), cluster_id, self._scram, self._properties)
            node.start()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = _READY_S) -> None:
        """Wait until every running node lists all of them. An open port is not ready."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            running = [node for node in self.nodes if node.running]
            if not running:
                raise RuntimeError(f"Kafka ended:\n{self.nodes[0].log_tail()}")
            if all(self._listed(node) >= len(running) for node in running):
                return
            time.sleep(0.1)
        raise RuntimeError(f"Kafka was not ready in {timeout_s:.0f} s:\n{self.nodes[0].log_tail()}")

    def kill(self, node: int | None = None) -> None:
        """`kill -9` for one node (1, 2, …), or all."""
        for one in self.nodes:
            if node is None or one.node_id == node:
                one.kill()

    def stop(self) -> None:
        """SIGTERM for all."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for node in self.nodes:
            shutil.rmtree(node.folder / "data", ignore_errors=True)

    @staticmethod
    def _listed(node: KafkaNode) -> int:
        """How many nodes this one knows of. Asked itself: the others go on listing one that was killed."""
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=f"{_HOST}:{node.port}", bootstrap_timeout_ms=2_000, request_timeout_ms=3_000
            )
        except KafkaError:
            return 0
        with contextlib.closing(admin):
            try:
                return len(admin.describe_cluster()["brokers"])
            except KafkaError:
                return 0


def _free_ports(count: int) -> list[int]:
    """Ports below those that outgoing connections get, so that none takes one while its node is down.

    Tests that run side by side have a range each: the ports of a node that is down look free.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + number % 4 * 3_000
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(first, first + 3_000)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind((_HOST, port))
            if port not in found:
                found.append(port)
    return found
