"""The watchdog and the pause between failures."""

import threading
import time

import pytest

from worker.errors import ExitCode
from worker.kafka.retry import Backoff
from worker.kafka.watchdog import Watchdog


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
    backoff, stop = Backoff(), threading.Event()
    stop.set()  # so that the test does not wait
    pauses = []
    for _ in range(8):
        pauses.append(backoff.next_s)
        backoff.wait(stop)
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.1
    assert pauses[-1] == 2.0
    backoff.reset()
    assert backoff.next_s == 0.1


def test_stop_cuts_the_pause_short() -> None:
    backoff, stop = Backoff(), threading.Event()
    for _ in range(6):
        stop.set()
        backoff.wait(stop)
    started = time.monotonic()
    backoff.wait(stop)
    assert time.monotonic() - started < 0.5
