"""A source on a scripted consumer."""

from typing import Any

import pytest

from tests.support.scripted_consumer import P0, P1, Make, Scripted, rebalance
from worker.kafka.source import Source
from worker.settings.groups import KafkaSettings, SourceSettings


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A source that has joined its group, and its consumer."""

    def made(
        *, join: bool = True, corrupt: Any = None, gap: Any = None, **settings: Any
    ) -> tuple[Source, Scripted]:
        consumer = Scripted()
        monkeypatch.setattr("worker.kafka.source.KafkaConsumer", lambda **options: consumer)
        monkeypatch.setattr("worker.kafka.source.probe", lambda kafka: kafka)
        monkeypatch.setattr("worker.kafka.source.guards.heartbeats_stopped", lambda consumer: False)
        monkeypatch.setattr("worker.kafka.source.PAUSE_S", 0.001)
        source = Source(KafkaSettings(), SourceSettings(**settings), "0", on_corrupt=corrupt, on_gap=gap)
        if join:
            consumer.script.append(rebalance(consumer, P0, P1))
            assert source.poll(10, 0.01) == []
            consumer.seeks.clear()
        return source, consumer

    return made
