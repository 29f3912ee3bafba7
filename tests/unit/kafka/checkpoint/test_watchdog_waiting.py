"""The watchdog and the pause between failures."""

import threading
import time
from datetime import UTC, datetime

import pytest
import structlog
from kafka.errors import KafkaTimeoutError

from worker.errors import BrokerUnavailable, ExitCode
from worker.kafka.checkpoint import Watchdog
from worker.kafka.retry import Waiting


def test_a_call_that_hangs_ends_the_process_with_its_own_code() -> None:
    codes: list[int] = []
    ended = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    with Watchdog(0.05, exit=end).watch("checkpoint"):
        assert ended.wait(5)
    assert codes == [ExitCode.WATCHDOG]


def test_a_call_that_returns_in_time_does_not() -> None:
    codes: list[int] = []
    watchdog = Watchdog(0.2, exit=codes.append)
    for _ in range(3):
        with watchdog.watch("checkpoint"):
            pass
    with pytest.raises(ValueError, match="x"), watchdog.watch("checkpoint"):
        raise ValueError("x")
    time.sleep(0.4)
    assert codes == []


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
