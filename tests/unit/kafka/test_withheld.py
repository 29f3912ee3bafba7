"""Committed offsets that Kafka does not hand out: what is said, and when the worker ends."""

import pytest
import structlog
from kafka.errors import KafkaConnectionError, KafkaTimeoutError

from worker.errors import BrokerUnavailable, CommitUnfinished, ExitCode
from worker.kafka.withheld import Withheld
from worker.settings.groups import KafkaSettings


class _Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _withheld(monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> tuple[Withheld, _Clock, list[bool]]:
    def committed(kafka: KafkaSettings, group: str) -> int:
        if not answers:
            raise BrokerUnavailable("away")
        return 4

    monkeypatch.setattr("worker.kafka.withheld.committed_anyhow", committed)
    clock, told = _Clock(), list[bool]()
    return Withheld(KafkaSettings(connect_limit_s=60), "group", told.append, clock), clock, told


def test_withheld_offsets_are_called_so_and_end_the_worker_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    withheld, clock, told = _withheld(monkeypatch, answers=True)
    with structlog.testing.capture_logs() as lines:
        for _ in range(12):
            withheld.failed(KafkaTimeoutError())
            clock.now += 5
    with pytest.raises(CommitUnfinished) as end:
        withheld.failed(KafkaTimeoutError())
    assert end.value.exit_code == ExitCode.COMMIT_UNFINISHED
    assert "group group" in str(end.value)
    assert "\n" not in str(end.value)
    assert told == [True]
    assert len(lines) == 12  # a line every 5 s for a minute
    for line in lines:
        assert "a transaction that wrote some is not finished" in line["reason"]
        assert {"since", "until", "waited_s"} <= line.keys()


def test_when_the_transaction_ends_the_worker_is_ready_again(monkeypatch: pytest.MonkeyPatch) -> None:
    withheld, clock, told = _withheld(monkeypatch, answers=True)
    for _ in range(3):
        withheld.failed(KafkaTimeoutError())
        clock.now += 10
    withheld.succeeded()
    clock.now += 40
    withheld.failed(KafkaTimeoutError())  # a new wait has a limit of its own
    assert told == [True, False, True]


@pytest.mark.parametrize("error", [KafkaTimeoutError(), KafkaConnectionError("gone")])
def test_brokers_that_are_away_are_no_unfinished_commit(
    monkeypatch: pytest.MonkeyPatch, error: KafkaTimeoutError | KafkaConnectionError
) -> None:
    withheld, clock, told = _withheld(monkeypatch, answers=False)
    with structlog.testing.capture_logs() as lines:
        for _ in range(30):
            withheld.failed(error)
            clock.now += 5
    assert told == []
    assert all("None" not in line["reason"] for line in lines)
