"""What went in, what came out, and whether each input has one answer.

Inputs are read back from the input topic, so the proof does not lean on the feeder. An answer belongs to an
input by topic, partition and offset: in the output's fields, in the dead letter's headers.
"""

import functools
import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition

from tests.support.topics import Topics
from worker.messages.encode import OutputEncoder
from worker.model.classifier import Classifier
from worker.types import Prediction

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


@functools.cache
def expected_labels() -> dict[str, dict[str, object]]:
    """What the classifier alone says of every text."""
    classifier = Classifier.load(threads=1)
    encoder = OutputEncoder(classifier.pack.outputs, model="alone", topic="", include_text=False)
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
