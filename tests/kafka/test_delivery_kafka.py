"""Nothing lost, nothing doubled, on a real Apache Kafka: crashes, stops and broker restarts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.brokers import KafkaCluster
from tests.support.proof import count
from tests.support.scenario import broker_restarts, crashes, stops
from tests.support.topics import Topics


@pytest.mark.timeout(600)
def test_each_input_once_through_kills(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    counted, told = crashes(Topics(kafka, unique), tmp_path, kills=20, seed=11)
    tell(f"Apache Kafka, {told}: {counted}")
    counted.check()


@pytest.mark.timeout(400)
def test_each_input_once_through_stops(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    counted, told = stops(Topics(kafka, unique), tmp_path, rounds=8, seed=12)
    tell(f"Apache Kafka, {told}: {counted}")
    counted.check()


@pytest.mark.timeout(600)
def test_each_input_once_through_broker_restarts(
    make_cluster: Callable[..., KafkaCluster], unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    cluster = make_cluster(1)
    counted, told = broker_restarts(
        Topics(cluster.bootstrap, unique),
        tmp_path,
        kill=cluster.kill,
        start=cluster.start,
        rounds=3,
        seed=13,
    )
    tell(f"Apache Kafka, {told}: {counted}")
    counted.check()


@pytest.mark.timeout(300)
def test_at_least_once_loses_nothing_and_repeats_only_the_same_event_ids(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    topics = Topics(kafka, unique)
    counted, told = crashes(
        topics, tmp_path, kills=5, seed=14, MOODSTREAM_DELIVERY__GUARANTEE="at_least_once"
    )
    tell(f"Apache Kafka, at least once, {told}: {counted}")
    assert (counted.lost, counted.wrong) == (0, 0), str(counted)
    assert count(topics).labelled + counted.dead_letters >= counted.inputs
