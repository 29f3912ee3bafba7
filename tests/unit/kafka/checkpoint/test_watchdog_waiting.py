"""The watchdog and the pause between failures."""

import os
import signal
import threading
import time
from datetime import UTC, datetime

import pytest
import structlog
from kafka.errors import KafkaTimeoutError

from worker.errors import BrokerRefused, BrokerUnavailable, ExitCode
from worker.kafka.retry import Waiting
from worker.kafka.watchdog import Watchdog
from worker.stream.signals import stop_on_signals


class _Brokers:
    """Brokers that answer or are away, and what a watchdog that asks them did."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.waits = 0
        self.codes: list[int] = []
        self.ended = threading.Event()

    def watchdog(self, limit_s: float, connect_limit_s: float = 60.0) -> Watchdog:
        return Watchdog(
            limit_s,
            self._reach,
            connect_limit_s=connect_limit_s,
            on_wait=self._wait,
            look_every_s=0.02,
            exit=self._exit,
        )

    def _reach(self) -> None:
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("b:1 does not listen")

    def _wait(self) -> None:
        self.waits += 1

    def _exit(self, code: int) -> None:
        self.codes.append(code)
        self.ended.set()


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> _Brokers:
    monkeypatch.setattr("worker.kafka.retry.FIRST_S", 0.001)
    monkeypatch.setattr("worker.kafka.retry.LONGEST_S", 0.02)
    return _Brokers()


def test_a_call_that_hangs_while_a_broker_answers_ends_the_process_with_its_own_code(
    brokers: _Brokers,
) -> None:
    with brokers.watchdog(0.1).watch("checkpoint"):
        assert brokers.ended.wait(5)
    assert brokers.codes == [ExitCode.WATCHDOG]
    assert brokers.waits == 0


def test_a_call_that_returns_in_time_does_not(brokers: _Brokers) -> None:
    watchdog = brokers.watchdog(0.2)
    for _ in range(3):
        with watchdog.watch("checkpoint"):
            pass
    with pytest.raises(ValueError, match="x"), watchdog.watch("checkpoint"):
        raise ValueError("x")
    time.sleep(0.4)
    assert brokers.codes == []


def test_a_call_that_waits_for_brokers_may_take_longer_than_the_limit(brokers: _Brokers) -> None:
    brokers.away = True
    with (
        structlog.testing.capture_logs() as lines,
        brokers.watchdog(0.2).watch("checkpoint"),
    ):
        time.sleep(0.8)
        brokers.away = False
        time.sleep(0.1)  # it goes on soon after their return
    time.sleep(0.3)
    assert brokers.codes == []
    assert brokers.waits >= 5
    [line] = [line for line in lines if line["event"].startswith("waiting for")]
    assert line["event"] == "waiting for a broker to answer"
    assert line["reason"] == "b:1 does not listen"
    assert {"since", "until"} <= line.keys()


def test_the_wait_is_told_long_before_the_limit(brokers: _Brokers) -> None:
    """So that `/healthz` stays green and `/readyz` turns red while the call waits."""
    brokers.away = True
    with brokers.watchdog(60.0).watch("checkpoint"):
        deadline = time.monotonic() + 5
        while not brokers.waits and time.monotonic() < deadline:
            time.sleep(0.01)
    assert brokers.waits


def test_a_call_that_still_hangs_after_the_brokers_return_gets_the_whole_limit_again(
    brokers: _Brokers,
) -> None:
    brokers.away = True
    with brokers.watchdog(0.4).watch("checkpoint"):
        time.sleep(0.8)
        assert not brokers.ended.is_set()
        brokers.away = False
        back = time.monotonic()
        assert brokers.ended.wait(5)
    assert time.monotonic() - back >= 0.35
    assert brokers.codes == [ExitCode.WATCHDOG]


def test_brokers_that_stay_away_end_the_process_at_the_connect_limit(brokers: _Brokers) -> None:
    brokers.away = True
    with (
        structlog.testing.capture_logs() as lines,
        brokers.watchdog(0.05, connect_limit_s=0.3).watch("checkpoint"),
    ):
        assert brokers.ended.wait(5)
    assert brokers.codes == [ExitCode.BROKER_UNAVAILABLE]
    assert "kafka.connect_limit_s" in lines[-1]["event"]


def test_brokers_that_come_and_go_do_not_keep_a_call_for_ever(brokers: _Brokers) -> None:
    with brokers.watchdog(0.2, connect_limit_s=0.4).watch("checkpoint"):
        deadline = time.monotonic() + 10
        while not brokers.ended.wait(0.1) and time.monotonic() < deadline:
            brokers.away = not brokers.away
    assert brokers.codes in ([ExitCode.WATCHDOG], [ExitCode.BROKER_UNAVAILABLE])


def test_a_broker_that_refuses_is_one_that_answers(brokers: _Brokers) -> None:
    def refuse() -> None:
        raise BrokerRefused("wrong password")

    watchdog = Watchdog(0.1, refuse, connect_limit_s=60, look_every_s=0.02, exit=brokers._exit)
    with watchdog.watch("checkpoint"):
        assert brokers.ended.wait(5)
    assert brokers.codes == [ExitCode.WATCHDOG]


def test_a_stop_while_a_call_waits_for_brokers_ends_at_the_drain_limit(brokers: _Brokers) -> None:
    brokers.away = True
    stop, gave_up = threading.Event(), threading.Event()
    with (
        stop_on_signals(stop, 0.3, gave_up.set),
        brokers.watchdog(0.1).watch("checkpoint"),
    ):
        time.sleep(0.2)
        asked = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        assert gave_up.wait(5)
    assert stop.is_set()
    assert 0.2 <= time.monotonic() - asked < 2
    assert brokers.codes == []


def test_the_pause_grows_to_a_limit_and_a_success_resets_it() -> None:
    stop = threading.Event()
    stop.set()  # so that the test does not wait
    waiting = Waiting("x", stop=stop)
    pauses = []
    for _ in range(8):
        pauses.append(waiting.pause_s)
        waiting.pause()
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.1, 2.0)
    waiting.succeeded()
    assert waiting.pause_s == 0.1


def test_stop_cuts_the_pause_short() -> None:
    stop = threading.Event()
    waiting = Waiting("x", stop=stop)
    stop.set()
    started = time.monotonic()
    for _ in range(6):
        waiting.pause()
    assert time.monotonic() - started < 0.5


def test_a_waiting_line_says_what_for_why_since_when_and_until_when() -> None:
    now, stop = [1_000.0], threading.Event()
    stop.set()
    waiting = Waiting("a broker to answer", limit_s=300, stop=stop, clock=lambda: now[0])
    with structlog.testing.capture_logs() as lines:
        for _ in range(8):
            waiting.failed(KafkaTimeoutError())
            now[0] += 2.0
    assert [line["waited_s"] for line in lines] == [0, 6, 12]
    for line in lines:
        assert line["event"] == "waiting for a broker to answer"
        assert line["reason"] == "no answer in time (KafkaTimeoutError)"
        since, until = (datetime.fromisoformat(line[name]) for name in ("since", "until"))
        assert abs((until - since).total_seconds() - 300) <= 1
        assert abs((datetime.now(UTC) - since).total_seconds() - line["waited_s"]) <= 2


def test_at_the_limit_the_wait_ends_with_its_reason() -> None:
    now, stop = [0.0], threading.Event()
    stop.set()
    waiting = Waiting("a broker to answer", limit_s=10, stop=stop, clock=lambda: now[0])
    waiting.failed(BrokerUnavailable("b:1 does not listen"))
    now[0] = 10.0
    with pytest.raises(
        BrokerUnavailable, match=r"a broker to answer after 10 s .*connect_limit_s.*not listen"
    ):
        waiting.failed(BrokerUnavailable("b:1 does not listen"))
