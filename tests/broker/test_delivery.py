"""Nothing lost, nothing doubled, on the embedded broker. Its proof on Apache Kafka is in tests/kafka/."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.scenario import crashes, stops
from tests.support.topics import Topics


@pytest.mark.timeout(420)
def test_each_input_once_through_kills(embedded: str, tmp_path: Path, tell: Callable[[str], None]) -> None:
    """One worker alone: this broker keeps a member that dies while another joins, and then waits for it for
    ever. Kills while others join are for Apache Kafka, which gives up on it."""
    topics = Topics(embedded, f"kills-{uuid.uuid4().hex[:8]}")
    counted, told = crashes(topics, tmp_path, kills=20, seed=1, joins=False)
    tell(f"embedded broker, {told}: {counted}")
    counted.check()


@pytest.mark.timeout(300)
def test_each_input_once_through_stops(embedded: str, tmp_path: Path, tell: Callable[[str], None]) -> None:
    counted, told = stops(Topics(embedded, f"stops-{uuid.uuid4().hex[:8]}"), tmp_path, rounds=6, seed=2)
    tell(f"embedded broker, {told}: {counted}")
    counted.check()
