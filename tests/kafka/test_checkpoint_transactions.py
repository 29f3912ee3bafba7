"""Checkpoints on Apache Kafka: transactions, fencing, and brokers that die in the middle of a commit."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.support.brokers import KafkaCluster
from tests.support.stream import Running, Stream, Topics, assert_each_once, numbered
from worker.errors import ExitCode, MoodstreamError
from worker.kafka.checkpoint import TransactionalCheckpoint
from worker.kafka.outcome import Outcome
from worker.settings.groups import DeliverySettings, KafkaSettings
from worker.types import OutputRecord


@pytest.fixture
def topics(settings: KafkaSettings, unique: str) -> Topics:
    return Topics(settings, unique).create()


@pytest.mark.parametrize("exactly_once", [True, False])
def test_each_record_once(topics: Topics, exactly_once: bool) -> None:
    fed = topics.feed(numbered(500))
    stream = Stream(topics, exactly_once=exactly_once).open()
    stream.run(len(fed))
    stream.close()
    assert_each_once(fed, topics.read())


def test_a_stale_snapshot_is_refused(topics: Topics) -> None:
    """A worker that stood still must not commit what others have taken over."""
    fed = topics.feed(numbered(50))
    stream = Stream(topics).open().join()
    records = stream.read(5.0)
    snapshot = stream.source.snapshot()
    assert snapshot is not None
    for stale in (
        snapshot._replace(generation_id=snapshot.generation_id - 1),
        snapshot._replace(generation_id=snapshot.generation_id + 1),
    ):
        assert stream.write(records, stale) is Outcome.ABORTED
        assert topics.read() == []
        records = stream.read(5.0)
    assert stream.write(records) is Outcome.COMMITTED
    stream.run(len(fed) - len(records))
    stream.close()
    assert_each_once(fed, topics.read())


def test_a_twin_in_the_slot_fences_the_older_worker(topics: Topics) -> None:
    fed = topics.feed(numbered(100))
    first = Stream(topics).open().join()
    records = first.read(5.0)
    twin = Stream(topics).open()
    with pytest.raises(MoodstreamError, match=r"delivery\.slot") as end:
        first.write(records)
    assert end.value.exit_code == ExitCode.FENCED
    first.close()
    twin.run(len(fed))  # the fenced one has not fenced it back
    twin.close()
    assert_each_once(fed, topics.read())


def test_what_a_killed_worker_left_open_holds_up_nobody(topics: Topics) -> None:
    """Its successor in the slot ends the open transaction at once; it does not have to time out."""
    fed = topics.feed(numbered(60))
    first = Stream(topics).open().join()
    records = first.read(5.0)
    producer = first.checkpoint._producer  # type: ignore[attr-defined]
    producer.begin_transaction()
    for record in records:
        producer.send(topics.sink.topic, value=record.value, key=record.key)
    producer.flush(timeout=10)
    started = time.monotonic()
    second = Stream(topics).open()
    second.run(len(fed), timeout_s=25)
    assert time.monotonic() - started < 20  # delivery.transaction_timeout_ms is 30 s
    assert_each_once(fed, topics.read())
    for stream in (first, second):
        stream.close()


def test_a_record_larger_than_its_topic_takes_ends_the_worker_with_one_line(topics: Topics) -> None:
    fed = topics.feed(numbered(1))
    stream = Stream(topics).open().join()
    records = stream.read(5.0)
    offsets = {record.topic_partition: record.offset for record in records}
    output = OutputRecord(topics.sink.topic, b"k", os.urandom(1_200_000))  # random, so no codec helps
    with pytest.raises(MoodstreamError, match=r"max\.message\.bytes") as end:
        stream.checkpoint.commit([output], offsets, stream.source.snapshot())
    assert end.value.exit_code == ExitCode.BROKER_REFUSED
    assert "\n" not in str(end.value)
    stream.close()
    assert topics.read() == []
    again = Stream(topics).open()
    again.run(len(fed))  # its offset was not committed
    again.close()


def test_topics_made_with_room_take_a_dead_letter_of_a_full_size_input(
    settings: KafkaSettings, unique: str
) -> None:
    topics = Topics(settings, unique).create(large=True)
    topics.feed(numbered(1))
    stream = Stream(topics).open().join()
    records = stream.read(5.0)
    offsets = {record.topic_partition: record.offset for record in records}
    original = os.urandom(1_048_000)
    headers = (("__connect.errors.exception.message", b"x" * 2_000),)
    output = OutputRecord(topics.sink.dead_letter_topic, b"k", original, headers)
    assert stream.checkpoint.commit([output], offsets, stream.source.snapshot()) is Outcome.COMMITTED
    assert topics.read(topics.sink.dead_letter_topic)[0].value == original
    stream.close()


def test_a_transaction_time_limit_above_the_brokers_is_told(topics: Topics) -> None:
    delivery = DeliverySettings(transaction_timeout_ms=100_000_000)
    checkpoint = TransactionalCheckpoint(topics.kafka, topics.sink, topics.source, delivery)
    with pytest.raises(MoodstreamError, match=r"delivery\.transaction_timeout_ms") as end:
        checkpoint.open()
    assert end.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("took_place", [True, False])
def test_a_lost_answer_to_the_commit_is_settled_by_what_is_committed(
    topics: Topics, monkeypatch: pytest.MonkeyPatch, took_place: bool
) -> None:
    """Whether the broker committed or not before its answer was lost: each record comes once."""
    fed = topics.feed(numbered(120))
    stream = Stream(topics).open().join()
    records = stream.read(5.0)
    commit = KafkaProducer.commit_transaction

    def lose_the_answer(producer: KafkaProducer) -> None:
        if took_place:
            commit(producer)
        raise KafkaError("Could not execute transactional request for unknown reasons: RequestTimedOutError")

    with monkeypatch.context() as patch:
        patch.setattr(KafkaProducer, "commit_transaction", lose_the_answer)
        assert stream.write(records) is Outcome.UNKNOWN
    assert len(topics.read()) == (len(records) if took_place else 0)
    stream.run(len(fed) - len(topics.read()))
    stream.close()
    assert_each_once(fed, topics.read())


@pytest.mark.timeout(240)
@pytest.mark.parametrize("moment", ["before the commit is sent", "while its answer is under way"])
def test_a_broker_killed_in_the_middle_of_a_commit(
    make_cluster: Callable[..., KafkaCluster], unique: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """kill -9 at three commits; the checkpoint says aborted or unknown, and each record comes once.

    Where Kafka itself leaves markers out (`skipped_markers`), what can be read must be there once, and the
    rest must stand in the log behind it: no client can bring that out.
    """
    cluster = make_cluster(1)  # of its own: what Kafka leaves unfinished must not meet another test
    topics = Topics(KafkaSettings(bootstrap_servers=[cluster.bootstrap]), unique).create()
    stream = Stream(topics).open().join()
    fed = topics.feed(numbered(600))
    commit, calls = KafkaProducer.commit_transaction, iter(range(1, 10_000))
    restarts: list[threading.Timer] = []

    def interrupted(producer: KafkaProducer) -> None:
        if next(calls) in (3, 6, 9):
            if moment == "before the commit is sent":
                cluster.kill()
            else:
                threading.Timer(0.004, cluster.kill).start()
            # Not waited for in there: the next kill may come while a slow machine still starts the broker.
            restarts.append(threading.Timer(1.0, cluster.start, kwargs={"wait": False}))
            restarts[-1].start()
        commit(producer)

    monkeypatch.setattr(KafkaProducer, "commit_transaction", interrupted)
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        stream.step()
        if stream.source.lag() == dict.fromkeys(stream.source.assignment(), 0) and (
            len(topics.read()) >= len(fed) or cluster.nodes[0].skipped_markers()
        ):
            break
    print(f"\n{moment}: { {outcome.value: times for outcome, times in stream.outcomes.items()} }")
    stream.close()
    for restart in restarts:
        restart.join()  # a restart that is under way must not meet the end of the cluster
    cluster.wait_ready()
    rows = topics.read()
    if len(rows) < len(fed) and cluster.nodes[0].skipped_markers():
        print(f"Kafka left out markers: {len(fed) - len(rows)} records are in its log and cannot be read")
        _assert_each_is_read_once_or_stands_behind(fed, rows, topics.read(isolation="read_uncommitted"))
    else:
        assert_each_once(fed, rows)
    assert next(calls) > 9, "not every kill took place"


def _assert_each_is_read_once_or_stands_behind(fed: list[bytes], rows: list[Any], log: list[Any]) -> None:
    """Every value fed is among the committed rows once, or in the log after all that can be read there."""
    readable = {row.value for row in rows}
    assert_each_once([value for value in fed if value in readable], rows)
    latest = {row.value: row for row in log}  # an aborted record may stand before it
    assert latest.keys() == set(fed)
    for value in latest.keys() - readable:
        row = latest[value]
        assert all(row.offset > other.offset for other in rows if other.partition == row.partition)


@pytest.mark.timeout(300)
def test_the_coordinators_broker_dies_and_no_call_hangs(
    make_cluster: Callable[..., KafkaCluster], unique: str
) -> None:
    """Three nodes; the one that leads the slot's transactions is killed twice under a worker."""
    cluster = make_cluster(3)
    topics = Topics(KafkaSettings(bootstrap_servers=cluster.bootstrap.split(",")), unique)
    topics.create(replication=3)
    worker = Running(lambda: Stream(topics).open())
    fed = topics.feed(numbered(300))
    worker.wait_committed(50)
    for turn in range(2):
        leader = _coordinator(worker)
        cluster.kill(leader)
        fed += topics.feed(numbered(100, start=len(fed)))
        worker.wait_committed(min(worker.committed + 50, len(fed)), timeout_s=60)
        cluster.start()
        print(f"\ncoordinator kill {turn + 1}: node {leader}")
    deadline = time.monotonic() + 60
    while len(topics.read()) < len(fed) and time.monotonic() < deadline:
        time.sleep(0.5)
    worker.stop()
    assert worker.error is None
    assert_each_once(fed, topics.read())


def _coordinator(worker: Running) -> int:
    assert worker.stream is not None
    for _ in range(100):
        producer: Any = worker.stream.checkpoint._producer  # type: ignore[attr-defined]
        manager = getattr(producer, "_transaction_manager", None)
        node = getattr(manager, "_transaction_coordinator", None)
        if node is not None:
            return int(str(node).rsplit("-", maxsplit=1)[-1])
        time.sleep(0.1)
    raise AssertionError("the producer knows no coordinator")
