"""The image, built and run for real, as confined as compose.yaml says."""

import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.containers import IMAGE, Engine
from tests.support.ports import free_port
from worker.demo.broker import EmbeddedBroker
from worker.demo.feeder import Feeder, Sent
from worker.demo.ledger import Ledger
from worker.demo.reader import Reader, read_answer
from worker.demo.samples import load_samples
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings.groups import KafkaSettings

pytestmark = [pytest.mark.container, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).parents[2]
_TOPICS = ("posts", "moods", "moods.dead-letter")
_LIMIT_S = 90.0

_PRIVILEGES = """
import os, pathlib
lines = open("/proc/self/status").read().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
print(os.getuid(), os.getgid(), *(status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs")))
for folder in ("/", "/opt/moodstream", "/tmp"):
    try:
        (pathlib.Path(folder) / "written").touch()
        print(folder, "is written")
    except OSError as error:
        print(folder, error.strerror)
"""
_ABSENT = """
import importlib.util as u
print([name for name in ("pip", "setuptools", "ensurepip", "torch", "huggingface_hub") if u.find_spec(name)])
"""
_LOAD_ALL = """
import importlib, importlib.metadata as m
for name in sorted(m.packages_distributions()):
    importlib.import_module(name)
print(m.version("moodstream"), len(m.packages_distributions()))
"""
_CODECS = """
import os
from kafka import codec
data = os.urandom(500) * 40
for name in ("gzip", "snappy", "lz4", "zstd"):
    packed = getattr(codec, f"{name}_encode")(data)
    assert len(packed) < len(data) and bytes(getattr(codec, f"{name}_decode")(packed)) == data, name
print("codecs work")
"""


def confined() -> list[str]:
    """The limits that compose.yaml sets for a worker, as flags of `docker run`."""
    worker = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["worker"]
    flags = ["--read-only"] if worker["read_only"] else []
    flags += [f"--tmpfs={folder}" for folder in worker["tmpfs"]]
    flags += [f"--cap-drop={name}" for name in worker["cap_drop"]]
    flags += [f"--security-opt={option}" for option in worker["security_opt"]]
    return [*flags, f"--pids-limit={worker['pids_limit']}", f"--memory={worker['mem_limit']}"]


def python(containers: Engine, program: str) -> str:
    """What a program prints that Python runs in the image."""
    return containers("run", "--rm", *confined(), "--entrypoint=python", IMAGE, "-c", program)


def test_it_runs_as_its_own_user_without_capabilities_on_a_read_only_root(containers: Engine) -> None:
    who, *folders = python(containers, _PRIVILEGES).splitlines()
    none = "0" * 16
    assert who == f"10001 10001 {none} {none} 1"
    assert folders == [
        "/ Read-only file system", "/opt/moodstream Read-only file system", "/tmp is written"
    ]  # fmt: skip
    print(f"user, group, capabilities, no new privileges: {who}; {'; '.join(folders)}")


def test_what_no_worker_needs_is_not_in_it(containers: Engine) -> None:
    assert python(containers, _ABSENT) == "[]\n"


def test_all_that_is_in_it_loads(containers: Engine) -> None:
    print("version, packages:", python(containers, _LOAD_ALL).strip())
    assert python(containers, _CODECS) == "codecs work\n"


def test_a_start_compiles_nothing(containers: Engine) -> None:
    """On a read-only root it would be compiled at each start, and at each health check."""
    program = "import urllib.request, worker.cli.main, worker.stream.app"
    told = containers.run(
        "run", "--rm", *confined(), "--entrypoint=python", IMAGE, "-v", "-c", program
    ).stderr
    loaded = [line for line in told.splitlines() if "code object from" in line]
    assert len(loaded) > 500
    assert [line for line in loaded if line.endswith(".py'")] == []


def test_it_is_smaller_than_400_mb(containers: Engine) -> None:
    size = containers.inspect(IMAGE)["Size"]
    layers = containers("history", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", IMAGE).splitlines()
    print(f"size: {size / 1e6:.0f} MB")
    for layer in layers:
        if not layer.startswith(("0 B", "0B")):
            print("   ", layer[:100])
    assert size < 400e6


def test_it_labels_standard_input(containers: Engine) -> None:
    texts = "What a wonderful morning, thank you all!\nThe worst service I have ever had.\n"
    out = containers("run", "--rm", "--interactive", *confined(), IMAGE, "label", "-", given=texts)
    labels = [json.loads(line)["sentiment_label"] for line in out.splitlines()]
    assert labels == ["positive", "negative"]


@contextlib.contextmanager
def worker(containers: Engine, bootstrap: str, port: int) -> Iterator[str]:
    """A worker in a container that shares this machine's network; its name."""
    name = "moodstream-test-worker"
    environment = {"KAFKA__BOOTSTRAP_SERVERS": bootstrap, "OBSERVE__HOST": "127.0.0.1", "OBSERVE__PORT": port}
    flags = [f"--env=MOODSTREAM_{key}={value}" for key, value in environment.items()]
    containers("run", "--detach", f"--name={name}", "--network=host", *confined(), *flags, IMAGE)
    try:
        yield name
    finally:
        containers("rm", "--force", name)


def test_a_worker_answers_each_sample_once_is_healthy_and_drains(containers: Engine) -> None:
    port = free_port()
    with EmbeddedBroker() as broker:
        kafka = KafkaSettings(bootstrap_servers=[broker.bootstrap])
        create_topics(kafka, [TopicSpec(name, 2, 1) for name in _TOPICS])
        with worker(containers, broker.bootstrap, port) as name:
            wait_ready(containers, name, port)
            ledger = feed_and_read(kafka)
            image = containers.inspect(IMAGE)
            check = (image.get("Healthcheck") or image["Config"]["Healthcheck"])["Test"]  # Podman's, Docker's
            assert check[0] == "CMD"
            containers("exec", name, *check[1:])
            containers("stop", "--time=30", name)
            state: Any = containers.inspect(name)["State"]
            assert state["ExitCode"] == 0, containers.run("logs", name).stderr
    assert not ledger.faults()
    print(ledger.summary(), "· healthy · drained on SIGTERM")


def wait_ready(containers: Engine, name: str, port: int) -> None:
    """Wait until the worker says that it is ready."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
            return
        time.sleep(0.2)
    logs = containers.run("logs", name)
    raise AssertionError(f"not ready after {_LIMIT_S:g} s: {logs.stdout}{logs.stderr}")


def feed_and_read(kafka: KafkaSettings) -> Ledger:
    """Send all samples and read all answers."""
    ledger, sent = Ledger(), list[Sent]()
    with Feeder(kafka, "posts") as feeder:
        feeder.feed(load_samples(), rate=None, stop=threading.Event(), on_sent=sent.append)
    for entry in sent:
        ledger.sent(entry)
    reader = Reader(kafka, ["moods", "moods.dead-letter"])
    deadline = time.monotonic() + _LIMIT_S
    while not ledger.complete() and time.monotonic() < deadline:
        for record in reader.read(0.2):
            now_ms = time.time_ns() // 1_000_000
            ledger.answered(read_answer(record, dead_letter_topic="moods.dead-letter", now_ms=now_ms))
    reader.close()
    return ledger
