"""Fixtures for the tests on a real Apache Kafka.

`kafka` is the address of one node that all tests share; they use topics and groups of their own (`unique`).
A test that kills the broker takes `cluster`, another node, which it may leave dead. One that needs more
nodes, properties of its own, or a log of its own makes them with `make_cluster`.
Without Java or Maven these tests are skipped; with MOODSTREAM_REQUIRE_KAFKA=1 they fail instead.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.apicurio import apicurio
from tests.support.brokers import KafkaCluster
from tests.support.libs import KafkaMissing, kafka_libs
from worker.settings.groups import KafkaSettings

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def libs() -> Path:
    """Kafka's jars, or the reason why there are none."""
    try:
        return kafka_libs()
    except KafkaMissing as reason:
        if os.environ.get("MOODSTREAM_REQUIRE_KAFKA") == "1":
            pytest.fail(f"MOODSTREAM_REQUIRE_KAFKA=1, but {reason}")
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def shared_cluster(libs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """The node that all tests share: never kill it."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka") / "shared") as cluster:
        yield cluster


@pytest.fixture
def kafka(shared_cluster: KafkaCluster) -> str:
    """The shared node's address."""
    return shared_cluster.bootstrap


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    """How to reach the shared node."""
    return KafkaSettings(bootstrap_servers=[kafka])


@pytest.fixture
def make_cluster(libs: Path, tmp_path: Path) -> Iterator[Callable[..., KafkaCluster]]:
    """Starts a cluster for this test alone; arguments are those of KafkaCluster, after its folder."""
    with ExitStack() as stack:

        def make(nodes: int = 1, **options: Any) -> KafkaCluster:
            folder = tmp_path / f"kafka-{uuid.uuid4().hex[:8]}"
            return stack.enter_context(KafkaCluster(folder, nodes, **options))

        yield make


@pytest.fixture(scope="session")
def mortal_cluster(libs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """The node that tests may kill, one after the other."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka") / "mortal") as cluster:
        yield cluster


@pytest.fixture
def cluster(mortal_cluster: KafkaCluster) -> KafkaCluster:
    """A node that runs, and that nobody else uses meanwhile: kill it, start it again."""
    return mortal_cluster.start()


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A schema registry that all tests share: the address of Confluent's API."""
    try:
        with apicurio(tmp_path_factory.mktemp("registry")) as url:
            yield url
    except KafkaMissing as missing:
        if os.environ.get("MOODSTREAM_REQUIRE_KAFKA") == "1":
            pytest.fail(f"MOODSTREAM_REQUIRE_KAFKA=1, but {missing}")
        pytest.skip(str(missing))


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, for topics and groups."""
    return f"t-{uuid.uuid4().hex[:10]}"
