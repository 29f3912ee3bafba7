"""Answers are read from what the worker's own encoder and dead letters write, not from made-up records."""

from dataclasses import replace

import pytest

from worker.demo.reader import DeadLetter, Labelled, PassedThrough, read_answer
from worker.errors import AnswerError
from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.encode import OutputEncoder
from worker.types import (
    Failure,
    HeadResult,
    Message,
    OutputRecord,
    Prediction,
    Record,
    SpanResult,
    TopicPartition,
)

HEADS = (
    Head("sentiment", SINGLE, ("negative", "neutral", "positive")),
    Head("emotion", MULTI, ("joy", "anger", "love")),
)
PREDICTION = Prediction(
    heads={
        "sentiment": HeadResult("positive", 0.9, {"negative": 0.04, "neutral": 0.06, "positive": 0.9}),
        "emotion": HeadResult("joy", 0.8, {"joy": 0.8, "anger": 0.01, "love": 0.5}, ("joy", "love")),
    },
    token_count=4,
    truncated=False,
)
RECORD = Record("posts", 2, 41, 10_000, b"mira", b'{"text": "best day"}')
ENCODER = OutputEncoder(HEADS, model="compact@0123456789ab", topic="moods", include_text=True)


def _read_back(output: OutputRecord) -> Record:
    assert output.timestamp_ms is not None
    return Record(output.topic, 0, 5, output.timestamp_ms, output.key, output.value, output.headers)


def test_a_labelled_message() -> None:
    output = ENCODER.encode(RECORD, Message("best day", "posts:2:41", 10_000), PREDICTION, 10_020)
    answer = read_answer(_read_back(output), dead_letter_topic="moods.dead-letter", now_ms=10_250)
    assert answer == Labelled(
        source=TopicPartition("posts", 2),
        offset=41,
        text="best day",
        sentiment="positive",
        score=0.9,
        emotion="joy",
        emotions=(("joy", 0.8), ("love", 0.5)),
        model="compact@0123456789ab",
        latency_s=0.25,
    )


def test_toxicity_and_what_makes_it_so_where_the_pack_judges_them() -> None:
    heads = (
        *HEADS,
        Head("toxicity", SINGLE, ("not_toxic", "toxic")),
        Head("toxic_spans", TOKENS, ("toxic",)),
    )
    encoder = OutputEncoder(heads, model="compact@0123456789ab", topic="moods", include_text=True)
    toxic = HeadResult("toxic", 0.75, {"not_toxic": 0.25, "toxic": 0.75})
    spans = {"toxic_spans": SpanResult(((4, 8),), read=True)}
    prediction = replace(PREDICTION, heads={**PREDICTION.heads, "toxicity": toxic}, spans=spans)
    output = encoder.encode(RECORD, Message("the crap day", "posts:2:41", 10_000), prediction, 10_020)
    answer = read_answer(_read_back(output), dead_letter_topic="moods.dead-letter", now_ms=10_250)
    assert isinstance(answer, Labelled)
    assert (answer.toxic, answer.spans) == (0.75, ((4, 8),))
    fine = HeadResult("not_toxic", 0.75, {"not_toxic": 0.75, "toxic": 0.25})
    prediction = replace(prediction, heads={**PREDICTION.heads, "toxicity": fine})
    output = encoder.encode(RECORD, Message("the crap day", "posts:2:41", 10_000), prediction, 10_020)
    answer = read_answer(_read_back(output), dead_letter_topic="moods.dead-letter", now_ms=10_250)
    assert isinstance(answer, Labelled)
    assert answer.toxic is None


def test_a_dead_letter() -> None:
    letters = DeadLetters("moods.dead-letter", "connect", Origin("group", "0"))
    output = letters.to_dead_letter(
        RECORD, Failure("decode", "not_json", "the value is not JSON", "x.NotJson")
    )
    answer = read_answer(_read_back(output), dead_letter_topic="moods.dead-letter", now_ms=10_000)
    assert answer == DeadLetter(
        TopicPartition("posts", 2), 41, "not_json", "the value is not JSON", b'{"text": "best day"}', 0.0
    )


def test_a_tombstone() -> None:
    answer = read_answer(
        _read_back(ENCODER.passed_through(RECORD)), dead_letter_topic="moods.dead-letter", now_ms=10_000
    )
    assert answer == PassedThrough(b"mira", 10_000, 0.0)


@pytest.mark.parametrize("value", [b"{", b"{}", b'{"sentiment_label": "so-so"}', b"[]", b"\xff"])
def test_a_stranger_on_the_output_topic_is_named(value: bytes) -> None:
    stranger = Record("moods", 1, 9, 10_000, None, value)
    with pytest.raises(AnswerError, match="moods:1:9 is not what a worker writes"):
        read_answer(stranger, dead_letter_topic="moods.dead-letter", now_ms=10_000)
