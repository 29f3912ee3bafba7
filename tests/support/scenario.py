"""The same trouble for every broker: workers killed or stopped, brokers restarted, while messages come in."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kafka import KafkaProducer

from tests.support.proof import Count, count, message
from tests.support.topics import Topics


class Feeder(threading.Thread):
    """Sends numbered messages, one in 17 of them broken, until it is told to stop."""

    def __init__(self, topics: Topics, rate: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self._topics, self._rate = topics, rate
        self._stop_feeding = threading.Event()
        self.sent = 0

    def run(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._topics.bootstrap,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=120_000,
            reconnect_backoff_max_ms=1_000,
            max_block_ms=120_000,
        )
        while not self._stop_feeding.wait(1 / self._rate):
            producer.send(self._topics.posts, key=str(self.sent).encode(), value=message(self.sent))
            self.sent += 1
        producer.flush(timeout=120)
        producer.close()

    def finish(self) -> None:
        """Stop, and wait until all that was sent is acknowledged."""
        self._stop_feeding.set()
        self.join(timeout=150)
        assert not self.is_alive()


def wait_until_answered(topics: Topics, keep_running: Callable[[], None], timeout_s: float = 180.0) -> None:
    """Wait until every input has an answer; `keep_running` is called meanwhile, as a supervisor.

    As many answers as inputs would not do: at least once, one that came twice would stand for one to come.
    """
    deadline = time.monotonic() + timeout_s
    found = count(topics)
    while found.lost and time.monotonic() < deadline:
        keep_running()
        time.sleep(1)
        found = count(topics)
    if found.lost:
        raise AssertionError(f"after {timeout_s:.0f} s: {found}")


def crashes(
    topics: Topics,
    folder: Path,
    *,
    kills: int,
    seed: int,
    rate: float = 60.0,
    joins: bool = True,
    **settings: str,
) -> tuple[Count, str]:
    """Kill one worker again and again at random moments while, with `joins`, a second one joins and leaves.

    Moments are drawn from a seeded generator; what they hit still differs from run to run, since threads
    and processes do. The counts must hold all the same.
    """
    chance = random.Random(seed)
    topics.create()
    first, second = (topics.worker(slot, folder, **settings) for slot in ("a", "b"))
    feeder = Feeder(topics, rate)
    feeder.start()
    first.start()
    first.wait_ready()
    leaves: list[int] = []
    for number in range(kills):
        if joins and number % 4 == 1:
            second.start()
        elif joins and number % 4 == 3:
            second.wait_started()
            leaves.append(second.terminate())
        if number % 3:  # two of three times in the midst of work, else at any moment of its start
            first.wait_ready()
        time.sleep(chance.uniform(0.05, 1.5))
        first.kill()
        first.start()
    feeder.finish()

    def keep_running() -> None:
        first.start()

    wait_until_answered(topics, keep_running)
    for worker in (first, second):
        worker.wait_started()
    stopped = [worker.terminate() for worker in (first, second) if worker.running]
    own = sorted(set(first.exit_codes) - {-9, 0})
    told = f"{kills} kills, {len(leaves)} leaves (exit codes {sorted(set(leaves))}), ends of its own {own}"
    assert set(leaves) <= {0}, second.tail()
    assert set(stopped) == {0}, first.tail()
    return count(topics), told


def stops(topics: Topics, folder: Path, *, rounds: int, seed: int, rate: float = 60.0) -> tuple[Count, str]:
    """Stop two workers in turn with SIGTERM, again and again, while messages come in."""
    chance = random.Random(seed)
    topics.create()
    workers = [topics.worker(slot, folder) for slot in ("a", "b")]
    feeder = Feeder(topics, rate)
    feeder.start()
    for worker in workers:
        worker.start()
    codes: list[int] = []
    for number in range(rounds):
        worker = workers[number % 2]
        worker.wait_ready()
        time.sleep(chance.uniform(0.05, 1.0))
        codes.append(worker.terminate())
        worker.start()
    feeder.finish()
    wait_until_answered(topics, lambda: None)
    for worker in workers:
        worker.wait_started()
    codes += [worker.terminate() for worker in workers]
    assert set(codes) == {0}, workers[0].tail() + workers[1].tail()
    return count(topics), f"{len(codes)} stops, every exit code 0"


def broker_restarts(
    topics: Topics,
    folder: Path,
    *,
    kill: Callable[[], object],
    start: Callable[[], object],
    rounds: int,
    seed: int,
) -> tuple[Count, str]:
    """Kill the broker and start it again while two workers work and messages come in."""
    chance = random.Random(seed)
    topics.create()
    workers = [topics.worker(slot, folder) for slot in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.wait_ready()
    feeder = Feeder(topics, 40.0)
    feeder.start()
    for _ in range(rounds):
        time.sleep(chance.uniform(2.0, 5.0))
        kill()
        time.sleep(chance.uniform(0.2, 2.0))
        start()

    def keep_running() -> None:
        for worker in workers:
            worker.start()

    time.sleep(3)
    feeder.finish()
    wait_until_answered(topics, keep_running)
    codes = [worker.terminate() for worker in workers if worker.running]
    own = [code for worker in workers for code in worker.exit_codes if code != 0]
    assert set(codes) == {0}
    return count(topics), f"{rounds} broker kills, workers' ends of their own: {own}"
