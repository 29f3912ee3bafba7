"""Starts and stops on a cluster that is not well, and a worker that stood still."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from kafka import KafkaProducer

from tests.support import kill_in_commit
from tests.support.brokers import KafkaCluster
from tests.support.scenario import Feeder
from tests.support.stream import Stream, assert_each_once, numbered
from tests.support.stream import Topics as StreamTopics
from tests.support.topics import Topics
from tests.support.workers import WorkerProcess
from worker.errors import ExitCode, Fenced
from worker.kafka.outcome import Outcome
from worker.kafka.probe import probe
from worker.kafka.topics import TopicSpec, create_topics
from worker.kafka.watchdog import Watchdog
from worker.settings.groups import DeliverySettings, KafkaSettings


@contextmanager
def _silent_server() -> Iterator[str]:
    """A server that accepts and never answers, as one with a hung process or a full disk does."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_answers_does_not_hold_up_a_start(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    topics = Topics(kafka, unique)
    topics.create()
    with _silent_server() as silent:
        servers = f"{silent},{kafka}"
        assert probe(KafkaSettings(bootstrap_servers=servers.split(","))).bootstrap_servers == [kafka]
        for number in range(6):  # the client alone would choose the silent one in half of them
            worker = topics.worker("0", tmp_path, MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS=servers)
            started = time.monotonic()
            worker.start()
            worker.wait_ready()
            assert time.monotonic() - started < 15, number
            assert worker.terminate() == ExitCode.OK


@pytest.mark.timeout(240)
def test_one_of_three_brokers_just_killed_does_not_end_a_start(
    make_cluster: Callable[..., KafkaCluster], unique: str, tmp_path: Path
) -> None:
    cluster = make_cluster(3)
    topics = Topics(cluster.bootstrap.split(",")[0], unique)
    servers = cluster.bootstrap
    names = (topics.posts, topics.moods, topics.dead)
    create_topics(topics.kafka, [TopicSpec(name, 4, 3) for name in names])
    for number in range(2):
        cluster.kill(number + 1)
        worker = topics.worker(f"{number}", tmp_path, MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS=servers)
        worker.start()
        worker.wait_ready(60)
        assert worker.terminate() == ExitCode.OK
        cluster.start()


def _feed_while(topics: Topics, worker_pid: int, stopped_s: float) -> Feeder:
    """Stop a worker that is at work, so that it most likely stands still in a transaction."""
    feeder = Feeder(topics, 200)
    feeder.start()
    time.sleep(2)
    os.kill(worker_pid, signal.SIGSTOP)
    time.sleep(stopped_s)
    os.kill(worker_pid, signal.SIGCONT)
    return feeder


@pytest.mark.timeout(180)
def test_a_lone_worker_that_stood_still_goes_on(kafka: str, unique: str, tmp_path: Path) -> None:
    from tests.support.proof import count
    from tests.support.scenario import wait_until_answered

    topics = Topics(kafka, unique)
    topics.create()
    worker = topics.worker("0", tmp_path, MOODSTREAM_DELIVERY__TRANSACTION_TIMEOUT_MS="5000")
    worker.start()
    worker.wait_ready()
    feeder = _feed_while(topics, worker.pid, 10)
    time.sleep(3)
    assert worker.running, worker.tail()
    feeder.finish()
    wait_until_answered(topics, lambda: None)
    assert worker.terminate() == ExitCode.OK
    count(topics).check()


def _stand_still(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the next commit sleep in the middle of its transaction, once."""
    offsets, due = KafkaProducer.send_offsets_to_transaction, [seconds]

    def slow(producer: KafkaProducer, *arguments: object) -> object:
        if due:
            time.sleep(due.pop())
        return offsets(producer, *arguments)

    monkeypatch.setattr(KafkaProducer, "send_offsets_to_transaction", slow)


def _stream(topics: StreamTopics) -> Stream:
    return Stream(topics, delivery=DeliverySettings(slot="0", transaction_timeout_ms=5_000))


def test_a_transaction_that_timed_out_is_told_from_a_twin(
    settings: KafkaSettings, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = StreamTopics(settings, unique).create()
    fed = topics.feed(numbered(100))
    stream = _stream(topics).open().join()
    records = stream.read(5.0)
    _stand_still(monkeypatch, 9.0)
    assert stream.write(records) is Outcome.ABORTED
    stream.run(len(fed))
    stream.close()
    assert_each_once(fed, topics.read())


def test_a_twin_that_came_while_the_worker_stood_still_keeps_the_slot(
    settings: KafkaSettings, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = StreamTopics(settings, unique).create()
    fed = topics.feed(numbered(100))
    first = _stream(topics).open().join()
    records = first.read(5.0)
    _stand_still(monkeypatch, 9.0)
    second = _stream(topics)
    joined = threading.Timer(2.0, lambda: second.open().join())
    joined.start()
    with pytest.raises(Fenced, match=r"delivery\.slot"):
        first.write(records)
    joined.join()
    first.close()
    second.run(len(fed))
    second.close()
    assert_each_once(fed, topics.read())


@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.35, 0.5, 0.7, 1.0])
def test_a_stop_in_the_first_moments_is_a_clean_one(
    kafka: str, unique: str, tmp_path: Path, after_s: float
) -> None:
    topics = Topics(kafka, unique)
    topics.create()
    worker = topics.worker("0", tmp_path)
    worker.start()
    time.sleep(after_s)
    assert worker.terminate() == ExitCode.OK, worker.tail()
    assert worker.events()[-1]["event"] == "drained"


CALLS = ("send_offsets_to_transaction", "commit_transaction")
"""The calls of the client that have no time limit of their own."""


@pytest.mark.parametrize("call", CALLS)
def test_a_commit_under_way_waits_for_the_broker_for_longer_than_the_watchdogs_limit(
    cluster: KafkaCluster, unique: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    topics = StreamTopics(KafkaSettings(bootstrap_servers=[cluster.bootstrap]), unique).create()
    codes: list[int] = []
    waits: list[float] = []
    watchdog = Watchdog(
        3.0,
        lambda: probe(topics.kafka),
        connect_limit_s=60,
        on_wait=lambda: waits.append(time.monotonic()),
        look_every_s=0.5,
        exit=codes.append,
    )
    stream = Stream(topics, watchdog=watchdog).open().join()
    fed = topics.feed(numbered(100))
    made, calls = getattr(KafkaProducer, call), iter(range(1, 10_000))
    back: list[threading.Timer] = []

    def interrupted(producer: KafkaProducer, *arguments: object) -> object:
        if next(calls) == 2:
            cluster.kill()
            back.append(threading.Timer(7.0, cluster.start))
            back[0].start()
        return made(producer, *arguments)

    monkeypatch.setattr(KafkaProducer, call, interrupted)
    while not back:
        stream.write(stream.read(5.0, max_messages=20))
    back[0].join()
    assert len(waits) >= 3
    deadline = time.monotonic() + 60
    while len(topics.read()) < len(fed) and time.monotonic() < deadline:
        stream.step()
    stream.close()
    assert codes == []
    assert_each_once(fed, topics.read())


def test_the_broker_being_away_is_alive_and_not_ready(
    cluster: KafkaCluster, unique: str, tmp_path: Path
) -> None:
    """For longer than `observe.stall_after_s` and `delivery.watchdog_s`, and in the midst of a commit."""
    topics = Topics(cluster.bootstrap, unique)
    topics.create()
    worker = _worker_that_loses_its_broker(
        topics,
        cluster,
        tmp_path,
        MOODSTREAM_OBSERVE__STALL_AFTER_S="15",
        MOODSTREAM_DELIVERY__WATCHDOG_S="30",
    )
    feeder = _feed_until_killed(topics, worker, cluster)
    seen: set[tuple[int, int]] = set()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        time.sleep(1)
        seen.add((worker.get("/healthz")[0], worker.get("/readyz")[0]))
    cluster.start()
    worker.wait_ready()
    assert (200, 503) in seen
    assert {alive for alive, _ in seen} == {200}, worker.tail()
    waits = [event for event in worker.events() if str(event["event"]).startswith("waiting for")]
    assert waits
    assert all({"reason", "since", "until"} <= event.keys() for event in waits)
    text = worker.log.read_text()
    assert "KafkaTimeoutError: None" not in text
    assert '"logger":"kafka.' not in text
    feeder.finish()
    assert worker.terminate() == ExitCode.OK


def test_a_stop_in_a_commit_that_waits_for_the_broker_ends_at_the_drain_limit(
    cluster: KafkaCluster, unique: str, tmp_path: Path
) -> None:
    topics = Topics(cluster.bootstrap, unique)
    topics.create()
    worker = _worker_that_loses_its_broker(
        topics, cluster, tmp_path, MOODSTREAM_DELIVERY__DRAIN_TIMEOUT_S="4"
    )
    feeder = _feed_until_killed(topics, worker, cluster)
    started = time.monotonic()
    assert worker.terminate() == ExitCode.WATCHDOG, worker.tail()
    assert 3 < time.monotonic() - started < 12
    assert "delivery.drain_timeout_s" in str(worker.events()[-1]["reason"])
    cluster.start()
    feeder.finish()


def _worker_that_loses_its_broker(
    topics: Topics, cluster: KafkaCluster, folder: Path, **settings: str
) -> WorkerProcess:
    """A worker that is ready, and kills the broker in its third commit."""
    hook = {kill_in_commit.CALL: CALLS[0], kill_in_commit.PID: str(cluster.nodes[0].pid)}
    worker = topics.worker("0", folder, kill_in_commit.MODULE, **settings, **hook)
    worker.start()
    worker.wait_ready()
    return worker


def _feed_until_killed(topics: Topics, worker: WorkerProcess, cluster: KafkaCluster) -> Feeder:
    feeder = Feeder(topics, 100)
    feeder.start()
    deadline = time.monotonic() + 60
    while cluster.nodes[0].running:
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.05)
    return feeder


@pytest.mark.timeout(240)
def test_an_in_sync_replica_that_is_missing_is_named(
    make_cluster: Callable[..., KafkaCluster], unique: str
) -> None:
    """The client's own error says only that records have expired."""
    cluster = make_cluster(3)
    topics = StreamTopics(KafkaSettings(bootstrap_servers=cluster.bootstrap.split(",")), unique)
    config = {"min.insync.replicas": "3"}
    names = (topics.source.topics[0], topics.sink.topic, topics.sink.dead_letter_topic)
    specs = [TopicSpec(name, 1, 3, config if name == topics.sink.topic else {}) for name in names]
    create_topics(topics.kafka, specs)
    fed = topics.feed(numbered(20))
    stream = _stream(topics).open().join()
    cluster.kill(3)
    time.sleep(5)  # until the others have taken it for dead
    # Without it the failed transaction cannot be ended either, so the checkpoint waits for its return.
    back = threading.Timer(12.0, cluster.start)
    back.start()
    with structlog.testing.capture_logs() as lines:
        stream.run(len(fed))
    back.join()
    stream.close()
    [reason, *_] = [line["reason"] for line in lines if line["event"].startswith("checkpoint failed")]
    assert f"{topics.sink.topic}-0: " in reason
    assert "NotEnoughReplicas" in reason
    assert_each_once(fed, topics.read())


def test_a_question_on_the_terminal_is_never_asked(tmp_path: Path) -> None:
    """What the client would do with an encrypted key: here as a user would meet it, with a terminal."""
    from tests.support import certificates

    if not certificates.available():
        pytest.skip("the openssl command is missing")
    made = certificates.make_certificates(tmp_path / "certificates")
    key = tmp_path / "encrypted.key"
    command = [
        "openssl",
        "pkcs8",
        "-topk8",
        "-in",
        str(made.client_key),
        "-out",
        str(key),
        "-passout",
        "pass:right",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    flags = ["--kafka.security-protocol", "SSL", "--kafka.bootstrap-servers", "127.0.0.1:1"]
    files = ["--kafka.ssl-certfile", str(made.client), "--kafka.ssl-keyfile", str(key)]
    ours, theirs = os.openpty()
    result = subprocess.run(
        [sys.executable, "-m", "worker", "topics", "create", *flags, *files],
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert result.returncode == ExitCode.USAGE
    [line] = result.stderr.strip().splitlines()
    assert "kafka.ssl_password is needed" in line
