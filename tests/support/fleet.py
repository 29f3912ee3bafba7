"""Workers without assigned slots, and how long the stream stands still after one was killed or paused."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from tests.support.proof import Count, count
from tests.support.scenario import Feeder, wait_until_answered
from tests.support.topics import PARTITIONS, Topics
from tests.support.workers import WorkerProcess
from worker.kafka.options import slot_name
from worker.kafka.topics import admin_client, group_members

SESSION_S = 6.0
"""The session time-out of a worker in these tests; the broker allows no shorter one."""


class Answers(threading.Thread):
    """Reads both output topics as they are committed, and keeps when each input partition got how far."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(name="answers", daemon=True)
        self._topics = topics
        self._reached: dict[int, list[tuple[float, int]]] = {number: [] for number in range(PARTITIONS)}
        self._done = threading.Event()
        self._ends = KafkaConsumer(bootstrap_servers=topics.bootstrap)
        self._parts = [TopicPartition(topics.posts, number) for number in range(PARTITIONS)]

    def run(self) -> None:
        consumer = KafkaConsumer(
            bootstrap_servers=self._topics.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        names = (self._topics.moods, self._topics.dead)
        consumer.assign([TopicPartition(name, number) for name in names for number in range(PARTITIONS)])
        while not self._done.is_set():
            for part, rows in consumer.poll(timeout_ms=50).items():
                now = time.monotonic()
                for row in rows:
                    if part.topic == self._topics.moods:
                        body = json.loads(row.value)
                        self._note(now, body["source_partition"], body["source_offset"])
                    else:
                        said = dict(row.headers)
                        number = int(said["__connect.errors.partition"])
                        self._note(now, number, int(said["__connect.errors.offset"]))
        consumer.close()

    def _note(self, now: float, partition: int, offset: int) -> None:
        reached = self._reached[partition]
        if not reached or offset > reached[-1][1]:
            reached.append((now, offset))

    def ends(self) -> dict[int, int]:
        """The offset that the next input of each partition will have."""
        return {part.partition: end for part, end in self._ends.end_offsets(self._parts).items()}

    def wait(self, ends: dict[int, int], limit_s: float) -> float:
        """When every partition had an answer to an input from `ends` on, on the monotonic clock."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            found = [
                next((at for at, offset in list(self._reached[number]) if offset >= end), None)
                for number, end in ends.items()
            ]
            if all(at is not None for at in found):
                return max(at for at in found if at is not None)
            time.sleep(0.05)
        behind = {number: (self._reached[number] or [(0, -1)])[-1][1] - end for number, end in ends.items()}
        raise AssertionError(f"no answers in {limit_s:.0f} s; ahead of the inputs by {behind}")

    def stop(self) -> None:
        self._done.set()
        self.join(10)
        self._ends.close()


class Fleet:
    """Workers with no slot of their own, their feeder, and whoever reads their answers."""

    def __init__(self, topics: Topics, folder: Path, most: int, rate: float = 30.0) -> None:
        self.topics = topics
        settings = {"MOODSTREAM_DELIVERY__SLOT": "auto"}
        self.workers = [topics.worker(f"w{number}", folder, **settings) for number in range(most)]
        self.feeder = Feeder(topics, rate)
        self.answers = Answers(topics)
        self.stood_still_s: list[float] = []
        self.stood_still_twice_s: list[float] = []
        """After a kill in the midst of a rebalance: no session runs while its member waits for the end."""

    @contextlib.contextmanager
    def running(self) -> Iterator["Fleet"]:
        """Topics, feeder and reader; at the end no process is left."""
        self.topics.create()
        self.feeder.start()
        self.answers.start()
        self.answers.ends()  # the first question takes seconds, which no measurement should contain
        try:
            yield self
        finally:
            self.feeder.finish()
            self.answers.stop()
            for worker in self.workers:
                if worker.running:
                    os.kill(worker.pid, signal.SIGCONT)
                    worker.kill()

    def start(self, workers: Sequence[WorkerProcess]) -> None:
        """Start them at the same moment and wait until each has a slot of its own."""
        for worker in workers:
            worker.start()
        self.settle()

    def settle(self, timeout_s: float = 60.0) -> list[str]:
        """Wait until the group's members are the running workers, each in the slot that it says it has."""
        deadline = time.monotonic() + timeout_s
        group = self.topics.environment()["MOODSTREAM_SOURCE__GROUP_ID"]
        while True:
            running = [worker for worker in self.workers if worker.running]
            slots = [slot_of(worker) for worker in running if joined(worker)]
            names: list[str | None] = []
            if len(slots) == len(running):
                names = [member.name for member in group_members(self.topics.kafka, group)]
                if sorted(map(str, names)) == sorted(slot_name(group, one) for one in slots):
                    return slots
            said = "\n".join(worker.tail(5) for worker in self.workers if worker.log.exists())
            assert time.monotonic() < deadline, f"{slots} and {names}: {said}"
            time.sleep(0.2)

    def measure(self, since: float, *, rebalancing: bool = False) -> None:
        """Seconds from `since` until every partition has an answer to an input that came after this call."""
        took = self.answers.wait(self.answers.ends(), 60) - since
        (self.stood_still_twice_s if rebalancing else self.stood_still_s).append(took)

    def rebalancing(self) -> bool:
        """Whether the group is dividing its partitions anew at this moment."""
        group = self.topics.environment()["MOODSTREAM_SOURCE__GROUP_ID"]
        with admin_client(self.topics.kafka) as admin:
            return bool(admin.describe_groups([group])[group]["group_state"] != "Stable")

    def recovery(self) -> str:
        """What was measured, in words."""
        session = f"session {SESSION_S:.0f} s"
        told = f"answers from every partition again after {_range(self.stood_still_s)} ({session})"
        if self.stood_still_twice_s:
            told += f", and after a kill in the midst of a rebalance {_range(self.stood_still_twice_s)}"
        return told

    def wait_working(self, least: int) -> list[WorkerProcess]:
        """The workers that are in the group, once there are as many as that."""
        deadline = time.monotonic() + 60
        while True:
            working = [worker for worker in self.workers if worker.running and joined(worker)]
            if len(working) >= least:
                return working
            assert time.monotonic() < deadline, "\n".join(worker.tail(5) for worker in self.workers)
            time.sleep(0.2)

    def end(self) -> Count:
        """Feed no more, wait for all answers, let all workers leave, and count."""
        self.feeder.finish()
        wait_until_answered(self.topics, lambda: None)
        codes = [worker.terminate() for worker in self.workers if worker.running]
        assert set(codes) == {0}, "\n".join(worker.tail() for worker in self.workers)
        return count(self.topics)


def _range(times: Sequence[float]) -> str:
    ordered = sorted(times)
    middle = ordered[len(ordered) // 2]
    return f"{ordered[0]:.1f} to {ordered[-1]:.1f} s, {len(ordered)} times, half of them within {middle:.1f}"


def joined(worker: WorkerProcess) -> bool:
    """Whether a worker has joined the group in the last slot that it took, as far as it knows."""
    steps = [event["event"] for event in worker.events()]
    return "partitions assigned" in steps and "slot taken" not in steps[_last(steps, "partitions assigned") :]


def wait_until(true: Callable[[], bool], worker: WorkerProcess, timeout_s: float = 60.0) -> None:
    """Wait for something that `worker` is about to do."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert worker.running, worker.tail()
        assert time.monotonic() < deadline, worker.tail()
        time.sleep(0.1)


def slot_of(worker: WorkerProcess) -> str:
    """The last slot that a worker has taken."""
    return str([event["slot"] for event in worker.events() if event["event"] == "slot taken"][-1])


def _last(steps: list[object], step: str) -> int:
    return len(steps) - 1 - steps[::-1].index(step)


def kills(topics: Topics, folder: Path, *, workers: int, kills: int, seed: int) -> tuple[Fleet, Count, str]:
    """Kill one of several workers again and again, every fifth time two, and start them anew at any moment.

    After each kill it is measured how long it takes until every partition has answers again, to what came in
    after the (last) kill. The next victim is one that works, while others may still be starting.
    """
    chance = random.Random(seed)
    fleet = Fleet(topics, folder, workers)
    done = 0
    with fleet.running():
        fleet.start(fleet.workers)
        while done < kills:
            rebalancing = False
            for _ in range(2 if done % 5 == 4 and done + 1 < kills else 1):
                victim = chance.choice(fleet.wait_working(3))
                time.sleep(chance.uniform(0.0, 0.5))
                victim.kill()
                killed_at = time.monotonic()
                # Asked after the kill: no session has ended by then, so that is the state it was killed in.
                rebalancing = fleet.rebalancing() or rebalancing
                done += 1
                if chance.random() < 0.5:
                    victim.start()
            fleet.measure(killed_at, rebalancing=rebalancing)
            for worker in fleet.workers:
                worker.start()
        held = fleet.settle()
        counted = fleet.end()
    told = f"{workers} workers without slots, {done} kills, slots at the end {', '.join(sorted(held))}; "
    return fleet, counted, told + fleet.recovery()


def pauses(topics: Topics, folder: Path, *, rounds: int) -> tuple[Fleet, Count, str]:
    """Stop a worker at work for longer than its session; another one takes its slot before it goes on."""
    fleet = Fleet(topics, folder, 2 + rounds)
    moved: list[str] = []
    with fleet.running():
        fleet.start(fleet.workers[:2])
        moved += [_pause(fleet, fleet.workers[2 + number]) for number in range(rounds)]
        counted = fleet.end()
    told = f"{rounds} pauses for longer than the session, slots changed from {', '.join(moved)}; "
    return fleet, counted, told + fleet.recovery()


def _pause(fleet: Fleet, newcomer: WorkerProcess) -> str:
    """One pause; the slot before and the one after.

    The lowest slot is the one that a newcomer takes next. Of the others some may be free before: two workers
    that start together choose the same one, and the one that loses it takes any of the next.
    """
    paused = min((worker for worker in fleet.workers if worker.running), key=lambda one: int(slot_of(one)))
    slot = slot_of(paused)
    time.sleep(1)
    os.kill(paused.pid, signal.SIGSTOP)
    fleet.measure(time.monotonic())
    newcomer.start()
    wait_until(lambda: joined(newcomer), newcomer)
    assert slot_of(newcomer) == slot, (slot_of(newcomer), slot)
    time.sleep(1)
    os.kill(paused.pid, signal.SIGCONT)
    wait_until(lambda: joined(paused) and slot_of(paused) != slot, paused)
    fleet.settle()
    return f"{slot} to {slot_of(paused)}"


def scaling(topics: Topics, folder: Path) -> tuple[Fleet, Count, str]:
    """1, 4, 2 and 6 workers: more by starting some, fewer by asking some to leave."""
    fleet = Fleet(topics, folder, 6)
    steps: list[str] = []
    with fleet.running():
        for wanted in (1, 4, 2, 6):
            running = [worker for worker in fleet.workers if worker.running]
            for worker in running[: max(0, len(running) - wanted)]:
                assert worker.terminate() == 0, worker.tail()
            resting = [worker for worker in fleet.workers if not worker.running]
            fleet.start(resting[: max(0, wanted - len(running))])
            fleet.measure(time.monotonic())
            steps.append(f"{wanted}: {', '.join(sorted(fleet.settle()))}")
        counted = fleet.end()
    return fleet, counted, f"slots of the workers {'; '.join(steps)}; {fleet.recovery()}"
