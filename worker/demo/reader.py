"""Reads what the worker has committed to the output and dead-letter topics, as answers to what was sent."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from worker.errors import AnswerError, ReaderError
from worker.kafka import guards
from worker.kafka.options import client_options
from worker.settings.groups import KafkaSettings
from worker.types import Range, Record, TopicPartition

_SENTIMENTS = ("negative", "neutral", "positive")
_TOXIC = "toxic"
_CONNECT = "__connect.errors."
_REASON = "moodstream.reason"
_SHOWN_EMOTIONS = 3
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled message. `emotions` are the strongest that pass their thresholds, with their scores.

    `toxic` is the probability that the text is toxic, None when the label is another or the pack has no such
    head; `spans` are the toxic ranges of `text`. `latency_s` is the time from the input record's timestamp
    until its answer was read here, by a consumer that reads only what is committed.
    """

    source: TopicPartition
    offset: int
    text: str
    sentiment: str
    score: float
    emotion: str
    emotions: tuple[tuple[str, float], ...]
    model: str
    latency_s: float
    toxic: float | None = None
    spans: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be labelled, and why. `value` is its original bytes."""

    source: TopicPartition
    offset: int
    reason: str
    message: str
    value: bytes
    latency_s: float


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """A tombstone. It has no body that names its input: key and timestamp do."""

    key: bytes
    timestamp_ms: int
    latency_s: float = field(compare=False)


Answer = Labelled | DeadLetter | PassedThrough


def read_answer(record: Record, *, dead_letter_topic: str, now_ms: int) -> Answer:
    """Read one record of the output or the dead-letter topic. `now_ms` is the Unix time of reading it.

    Raises:
        AnswerError: it is not what the worker writes.
    """
    latency_s = max(0, now_ms - record.timestamp_ms) / 1000
    try:
        if record.topic == dead_letter_topic:
            return _dead_letter(record, latency_s)
        if record.value is None:
            return PassedThrough(record.key or b"", record.timestamp_ms, latency_s)
        return _labelled(json.loads(record.value), latency_s)
    except (KeyError, ValueError, TypeError) as error:
        where = f"{record.topic}:{record.partition}:{record.offset}"
        raise AnswerError(f"{where} is not what a worker writes: {error!r}") from error


def _labelled(body: Mapping[str, object], latency_s: float) -> Labelled:
    sentiment = str(body["sentiment_label"])
    if sentiment not in _SENTIMENTS:
        raise ValueError(f"unknown sentiment {sentiment!r}")
    labels = body["emotion_labels"]
    if not isinstance(labels, list):
        raise TypeError("emotion_labels is not an array")
    return Labelled(
        source=TopicPartition(str(body["source_topic"]), int(str(body["source_partition"]))),
        offset=int(str(body["source_offset"])),
        text=str(body.get("text", "")),
        sentiment=sentiment,
        score=float(str(body["sentiment_score"])),
        emotion=str(body["emotion_label"]),
        emotions=tuple((label, float(str(body[f"emotion_{label}"]))) for label in labels[:_SHOWN_EMOTIONS]),
        model=str(body["model"]),
        latency_s=latency_s,
        toxic=float(str(body["toxicity_score"])) if body.get("toxicity_label") == _TOXIC else None,
        spans=_spans(body.get("toxic_spans", [])),
    )


def _spans(value: object) -> tuple[Range, ...]:
    if not isinstance(value, list):
        raise TypeError("toxic_spans is not an array")
    return tuple((int(start), int(end)) for start, end in value)


def _dead_letter(record: Record, latency_s: float) -> DeadLetter:
    headers = {name: value or b"" for name, value in record.headers}

    def connect(name: str) -> str:
        return headers[_CONNECT + name].decode()

    return DeadLetter(
        source=TopicPartition(connect("topic"), int(connect("partition"))),
        offset=int(connect("offset")),
        reason=headers[_REASON].decode(),
        message=connect("exception.message"),
        value=record.value or b"",
        latency_s=latency_s,
    )


class Reader:
    """A consumer without a group, on every partition of the topics, from their beginning.

    It reads with `read_committed`, so that outputs of an open or aborted transaction are never seen.

    Raises:
        ReaderError: a topic does not exist.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str]) -> None:
        self._consumer = KafkaConsumer(
            **client_options(kafka),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )
        guards.rest_between_empty_answers(self._consumer)
        self._partitions: list[KafkaPartition] = []
        for topic in topics:
            numbers = self._consumer.partitions_for_topic(topic)
            if not numbers:
                raise ReaderError(f"the topic {topic} does not exist")
            self._partitions += [KafkaPartition(topic, number) for number in sorted(numbers)]
        self._consumer.assign(self._partitions)

    def read(self, timeout_s: float) -> list[Record]:
        """The records that have arrived, after waiting at most `timeout_s` seconds.

        Raises:
            ReaderError: the broker does not answer.
        """
        try:
            batches = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            raise ReaderError(f"the answers cannot be read: {error}") from error
        return [_record(record) for batch in batches.values() for record in batch]

    def read_to_end(self) -> list[Record]:
        """Everything that is committed by now and has not been read yet.

        Raises:
            ReaderError: the end was not reached within ten seconds.
        """
        ends = self._consumer.end_offsets(self._partitions)
        records: list[Record] = []
        deadline = time.monotonic() + _END_S
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise ReaderError("the answers could not be read to their end")
            records += self.read(0.1)
        return records

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def _record(record: Any) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )
