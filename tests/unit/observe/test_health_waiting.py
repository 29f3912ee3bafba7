"""A worker that waits for brokers is alive, and not ready."""

from worker.observe.health import Health


def test_waiting_is_alive_and_not_ready() -> None:
    now = [0.0]
    health = Health(60, clock=lambda: now[0])
    for part in ("model", "brokers", "partitions"):
        health.set_ready(part, ready=True)
    health.beat("poll")
    for _ in range(300):
        now[0] += 2
        health.waiting("brokers")
        assert health.healthy()[0]
        assert not health.ready()[0]
    health.set_ready("brokers", ready=True)
    assert health.ready()[0]


def test_after_the_wait_a_stall_shows_again() -> None:
    now = [0.0]
    health = Health(60, clock=lambda: now[0])
    health.beat("poll")
    now[0] = 500.0
    health.waiting("brokers")
    now[0] += 61
    assert not health.healthy()[0]


def test_a_part_that_rests_is_not_woken_by_a_wait() -> None:
    now = [0.0]
    health = Health(60, clock=lambda: now[0])
    health.beat("classify")
    health.rest("classify")
    health.waiting("brokers")
    now[0] = 100.0
    assert health.healthy()[0]
