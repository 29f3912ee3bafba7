"""A consumer rests after an empty answer that came at once, and after no other."""

from types import SimpleNamespace
from typing import Any

import pytest

from worker.kafka import guards


class Fetcher:
    """The parts of the client's fetcher that the guard touches."""

    def __init__(self, max_wait_ms: int = 500) -> None:
        self.config = {"fetch_max_wait_ms": max_wait_ms}
        self._completed_fetches: list[object] = []
        self.handled: list[object] = []

    def _handle_fetch_response(self, node_id: int, offsets: Any, sent_at: float, answer: object) -> None:
        self.handled.append(answer)

    def fetch_records(self, *_: object, **__: object) -> tuple[dict[str, list[str]], bool]:
        return {}, True


def answer(*records: bytes | None, error_code: int = 0) -> SimpleNamespace:
    parts = [SimpleNamespace(records=data, error_code=error_code) for data in records]
    return SimpleNamespace(responses=[SimpleNamespace(partitions=parts)])


EMPTY, INCREMENTAL = answer(None, b""), SimpleNamespace(responses=[])


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guards, "time", clock)
    return clock


def guarded(fetcher: Fetcher) -> Fetcher:
    guards.rest_between_empty_answers(SimpleNamespace(_fetcher=fetcher))
    return fetcher


def polls(fetcher: Fetcher, clock: Clock, answers: list[object], took_s: float = 0.001) -> list[float]:
    """How long each poll rested, when every poll's fetch got the next answer."""
    for each in answers:
        sent_at = clock.now
        clock.now += took_s
        fetcher._handle_fetch_response(1, {}, sent_at, each)
        fetcher.fetch_records(500, update_offsets=True, timeout_ms=500)
    assert fetcher.handled == answers
    return clock.slept


@pytest.mark.parametrize("empty", [EMPTY, INCREMENTAL])
def test_a_broker_that_answers_at_once_is_asked_less_and_less_often(clock: Clock, empty: object) -> None:
    rests = polls(guarded(Fetcher()), clock, [empty] * 6)
    assert rests == [0.005, 0.01, 0.02, 0.04, 0.05, 0.05]


def test_a_broker_that_waits_is_asked_again_at_once(clock: Clock) -> None:
    assert polls(guarded(Fetcher()), clock, [EMPTY, INCREMENTAL] * 3, took_s=0.5) == []


@pytest.mark.parametrize("other", [answer(None, b"a record"), answer(None, error_code=6)])
def test_records_and_errors_are_followed_by_the_next_fetch_at_once(clock: Clock, other: object) -> None:
    assert polls(guarded(Fetcher()), clock, [EMPTY, EMPTY, other, EMPTY]) == [0.005, 0.01, 0.005]


def test_a_poll_that_may_not_wait_or_has_records_does_not_rest(clock: Clock) -> None:
    fetcher = guarded(Fetcher())
    fetcher._handle_fetch_response(1, {}, clock.now, EMPTY)
    fetcher.fetch_records(500, update_offsets=True, timeout_ms=0)
    fetcher._completed_fetches = [object()]
    fetcher.fetch_records(500, update_offsets=True, timeout_ms=500)
    assert clock.slept == []
    fetcher._completed_fetches = []
    fetcher.fetch_records(500, update_offsets=True, timeout_ms=2)
    assert clock.slept == [0.002]


def test_a_client_without_these_parts_is_left_alone() -> None:
    client = SimpleNamespace()
    guards.rest_between_empty_answers(client)
    assert vars(client) == {}


def test_the_rest_counts_from_the_answer(clock: Clock) -> None:
    fetcher = guarded(Fetcher())
    fetcher._handle_fetch_response(1, {}, clock.now, EMPTY)
    clock.now += 0.004  # a window was labelled meanwhile
    fetcher.fetch_records(500, update_offsets=True, timeout_ms=500)
    assert clock.slept == [pytest.approx(0.001)]
