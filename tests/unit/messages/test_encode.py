"""The flat output message: stable names, stable types, and what survives from the input."""

from dataclasses import replace
from typing import Literal

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.heads import MULTI, SINGLE, Head
from worker.messages.columns import TextColumns, head_columns
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.encode import OutputEncoder
from worker.messages.headers import output_headers
from worker.messages.schema import output_schema
from worker.types import Failure, HeadResult, Message, Prediction, Record

HEADS = (
    Head("sentiment", SINGLE, ("negative", "neutral", "positive")),
    Head("emotion", MULTI, ("joy", "anger", "neutral")),
)
PREDICTION = Prediction(
    heads={
        "sentiment": HeadResult(
            "positive", 0.91234567, {"negative": 0.03, "neutral": 0.05765433, "positive": 0.91234567}
        ),
        "emotion": HeadResult("joy", 0.8, {"joy": 0.8, "anger": 0.01, "neutral": 0.3}, ("joy", "neutral")),
    },
    token_count=7,
    truncated=False,
    lang="en",
)
RECORD = Record(
    "posts", 3, 41, 1_700_000_000_000, b"user-1", b'{"text": "yay"}', (("traceparent", b"00-ab-cd-01"),)
)
MESSAGE = Message("yay", "posts:3:41", 1_699_999_999_000, "en")


def encoder(*, include_text: bool = False) -> OutputEncoder:
    return OutputEncoder(HEADS, model="compact@0123456789ab", topic="moods", include_text=include_text)


def body_of(include_text: bool = False, message: Message = MESSAGE) -> dict[str, object]:
    value = encoder(include_text=include_text).encode(RECORD, message, PREDICTION, 1_700_000_000_500).value
    assert value is not None
    body = orjson.loads(value)
    assert isinstance(body, dict)
    return body


def test_every_field_of_the_flat_message() -> None:
    assert body_of() == {
        "event_id": "posts:3:41",
        "event_time_ms": 1_699_999_999_000,
        "processed_time_ms": 1_700_000_000_500,
        "sentiment_label": "positive",
        "sentiment_score": 0.912346,
        "sentiment_negative": 0.03,
        "sentiment_neutral": 0.057654,
        "sentiment_positive": 0.912346,
        "emotion_label": "joy",
        "emotion_score": 0.8,
        "emotion_labels": ["joy", "neutral"],
        "emotion_joy": 0.8,
        "emotion_anger": 0.01,
        "emotion_neutral": 0.3,
        "token_count": 7,
        "truncated": False,
        "supported": True,
        "model": "compact@0123456789ab",
        "schema_version": 1,
        "lang": "en",
        "source_topic": "posts",
        "source_partition": 3,
        "source_offset": 41,
    }


def test_the_text_is_left_out_unless_asked_for() -> None:
    assert "text" not in body_of()
    assert body_of(include_text=True)["text"] == "yay"


def test_output_validates_against_the_schema_of_its_heads() -> None:
    schema = output_schema(HEADS)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(body_of(include_text=True), schema)
    jsonschema.validate(body_of(message=Message("yay", "posts:3:41", -1)), schema)
    wrong = body_of() | {"sentiment_label": "so-so"}
    assert [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(wrong)] == [
        "$.sentiment_label"
    ]


def test_unknown_record_time_becomes_the_processing_time() -> None:
    assert body_of(message=Message("yay", "x", -1))["event_time_ms"] == 1_700_000_000_500


def test_key_timestamp_and_trace_headers_survive() -> None:
    output = encoder().encode(RECORD, MESSAGE, PREDICTION, 1)
    assert (output.topic, output.key, output.timestamp_ms) == ("moods", b"user-1", 1_700_000_000_000)
    assert output.headers == (("traceparent", b"00-ab-cd-01"), ("content-type", b"application/json"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Content-Type",
            "content-type",
            "contentType",
            "content_type",
            "content-encoding",
            "Content-Encoding",
        ),
        *(
            "content-length",
            "__TypeId__",
            "__ContentTypeId__",
            "spring_json_header_types",
            "__value_schema_id",
        ),
        *("apicurio.globalId", "apicurio.value.globalId", "apicurio.value.encoding", "apicurio.contentId"),
        *("ce_id", "ce_specversion", "ce-id", "ce-type", "cloudEvents:id", "cloudEvents_id"),
        *("__connect.errors.topic", "kafka_dlt-original-topic", "kafka_dlt-exception-message"),
        *("moodstream.reason", "retry_topic-attempts", "springDeserializerExceptionValue"),
    ],
)
def test_headers_that_are_not_true_of_the_output_are_dropped(name: str) -> None:
    around = (("shop", b"eu"), (name, b"x"), ("shop", None))
    assert output_headers(around) == (
        ("shop", b"eu"),
        ("shop", None),
        ("content-type", b"application/json"),
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "traceparent",
            "tracestate",
            "baggage",
            "__key_schema_id",
            "__KeyTypeId__",
            "apicurio.key.globalId",
        ),
        *("content-id", "ceo", "kafka_correlationId", "x-moodstream.reason", "caf\udce9", ""),
    ],
)
def test_other_headers_survive(name: str) -> None:
    assert output_headers(((name, b"x"), (name, None)))[:2] == ((name, b"x"), (name, None))


def test_a_replayed_dead_letter_loses_the_headers_of_its_failure_once_it_is_labelled() -> None:
    failure = Failure("decode", "not_json", "the value is not JSON", "worker.errors.NotJson")
    profiles: tuple[Literal["connect", "spring"], ...] = ("connect", "spring")
    for profile in profiles:
        letters = DeadLetters("dead", profile, Origin("group", "0"))
        replayed = replace(RECORD, headers=letters.to_dead_letter(RECORD, failure).headers)
        output = encoder().encode(replayed, MESSAGE, PREDICTION, 1)
        assert output.headers == encoder().encode(RECORD, MESSAGE, PREDICTION, 1).headers


@given(time_ms=st.integers(-(2**63), 2**63 - 1).filter(lambda value: value != -1))
def test_an_event_time_is_written_as_it_was_given(time_ms: int) -> None:
    assert body_of(message=Message("yay", "posts:3:41", time_ms))["event_time_ms"] == time_ms


def test_tombstone_passes_through_whole() -> None:
    record = Record("posts", 0, 1, 5, b"k", None, (("content-type", b"x"),))
    output = encoder().passed_through(record)
    assert (output.topic, output.key, output.value, output.headers) == (
        "moods",
        b"k",
        None,
        (("content-type", b"x"),),
    )


@given(
    labels=st.lists(st.text(), unique=True, max_size=12)
    | st.just(["label", "score", "labels", "Label", "a b", "a-b", "a_b_2"])
)
def test_columns_are_unique_and_never_collide(labels: list[str]) -> None:
    (columns,) = head_columns([Head("mood", MULTI, tuple(labels))])
    assert isinstance(columns, TextColumns)
    assert list(columns.scores) == labels
    names = [*columns.scores.values(), "mood_label", "mood_score", "mood_labels"]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "a").isalnum() for name in names)
