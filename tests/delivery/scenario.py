"""The same proof for every broker: what went in, what came out, and whether each input has one answer.

Inputs are read back from the input topic, so the proof does not lean on the feeder. An answer belongs to an
input by topic, partition and offset: in the output's fields, in the dead letter's headers.
"""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.delivery.workers import WorkerProcess
from worker import Classifier
from worker.connect import TopicSpec, create_topics
from worker.encode import Encoder
from worker.settings.groups import KafkaSettings
from worker.types import Prediction

PARTITIONS = 4
_SUBJECTS = (
    "the battery",
    "this film",
    "their support team",
    "my flight",
    "the new update",
    "that match",
    "lunch",
)
_VERDICTS = (
    "is brilliant, i love it",
    "is okay i guess",
    "made me so angry",
    "was cancelled again 😡",
    "arrives on tuesday",
    "scared me to death",
    "made me cry, so sad",
    "is the best thing this year!!!",
    "what happened here?",
    "thank you so much, really",
)
TEXTS = tuple(" ".join(pair) for pair in itertools.product(_SUBJECTS, _VERDICTS))
BROKEN = b'{"text": "cut off in the mid'
_BROKEN_EVERY = 17


@dataclass
class Topics:
    """Topics and group of one run, with names of their own."""

    bootstrap: str
    name: str
    kafka: KafkaSettings = field(init=False)

    def __post_init__(self) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=[self.bootstrap])
        self.posts, self.moods, self.dead = (f"{self.name}.{kind}" for kind in ("posts", "moods", "dead"))

    def create(self) -> None:
        create_topics(
            self.kafka, [TopicSpec(name, PARTITIONS, 1) for name in (self.posts, self.moods, self.dead)]
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Settings of a worker on these topics, as environment variables."""
        return {
            "MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "MOODSTREAM_SOURCE__TOPICS": self.posts,
            "MOODSTREAM_SOURCE__GROUP_ID": f"{self.name}.group",
            "MOODSTREAM_SOURCE__SESSION_TIMEOUT_MS": "6000",
            "MOODSTREAM_SINK__TOPIC": self.moods,
            "MOODSTREAM_SINK__DEAD_LETTER_TOPIC": self.dead,
            "MOODSTREAM_MODEL__THREADS": "1",
            **more,
        }

    def worker(self, slot: str, folder: Path, **more: str) -> WorkerProcess:
        return WorkerProcess(slot, self.environment(**more), folder)


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


def message(number: int) -> bytes:
    """Make input number `number`."""
    if number % _BROKEN_EVERY == _BROKEN_EVERY - 1:
        return BROKEN
    return json.dumps({"id": number, "text": TEXTS[number % len(TEXTS)]}).encode()


@dataclass
class Count:
    """What the topics hold in the end."""

    inputs: int
    labelled: int
    dead_letters: int
    lost: int
    doubled: int
    wrong: int
    """Answers with other labels than the classifier alone gives, or of the wrong kind."""

    def __str__(self) -> str:
        return (
            f"{self.inputs} inputs: {self.labelled} labelled + {self.dead_letters} dead letters, "
            f"{self.lost} lost, {self.doubled} doubled, {self.wrong} with wrong labels"
        )

    def check(self) -> None:
        assert self.inputs > 0
        assert (self.lost, self.doubled, self.wrong) == (0, 0, 0), str(self)
        assert self.labelled + self.dead_letters == self.inputs, str(self)


def read_all(
    bootstrap: str, topic: str, isolation: str = "read_committed"
) -> list[tuple[int, int, bytes | None, dict[str, bytes]]]:
    """Read a topic from beginning to end: partition, offset, value, headers."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level=isolation,
        enable_auto_commit=False,
    )
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        rows: list[tuple[int, int, bytes | None, dict[str, bytes]]] = []
        deadline = time.monotonic() + 60
        while any(consumer.position(part) < ends[part] for part in partitions):
            assert time.monotonic() < deadline, f"{topic} cannot be read to its end: an open transaction?"
            for records in consumer.poll(timeout_ms=500).values():
                rows += [(r.partition, r.offset, r.value, dict(r.headers)) for r in records]
        return rows
    finally:
        consumer.close()


def expected_labels() -> dict[str, dict[str, object]]:
    """What the classifier alone says of every text."""
    classifier = Classifier.load(threads=1)
    encoder = Encoder(classifier.pack.heads, model="alone", topic="", include_text=False)
    fields: dict[str, dict[str, object]] = {}
    for text, prediction in zip(TEXTS, classifier.classify(TEXTS), strict=True):
        assert isinstance(prediction, Prediction)
        fields[text] = encoder.fields(prediction, text)
        del fields[text]["model"]
    return fields


def same_labels(body: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Compare labels exactly and scores to 0.0001: other batches, same answer."""
    return all(
        abs(float(str(body[name])) - value) <= 1e-4 if isinstance(value, float) else body[name] == value
        for name, value in wanted.items()
    )


def count(topics: Topics) -> Count:
    """Read all three topics and compare."""
    wanted = expected_labels()
    inputs = {(part, offset): value for part, offset, value, _ in read_all(topics.bootstrap, topics.posts)}
    answers: Counter[tuple[int, int]] = Counter()
    labelled = dead = wrong = 0
    for _, _, value, _ in read_all(topics.bootstrap, topics.moods):
        body = json.loads(value or b"{}")
        origin = (body["source_partition"], body["source_offset"])
        answers[origin] += 1
        labelled += 1
        text = inputs[origin]
        fits = text not in (None, BROKEN) and same_labels(body, wanted[json.loads(text or b"")["text"]])
        wrong += not fits
    for _, _, value, headers in read_all(topics.bootstrap, topics.dead):
        origin = (int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"]))
        answers[origin] += 1
        dead += 1
        wrong += value != BROKEN or inputs[origin] != BROKEN or headers["moodstream.reason"] != b"not_json"
    lost = sum(1 for origin in inputs if origin not in answers)
    doubled = sum(1 for number in answers.values() if number > 1)
    return Count(len(inputs), labelled, dead, lost, doubled, wrong)


def wait_until_answered(topics: Topics, keep_running: Callable[[], None], timeout_s: float = 180.0) -> None:
    """Wait until there are as many answers as inputs; `keep_running` is called meanwhile, as a supervisor."""
    deadline = time.monotonic() + timeout_s
    inputs = len(read_all(topics.bootstrap, topics.posts))
    answers = 0
    while time.monotonic() < deadline:
        keep_running()
        answers = sum(_committed(topics.bootstrap, topic) for topic in (topics.moods, topics.dead))
        if answers >= inputs:
            return
        time.sleep(1)
    raise AssertionError(f"{answers} answers for {inputs} inputs after {timeout_s:.0f} s")


def _committed(bootstrap: str, topic: str) -> int:
    return len(read_all(bootstrap, topic))


def crashes(
    topics: Topics, folder: Path, *, kills: int, seed: int, rate: float = 60.0, **settings: str
) -> tuple[Count, str]:
    """Kill one worker again and again at random moments while a second one joins and leaves.

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
        if number % 4 == 1:
            second.start()
        elif number % 4 == 3:
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
