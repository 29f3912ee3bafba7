"""Outputs as their topics take them: size, time and key."""

import hashlib
import json
import os
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.limits import HOUR_MS, TopicLimits
from worker.messages.deadletter import DeadLetters, Origin
from worker.stream.fitting import Fitter
from worker.types import Failure, HeadResult, OutputRecord, Prediction, Record

NOW_MS = 1_800_000_000_000
_PREDICTION = Prediction({"mood": HeadResult("joy", 1.0, {"joy": 1.0})}, 3, False)
_FAILURE = Failure("decode", "not_json", "the value is not JSON", "worker.errors.NotJson")
_Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]


def _fitter(
    moods: TopicLimits | None = None,
    dead: TopicLimits | None = None,
    compression: _Compression = "lz4",
    profile: Literal["connect", "spring"] = "connect",
) -> Fitter:
    letters = DeadLetters("dead", profile, Origin("group", "0"))
    limits = {"moods": moods or TopicLimits(1_000_000), "dead": dead or TopicLimits(1_000_000)}
    return Fitter(
        limits,
        letters.to_dead_letter,
        dead_letter_topic="dead",
        compression=compression,
        clock=lambda: NOW_MS / 1_000,
    )


def _record(value: bytes | None = b"{}", timestamp_ms: int = NOW_MS, key: bytes | None = b"k") -> Record:
    return Record("posts", 3, 42, timestamp_ms, key, value, (("trace", b"t"),))


def _output(record: Record, text: str | None = None) -> OutputRecord:
    body = {"event_id": "e"} | ({} if text is None else {"text": text})
    time_ms = record.timestamp_ms if record.timestamp_ms >= 0 else None
    return OutputRecord("moods", record.key, json.dumps(body).encode(), record.headers, time_ms)


def _headers(output: OutputRecord) -> dict[str, bytes | None]:
    return dict(output.headers)


def test_what_fits_is_left_as_it_is() -> None:
    record = _record()
    output = _output(record, "hello")
    assert _fitter().fit(record, output, _PREDICTION) == (output, _PREDICTION)
    letter, _ = _fitter().fit(record, output, _FAILURE)
    assert (letter.value, letter.key, letter.timestamp_ms) == (b"{}", b"k", NOW_MS)
    assert not [name for name, _ in letter.headers if name.startswith("moodstream.value")]


@pytest.mark.parametrize(
    "timestamp_ms",
    [
        NOW_MS + 2 * 24 * HOUR_MS,
        NOW_MS * 1_000,
        NOW_MS * 10**6,
        NOW_MS + HOUR_MS + 1,
        -2,
        -(2**63),
        2**63 - 1,
    ],
)
def test_a_time_that_the_topic_refuses_becomes_the_current_one_and_is_kept(timestamp_ms: int) -> None:
    """Days ahead, in microseconds or nanoseconds, negative."""
    record = _record(timestamp_ms=timestamp_ms)
    for answer in (_PREDICTION, _FAILURE):
        fitted, _ = _fitter().fit(record, _output(record), answer)
        assert fitted.timestamp_ms is None  # the client takes the current time
        assert _headers(fitted)["moodstream.timestamp"] == str(timestamp_ms).encode()


@pytest.mark.parametrize("timestamp_ms", [0, 1, NOW_MS - 10 * 365 * 24 * HOUR_MS, NOW_MS + HOUR_MS, -1])
def test_other_times_stay(timestamp_ms: int) -> None:
    record = _record(timestamp_ms=timestamp_ms)
    fitted, _ = _fitter().fit(record, _output(record), _PREDICTION)
    assert fitted.timestamp_ms == (None if timestamp_ms < 0 else timestamp_ms)
    assert "moodstream.timestamp" not in _headers(fitted)


def test_the_topics_own_limits_decide_about_the_time() -> None:
    day = TopicLimits(1_000_000, before_ms=24 * HOUR_MS, after_ms=48 * HOUR_MS)
    ahead, old = (_record(timestamp_ms=NOW_MS + hours * HOUR_MS) for hours in (47, -25))
    assert _fitter(day).fit(ahead, _output(ahead), _PREDICTION)[0].timestamp_ms == ahead.timestamp_ms
    assert _fitter(day).fit(old, _output(old), _PREDICTION)[0].timestamp_ms is None


def test_an_output_too_large_goes_without_its_text_and_says_so() -> None:
    record = _record()
    output = _output(record, os.urandom(3_000).hex())
    fitted, answer = _fitter(TopicLimits(2_000)).fit(record, output, _PREDICTION)
    assert answer is _PREDICTION
    assert json.loads(fitted.value or b"") == {"event_id": "e", "text_omitted": True}
    assert fitted.key == b"k"


def test_what_fits_when_it_is_compressed_keeps_its_text() -> None:
    record = _record()
    output = _output(record, "so good " * 10_000)
    assert _fitter(TopicLimits(5_000)).fit(record, output, _PREDICTION)[0] == output
    shorter, _ = _fitter(TopicLimits(5_000), compression="none").fit(record, output, _PREDICTION)
    assert b"text_omitted" in (shorter.value or b"")


def test_an_output_too_large_without_its_text_is_a_dead_letter() -> None:
    record = replace(_record(), headers=(("h", os.urandom(3_000)),))
    letter, answer = _fitter(TopicLimits(2_000)).fit(record, _output(record), _PREDICTION)
    assert isinstance(answer, Failure)
    assert (letter.topic, answer.reason) == ("dead", "output_too_large")
    assert (letter.value, letter.headers[0]) == (record.value, record.headers[0])


def test_a_dead_letter_too_large_goes_without_its_value_and_says_where_it_lies() -> None:
    value = os.urandom(5_000)
    letter, answer = _fitter(dead=TopicLimits(2_000)).fit(_record(value), _output(_record()), _FAILURE)
    assert answer is _FAILURE
    assert letter.value is None
    headers = _headers(letter)
    assert headers["moodstream.value.bytes"] == b"5000"
    assert headers["moodstream.value.sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert headers["moodstream.value.at"] == b"posts:3:42"
    assert (headers["trace"], letter.key) == (b"t", b"k")


@pytest.mark.parametrize("profile", ["connect", "spring"])
@given(
    value=st.one_of(st.none(), st.binary(max_size=3_000)),
    key=st.one_of(st.none(), st.binary(max_size=3_000)),
    headers=st.lists(st.tuples(st.text("abc", min_size=1), st.binary(max_size=2_000)), max_size=4),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    compacted=st.booleans(),
)
def test_a_dead_letter_always_fits(
    profile: Literal["connect", "spring"],
    value: bytes | None,
    key: bytes | None,
    headers: list[tuple[str, bytes]],
    timestamp_ms: int,
    compacted: bool,
) -> None:
    limits = TopicLimits(1_600, compacted=compacted)
    record = Record("posts", 3, 42, timestamp_ms, key, value, tuple(headers))
    letter = _fitter(dead=limits, compression="none", profile=profile).dead_letter(record, _FAILURE)
    assert limits.takes_size(letter, "none")
    assert letter.timestamp_ms is None or limits.takes_time(letter.timestamp_ms, NOW_MS)
    assert letter.key is not None or not compacted
    assert ("moodstream.reason", b"not_json") in letter.headers


def test_a_message_without_a_key_for_a_compacted_topic_is_a_dead_letter() -> None:
    record = _record(key=None)
    letter, answer = _fitter(TopicLimits(1_000_000, compacted=True)).fit(record, _output(record), _PREDICTION)
    assert isinstance(answer, Failure)
    assert (letter.topic, letter.key, answer.reason) == ("dead", None, "key_missing")


def test_without_known_limits_kafkas_defaults_are_assumed() -> None:
    letters = DeadLetters("dead", "connect", Origin("group", "0"))
    fitter = Fitter({}, letters.to_dead_letter, dead_letter_topic="dead", clock=lambda: NOW_MS / 1_000)
    record = _record(timestamp_ms=NOW_MS + 2 * HOUR_MS)
    assert fitter.fit(record, _output(record), _PREDICTION)[0].timestamp_ms is None
