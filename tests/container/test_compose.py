"""`docker compose up --scale worker=4` for real: the broker, topics, workers, the feeder and Prometheus.

Images of others cannot be pulled where only package registries are reached. What compose.yaml says of their
services is kept, their environment, health check, volumes, ports and limits, and our own image stands in for
theirs: with this machine's Java and Apache Kafka's jars in it, and with this machine's Prometheus.
"""

import contextlib
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from tests.support.containers import IMAGE, ROOT, Engine
from tests.support.libs import KafkaMissing, kafka_libs

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_800)]

_PROJECT = "moodstream-test"
_STARTED = ("kafka", "topics", "worker", "feeder", "prometheus")
_STAND_INS = Path(__file__).parent / "kafka"
_ANSWERS = ("moods", "moods.dead-letter")
_BROKER = "127.0.0.1:29092"
_PROMETHEUS = "http://127.0.0.1:9090"


def stand_ins() -> dict[str, Any]:
    """What the second compose file changes: which images are taken, and what stands in for others'."""
    found = subprocess.run(
        ["java", "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
    )
    [home] = [line.split("=")[1].strip() for line in found.stderr.splitlines() if "java.home" in line]
    # Debian's Java has its configuration outside of its folder.
    shared = [home, *(str(path) for path in Path("/etc").glob("java-*-openjdk"))]
    kafka = {
        "image": IMAGE,
        "user": "0:0",
        "entrypoint": ["sh", "/opt/kafka/bin/start.sh"],
        "tmpfs": ["/tmp"],
        "environment": {"PATH": f"{home}/bin:/opt/moodstream/bin:/usr/bin:/bin"},
        "volumes": [
            f"{_STAND_INS}:/opt/kafka/bin:ro",
            f"{kafka_libs()}:/opt/kafka/libs:ro",
            *(f"{path}:{path}:ro" for path in shared),
        ],
    }
    prometheus = shutil.which("prometheus")
    options = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
    scraper = {
        "image": IMAGE,
        "user": "0:0",
        "entrypoint": [prometheus, *options],
        "volumes": [f"{prometheus}:{prometheus}:ro"],
        "healthcheck": {"disable": True},
    }
    ours = {name: {"image": IMAGE} for name in ("topics", "worker", "feeder")}
    return {"services": {**ours, "kafka": kafka, "prometheus": scraper}}


class Stack:
    """A project of docker-compose."""

    def __init__(self, containers: Engine, env: Mapping[str, str], changes: Path) -> None:
        self.containers = containers
        self._env = env
        files = ("-f", str(ROOT / "compose.yaml"), "-f", str(changes))
        self._command = ["docker-compose", "-p", _PROJECT, *files]

    def __call__(self, *arguments: str) -> str:
        """Run one command of docker-compose."""
        done = subprocess.run(
            [*self._command, *arguments], env=dict(self._env), capture_output=True, text=True, timeout=400,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}{self.logs()}"
        return done.stdout

    def ids(self, service: str) -> list[str]:
        """The containers of a service."""
        label = f"label=com.docker.compose.service={service}"
        return self.containers("ps", "--all", "--quiet", "--filter", label).split()

    def state(self, container: str) -> Any:
        """How a container does."""
        return self.containers.inspect(container)["State"]

    def healthy(self, service: str) -> int:
        """How many containers of a service are healthy."""
        states = [self.state(each) for each in self.ids(service)]
        return sum(
            (state.get("Health") or state.get("Healthcheck"))["Status"] == "healthy" for state in states
        )

    def logs(self) -> str:
        """The last lines of each service."""
        found = [
            (name, self.containers.run("logs", "--tail=15", each))
            for name in _STARTED
            for each in self.ids(name)
        ]
        return "\n".join(f"--- {name}\n{log.stdout}{log.stderr}" for name, log in found)


@contextlib.contextmanager
def health_checked(containers: Engine) -> Iterator[None]:
    """Run the health checks once a second, which systemd does for Podman where there is one."""
    if not containers.podman:
        yield
        return
    stop = threading.Event()

    def check() -> None:
        while not stop.wait(1.0):
            for container in containers.run("ps", "--quiet").stdout.split():
                containers.run("healthcheck", "run", container)

    thread = threading.Thread(target=check)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def stack(containers: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything up with four workers."""
    missing = [tool for tool in ("docker-compose", "prometheus", "java") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    changes = tmp_path_factory.mktemp("compose") / "changes.json"
    try:
        changes.write_text(json.dumps(stand_ins()))
    except KafkaMissing as error:
        pytest.skip(str(error))
    with containers.served() as env, health_checked(containers):
        made = Stack(containers, env, changes)
        try:
            made("up", "--detach", "--no-build", "--scale", "worker=4", *_STARTED)
            yield made
        finally:
            made("down", "--volumes", "--timeout", "40")


def wait_for(what: Callable[[], bool], limit_s: float, stack: Stack) -> None:
    """Wait until `what` holds."""
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, stack.logs()
        time.sleep(1.0)


def test_topics_are_made_and_four_workers_become_healthy(stack: Stack) -> None:
    [topics] = stack.ids("topics")
    assert stack.state(topics)["ExitCode"] == 0
    wait_for(lambda: stack.healthy("worker") == 4, 180, stack)
    assert [stack.containers.inspect(each)["RestartCount"] for each in stack.ids("worker")] == [0] * 4


def test_the_limits_of_compose_hold_in_each_container_of_ours(stack: Stack) -> None:
    for container in (*stack.ids("worker"), *stack.ids("feeder")):
        host = stack.containers.inspect(container)["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert "no-new-privileges" in " ".join(host["SecurityOpt"])
        assert (host["Memory"], host["PidsLimit"]) == (1 << 30, 500)
        status = stack.containers("exec", container, "cat", "/proc/1/status")
        assert "CapBnd:\t0000000000000000" in status


def test_prometheus_finds_each_worker_by_the_name_of_the_service(stack: Stack) -> None:
    def up() -> int:
        with urllib.request.urlopen(f"{_PROMETHEUS}/api/v1/targets", timeout=10) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        return len({target["scrapeUrl"] for target in targets if target["health"] == "up"})

    wait_for(lambda: up() == 4, 60, stack)
    assert up() == 4


def test_each_post_is_answered_once_and_all_drain(stack: Stack) -> None:
    wait_for(lambda: len(read("posts")) > 100, 120, stack)
    stack("stop", "feeder")
    posts = read("posts")
    wait_for(lambda: len(read(*_ANSWERS)) >= len(posts), 60, stack)
    answers = read(*_ANSWERS)
    assert len(answers) == len(posts)
    # A post without a value is passed through: it has no body that could name its input.
    expected = sorted((post.partition, post.offset) for post in posts if post.value is not None)
    assert sorted(source_of(answer) for answer in answers if answer.value is not None) == expected
    stack("stop", "worker")
    assert [stack.state(each)["ExitCode"] for each in stack.ids("worker")] == [0] * 4
    print(f"4 workers healthy, {len(posts)} posts answered once each, all drained")


def read(*topics: str) -> list[Any]:
    """All committed records, by the port that compose.yaml gives to clients on this machine."""
    reader = KafkaConsumer(
        bootstrap_servers=_BROKER, isolation_level="read_committed", enable_auto_commit=False
    )
    partitions = [KafkaPartition(topic, number) for topic in topics for number in range(6)]
    reader.assign(partitions)
    reader.seek_to_beginning()
    ends = reader.end_offsets(partitions)
    found: list[Any] = []
    deadline = time.monotonic() + 30
    while any(reader.position(each) < ends[each] for each in partitions):
        assert time.monotonic() < deadline, "the broker gives no more records"
        for records in reader.poll(500).values():
            found += records
    reader.close()
    return found


def source_of(answer: Any) -> tuple[int, int]:
    """Partition and offset of the input of an answer."""
    if answer.topic == "moods.dead-letter":
        headers = {name: (value or b"").decode() for name, value in answer.headers}
        return int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])
    body = json.loads(answer.value)
    return body["source_partition"], body["source_offset"]
