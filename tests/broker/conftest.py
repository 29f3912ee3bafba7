"""Fixtures for the tests on the embedded broker: one broker for all, names of its own for each test."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.embedded import embedded_broker
from worker.demo.broker import EmbeddedBroker
from worker.settings.groups import KafkaSettings


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[EmbeddedBroker]:
    """The broker that all tests share: never kill it."""
    with embedded_broker() as broker:
        yield broker


@pytest.fixture
def embedded(shared_broker: EmbeddedBroker) -> str:
    """The shared broker's address."""
    return shared_broker.bootstrap


@pytest.fixture
def settings(embedded: str) -> KafkaSettings:
    """How to reach the shared broker."""
    return KafkaSettings(bootstrap_servers=[embedded])


@pytest.fixture
def own_broker() -> Iterator[EmbeddedBroker]:
    """A broker for this test alone: kill it, start it again."""
    with embedded_broker() as broker:
        yield broker


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, for topics and groups."""
    return f"t-{uuid.uuid4().hex[:10]}"
