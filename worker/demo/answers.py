"""What comes back: records of the output and dead-letter topics as answers to what was sent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.types import Range, Record, TopicPartition

_SENTIMENTS = ("negative", "neutral", "positive")
_TOXIC = "toxic"
_CONNECT = "__connect.errors."
_REASON = "moodstream.reason"
_SHOWN_EMOTIONS = 3


class AnswerError(Exception):
    """A record on the output or dead-letter topic is not the worker's; `str()` says where it lies."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled message. `emotions` are the strongest that pass their thresholds, with their scores.

    `toxic` is the probability that it is, None where the worker does not call it so or its pack does not
    judge that; `spans` are the ranges of `text` that make it so. `latency_s` is the time from the input
    record's timestamp until its answer was read here, by a consumer that reads only what is committed.
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
    """A tombstone. It carries no body that says where it came from: key and timestamp tell."""

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
