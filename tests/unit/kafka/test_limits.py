"""What a topic takes, read from its configuration."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import ClusterAuthorizationFailedError

from worker.errors import BrokerUnavailable
from worker.kafka.limits import HOUR_MS, TopicLimits, batch_bytes, read_limits, room_for
from worker.settings.groups import KafkaSettings
from worker.types import OutputRecord


def _read(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any] | Exception) -> TopicLimits:
    class Admin:
        def describe_configs(self, resources: list[Any], config_filter: str) -> Any:
            if isinstance(config, Exception):
                raise config
            return {"topic": {"moods": {name: {"value": value} for name, value in config.items()}}}

    @contextlib.contextmanager
    def admin_client(kafka: KafkaSettings) -> Iterator[Admin]:
        yield Admin()

    monkeypatch.setattr("worker.kafka.limits.admin_client", admin_client)
    return read_limits(KafkaSettings(), ["moods"])["moods"]


def test_all_of_a_topics_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "max.message.bytes": "1048588",
        "message.timestamp.before.max.ms": "5000",
        "message.timestamp.after.max.ms": "7000",
        "cleanup.policy": "compact,delete",
    }
    assert _read(monkeypatch, config) == TopicLimits(1_048_588, 5_000, 7_000, compacted=True)


def test_a_broker_before_3_6_has_one_limit_for_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"max.message.bytes": "1000", "message.timestamp.difference.max.ms": "60000"}
    limits = _read(monkeypatch, config)
    assert (limits.before_ms, limits.after_ms, limits.compacted) == (60_000, 60_000, False)


@pytest.mark.parametrize("answer", [{}, ClusterAuthorizationFailedError()])
def test_what_may_not_be_read_is_assumed_to_be_usual(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | Exception
) -> None:
    limits = _read(monkeypatch, answer)
    assert not limits.known
    assert (limits.after_ms, limits.compacted) == (HOUR_MS, False)


def test_brokers_that_are_away_are_no_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokerUnavailable):
        _read(monkeypatch, BrokerUnavailable("away"))


@given(st.binary(max_size=500), st.sampled_from(["none", "gzip", "lz4", "zstd"]), st.integers(60, 700))
def test_what_is_said_to_fit_fits(value: bytes, compression: str, limit: int) -> None:
    """A batch with one record has 61 bytes and a few, and compression makes it no larger."""
    fits = TopicLimits(limit).takes_size(OutputRecord("moods", b"k", value), compression)
    assert fits or len(value) + 61 + 12 > limit or compression != "none"
    assert not fits or compression != "none" or len(value) + 61 <= limit


def test_batches_are_never_larger_than_a_topic_takes() -> None:
    assert batch_bytes([TopicLimits(), TopicLimits(20_000), TopicLimits(10**7)]) == 20_000
    assert batch_bytes([TopicLimits()]) == 128 * 1024


def test_new_topics_take_what_the_input_takes() -> None:
    usual = 8 * 1024 * 1024
    assert int(room_for([])["max.message.bytes"]) == usual
    assert int(room_for([TopicLimits(1_048_588), TopicLimits()])["max.message.bytes"]) == usual
    assert int(room_for([TopicLimits(2**24)])["max.message.bytes"]) > 2**24
