"""The samples: readable, unique, and the decoder says of each what the file expects."""

import json
from collections import Counter

import pytest

from tests.support.decoding import decode
from worker.demo.samples import Sample, load_samples, parse_samples
from worker.errors import SampleError
from worker.messages.decode import Decoded
from worker.types import Failure, Filtered, Message, Record, Tombstone

SAMPLES = load_samples()


def _decoded(sample: Sample) -> Decoded:
    record = Record("posts", 0, 7, 1_700_000_000_000, sample.key, sample.value, sample.headers)
    return decode(record, "text")


def _outcome(sample: Sample) -> str:
    match _decoded(sample):
        case Message():
            return "labelled"
        case Tombstone():
            return "tombstone"
        case Failure() as failure:
            return f"dead_letter:{failure.reason}"
        case Filtered():
            return "filtered"


def test_the_decoder_answers_as_the_file_expects() -> None:
    found = {sample.id: _outcome(sample) for sample in SAMPLES}
    assert found == {sample.id: sample.expected for sample in SAMPLES}


def test_there_are_some_four_hundred_and_no_text_twice() -> None:
    messages = [answer.text for answer in map(_decoded, SAMPLES) if isinstance(answer, Message)]
    assert len(SAMPLES) == 400
    assert [text for text, count in Counter(messages).items() if count > 1] == []


def test_every_kind_of_input_is_among_them() -> None:
    reasons = {sample.reason for sample in SAMPLES if sample.reason}
    assert reasons == {"not_json", "text_missing", "text_not_string", "text_empty", "invalid_utf8"}
    assert sum(sample.reason is not None for sample in SAMPLES) >= 12
    languages = [answer.lang for answer in map(_decoded, SAMPLES) if isinstance(answer, Message)]
    assert sum(lang not in (None, "en") for lang in languages) >= 30
    event_ids = [answer.event_id for answer in map(_decoded, SAMPLES) if isinstance(answer, Message)]
    assert sum(event_id.startswith("/apps/plaza#") for event_id in event_ids) == 10
    binary = [sample for sample in SAMPLES if ("ce_specversion", b"1.0") in sample.headers]
    assert 0 < len(binary) < 10
    bare = [sample for sample in SAMPLES if sample.expected == "labelled" and sample.value is not None]
    assert sum(not sample.value.startswith(b"{") for sample in bare if sample.value) >= 10


def test_a_tombstone_has_a_key_of_its_own() -> None:
    keys = Counter(sample.key for sample in SAMPLES)
    assert [keys[sample.key] for sample in SAMPLES if sample.value is None] == [1, 1]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1 of the samples"),
        ('{"id": "a", "key": "k"}', "exactly one of json, text, base64, deleted"),
        ('{"id": "a", "key": "k", "json": {}, "text": "t"}', "exactly one of"),
        ('{"id": "a", "key": "k", "text": "t", "expcted": "labelled"}', "unknown fields"),
        ('{"id": "a", "key": "k", "text": "t", "expected": "anything"}', "cannot expect"),
        ('{"id": "a", "key": "k", "base64": "%%%"}', "line 1 of the samples"),
        ('{"key": "k", "text": "t"}', "line 1 of the samples"),
    ],
)
def test_a_wrong_line_is_named(line: str, complaint: str) -> None:
    with pytest.raises(SampleError, match=complaint):
        parse_samples(line)


def test_an_id_may_not_come_twice() -> None:
    line = json.dumps({"id": "a", "key": "k", "text": "t"})
    with pytest.raises(SampleError, match=r"line 2 .* id a appears twice"):
        parse_samples(f"{line}\n{line}\n")
