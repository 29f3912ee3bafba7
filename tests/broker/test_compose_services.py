"""Our services of compose.yaml, started from it: each its command with exactly its environment.

Only the broker's address differs: `kafka:9092` is the embedded broker here. `make image-test` does it with
containers and Apache Kafka.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ports import free_port
from worker.demo.broker import EmbeddedBroker
from worker.demo.reader import Reader
from worker.errors import ExitCode
from worker.kafka.topics import TopicSpec, create_topics, missing_topics
from worker.settings.groups import KafkaSettings

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
TOPICS = ("posts", "moods", "moods.dead-letter")
_LIMIT_S = 90.0


def command(name: str) -> list[str]:
    """What the container of a service runs: the image's entry point, unless the service has another."""
    service = SERVICES[name]
    entry: list[str] = service.get("entrypoint", ["moodstream"])
    modules = {"moodstream": [sys.executable, "-m", "worker"], "python": [sys.executable]}
    return [*modules[entry[0]], *entry[1:], *service.get("command", ["run"])]


def start(
    name: str, bootstrap: str, folder: Path, *arguments: str, port: int = 0
) -> "subprocess.Popen[bytes]":
    """A service by its command and its environment; its output goes to a file of its name."""
    given = {
        key: str(value).replace("kafka:9092", bootstrap)
        for key, value in SERVICES[name]["environment"].items()
    }
    env = {key: value for key, value in os.environ.items() if not key.startswith("MOODSTREAM_")}
    env |= given | {"MOODSTREAM_OBSERVE__PORT": str(port)}
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([*command(name), *arguments], env=env, cwd=folder, stdout=log, stderr=log)


def wait_until(
    holds: Callable[[], bool], processes: Sequence["subprocess.Popen[bytes]"], folder: Path
) -> None:
    """Wait until something holds, while the processes run."""
    deadline = time.monotonic() + _LIMIT_S
    while not holds():
        said = "\n".join(path.read_text()[-2_000:] for path in folder.glob("*.log"))
        assert all(each.poll() is None for each in processes), said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def green(port: int, path: str) -> bool:
    """Whether a health page answers with 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2):
            return True
    except OSError:
        return False


def test_topics_then_workers_then_the_feeder(own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=[own_broker.bootstrap])
    assert start("topics", own_broker.bootstrap, tmp_path).wait(60) == ExitCode.OK
    assert missing_topics(kafka, TOPICS) == []
    port = free_port()
    worker = start("worker", own_broker.bootstrap, tmp_path, port=port)
    feeder = start("feeder", own_broker.bootstrap, tmp_path)
    reader = Reader(kafka, ["moods"])
    try:
        wait_until(lambda: green(port, "/readyz") and green(port, "/healthz"), [worker, feeder], tmp_path)
        found: list[dict[str, object]] = []

        def answers() -> int:
            found.extend(json.loads(each.value) for each in reader.read(0.2) if each.value)
            return len(found)

        wait_until(lambda: answers() >= 20, [worker, feeder], tmp_path)
        # ClickHouse and the dashboards group by these.
        assert any(mood.get("product") for mood in found)
        assert any(mood.get("source") for mood in found)
        assert all(mood["text"] for mood in found)
    finally:
        feeder.terminate()
        worker.terminate()
    assert (feeder.wait(30), worker.wait(30)) == (ExitCode.OK, ExitCode.OK)


@pytest.mark.parametrize("name", ["worker", "feeder"])
def test_a_missing_topic_is_named_in_one_line(own_broker: EmbeddedBroker, tmp_path: Path, name: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=[own_broker.bootstrap])
    create_topics(kafka, [TopicSpec("something.else", 1, 1)])
    assert start(name, own_broker.bootstrap, tmp_path).wait(60) == ExitCode.TOPIC_MISSING
    log = (tmp_path / f"{name}.log").read_text()
    [line] = [each for each in log.splitlines() if "no such topic" in each]
    assert "posts" in line
    assert "Traceback" not in log


@pytest.mark.parametrize("name", ["worker", "feeder"])
def test_a_broker_that_comes_late_is_waited_for(tmp_path: Path, name: str) -> None:
    """As when Kafka is away while the stack starts. What it waits for is said meanwhile."""
    port, health = free_port(), free_port()
    broker = EmbeddedBroker(data_dir=tmp_path / "broker", port=port)
    kafka = KafkaSettings(bootstrap_servers=[f"127.0.0.1:{port}"])
    with broker:
        create_topics(kafka, [TopicSpec(topic, 1, 1) for topic in TOPICS])
    service = start(name, broker.bootstrap, tmp_path, port=health)
    log = tmp_path / f"{name}.log"
    try:
        wait_until(lambda: f"127.0.0.1:{port} does not listen" in log.read_text(), [service], tmp_path)
        with broker:
            reader = Reader(kafka, ["posts"])
            works = (
                (lambda: green(health, "/readyz")) if name == "worker" else (lambda: any(reader.read(0.2)))
            )
            wait_until(works, [service], tmp_path)
            reader.close()
            service.terminate()
            assert service.wait(30) == ExitCode.OK
        assert "Traceback" not in log.read_text()
    finally:
        service.kill()


def test_no_topics_are_made_without_a_broker(tmp_path: Path) -> None:
    port = free_port()
    assert start("topics", f"127.0.0.1:{port}", tmp_path).wait(60) == ExitCode.BROKER_UNAVAILABLE
    said = (tmp_path / "topics.log").read_text()
    assert said == f"moodstream: 127.0.0.1:{port} does not listen (kafka.bootstrap_servers)\n"
