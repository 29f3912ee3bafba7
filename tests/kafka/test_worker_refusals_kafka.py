"""Two refusals that only a real broker can give: a twin in the same slot, and a wrong password."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.brokers import KafkaCluster, Listener
from tests.support.topics import Topics
from tests.support.workers import WorkerProcess
from worker.errors import ExitCode


def last_reason(worker: WorkerProcess) -> str:
    text = worker.log.read_text()
    assert "Traceback" not in text
    return str([event for event in worker.events() if event["event"] == "stopped"][-1]["reason"])


def test_two_workers_in_the_same_slot(kafka: str, unique: str, tmp_path: Path) -> None:
    topics = Topics(kafka, unique)
    topics.create()
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, second = topics.worker("0", tmp_path / "first"), topics.worker("0", tmp_path / "second")
    first.start()
    first.wait_ready()
    second.start()
    assert first.wait(60) == ExitCode.FENCED  # the newer one wins: it may be the older one's replacement
    assert "delivery.slot" in last_reason(first)
    second.wait_ready()
    assert second.terminate() == ExitCode.OK


@pytest.mark.timeout(180)
def test_wrong_password(make_cluster: Callable[..., KafkaCluster], unique: str, tmp_path: Path) -> None:
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="right";'
    secure = Listener(
        "SECURE",
        "SASL_PLAINTEXT",
        {"sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": login},
    )
    cluster = make_cluster(1, listeners=[secure])
    worker = WorkerProcess(
        "0",
        {
            "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{cluster.port('SECURE')}",
            "MOODSTREAM_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "MOODSTREAM_KAFKA__SASL_MECHANISM": "PLAIN",
            "MOODSTREAM_KAFKA__SASL_PLAIN_USERNAME": "worker",
            "MOODSTREAM_KAFKA__SASL_PLAIN_PASSWORD": "not the password",
        },
        tmp_path,
    )
    started = time.monotonic()
    worker.start()
    assert worker.wait(60) == ExitCode.BROKER_REFUSED
    assert time.monotonic() - started < 30, "the client alone would have taken that long to say nothing"
    assert "not the password" not in worker.log.read_text()
    assert "sasl_plain_password" in last_reason(worker) or "password" in last_reason(worker)
