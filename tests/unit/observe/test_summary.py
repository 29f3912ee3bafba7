"""The summary line: how often it comes, and that its numbers are right."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.observe.conftest import Clock
from worker.observe.summary import Quantiles, Summary

Lines = list[Any]


@pytest.fixture
def summary(clock: Clock) -> Summary:
    return Summary(clock=clock)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as captured:
        yield captured


def work(summary: Summary, clock: Clock, seconds: int, per_second: int = 0, lag: int | None = 0) -> None:
    """Let a worker turn twice a second, as an idle one does."""
    for _ in range(seconds * 2):
        clock.now += 0.5
        if per_second:
            summary.add(per_second // 2, 0, [0.1] * (per_second // 2))
        summary.tick(lag)


def test_two_thousand_messages_in_a_minute_are_six_lines(
    summary: Summary, clock: Clock, lines: Lines
) -> None:
    work(summary, clock, 60, per_second=32)
    assert [line["event"] for line in lines] == ["summary"] * 6
    assert {line["log_level"] for line in lines} == {"info"}
    assert sum(line["messages"] for line in lines) == 60 * 32


def test_the_numbers_are_those_of_the_time_since_the_last_line(
    summary: Summary, clock: Clock, lines: Lines
) -> None:
    work(summary, clock, 10, per_second=10)
    summary.add(100, 3, [0.2] * 94 + [5.0] * 6)
    summary.add(20, 1, [])
    clock.now += 12.5
    summary.tick(7)
    first, second = lines
    assert first == {
        "event": "summary",
        "log_level": "info",
        "seconds": 10.0,
        "messages": 100,
        "per_second": 10.0,
        "lag": 0,
        "p95_latency_s": pytest.approx(0.1, rel=0.01),
        "dead_letters": 0,
    }
    assert second == {
        "event": "summary",
        "log_level": "info",
        "seconds": 12.5,
        "messages": 120,
        "per_second": 9.6,
        "lag": 7,
        "p95_latency_s": pytest.approx(5.0, rel=0.01),
        "dead_letters": 4,
    }


def test_what_is_not_known_is_left_out(summary: Summary, clock: Clock, lines: Lines) -> None:
    summary.add(5, 0, [])
    clock.now += 10
    summary.tick(None)
    [line] = lines
    assert "lag" not in line
    assert "p95_latency_s" not in line


def test_a_quiet_hour_is_a_handful_of_lines(summary: Summary, clock: Clock, lines: Lines) -> None:
    work(summary, clock, 20, per_second=4)
    work(summary, clock, 3_600)
    events = [line["event"] for line in lines]
    assert events == ["summary"] * 2 + ["no new messages"] * 6
    assert [line["seconds"] for line in lines[2:]] == [10, 610, 1_210, 1_810, 2_410, 3_010]


def test_after_a_quiet_time_the_lines_come_back_and_silence_is_told_again(
    summary: Summary, clock: Clock, lines: Lines
) -> None:
    work(summary, clock, 100)
    work(summary, clock, 10, per_second=8)
    work(summary, clock, 100)
    events = [line["event"] for line in lines]
    assert events == ["no new messages", "summary", "no new messages"]
    assert lines[1]["messages"] == 80


def test_a_topic_that_never_has_a_message_is_quiet_too(summary: Summary, clock: Clock, lines: Lines) -> None:
    work(summary, clock, 30, lag=None)
    assert [line["event"] for line in lines] == ["no new messages"]


def test_messages_that_wait_while_none_is_committed_are_no_quiet_time(
    summary: Summary, clock: Clock, lines: Lines
) -> None:
    work(summary, clock, 30, lag=500)
    assert [(line["event"], line["messages"], line["lag"]) for line in lines] == [("summary", 0, 500)] * 3


def test_the_end_writes_the_rest(summary: Summary, clock: Clock, lines: Lines) -> None:
    summary.close(0)
    work(summary, clock, 14, per_second=10)
    summary.close(3)
    summary.close(3)
    assert [(line["messages"], line["seconds"]) for line in lines] == [(100, 10.0), (40, 4.0)]
    assert lines[1]["lag"] == 3


@given(
    st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]),
)
def test_a_quantile_is_right_to_one_percent(values: list[float], share: float) -> None:
    quantiles = Quantiles()
    quantiles.add(values)
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert quantiles.at(share) == pytest.approx(exact, rel=0.0101)


def test_quantiles_take_little_memory_whatever_is_counted() -> None:
    quantiles = Quantiles()
    quantiles.add(number / 1_000 for number in range(1, 1_000_000))
    assert len(quantiles._buckets) < 1_000
    assert Quantiles().at(0.5) is None
    zero = Quantiles()
    zero.add([0.0])
    assert zero.at(0.5) == pytest.approx(0.001, rel=0.02)
