"""Rows of files take the worker's own way: what one of them holds costs no other row."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.decoding import decoder
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.settings.groups import ModelSettings, Settings, SourceSettings
from worker.stream.labeller import Labeller, RowResult, as_record
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter
from worker.tables.open import open_input
from worker.tables.rows import JSON, Row
from worker.types import Failure, Filtered, OutputRecord, Record, Tombstone

SURROGATE_ID = rb'{"specversion":"1.0","id":"\ud83d","source":"s","type":"t","data":{"text":"hi"}}'
LINES = [
    b'{"text":"one"}',
    SURROGATE_ID,
    b'{"text":"three"}',
    rb'{"\ud800": 1}',
    b'"four"',
    b"\x00\x01",
    b'["five"]',
    b'{"text":"six","lang":"iw"}',
]


@pytest.fixture(scope="module")
def router() -> PackRouter:
    return PackRouter.load(Settings(model=ModelSettings(threads=1)), topic="", include_text=True)


def labelled(router: PackRouter, path: Path, lines: Iterable[bytes]) -> list[RowResult]:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    labeller = Labeller(router, Fields.at("text"))
    source = open_input(str(path), labeller.wanted)
    try:
        return [result for window in labeller.label(source) for result in window]
    finally:
        source.close()


def body(value: bytes | None) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(value or b"")
    return fields


def test_a_row_that_cannot_be_encoded_costs_no_other_row(tmp_path: Path, router: PackRouter) -> None:
    results = labelled(router, tmp_path / "posts.jsonl", LINES[:3])
    assert [body(result.line)["text"] for result in results if result.line] == ["one", "three"]
    assert [
        (result.place, "`id` of the CloudEvent" in result.message) for result in results if not result.line
    ] == [(2, True)]


def test_rows_get_what_the_pipeline_of_a_topic_answers(tmp_path: Path, router: PackRouter) -> None:
    path = tmp_path / "posts.jsonl"
    results = labelled(router, path, LINES)
    records = [as_record(str(path), Row(n, n + 1, line, JSON)) for n, line in enumerate(LINES)]
    pipeline = Pipeline(
        decoder=decoder(), router=router, dead_letters=DeadLetters("dead", "connect", Origin("g", "0"))
    )
    processed = pipeline.process(records)
    assert len(processed.outputs) == len(processed.answers) == len(results) == len(LINES)
    for result, output, answer in zip(results, processed.outputs, processed.answers, strict=True):
        if isinstance(answer, Failure):
            assert (result.line, result.message, result.reason) == (None, answer.message, answer.reason)
            assert output.topic == "dead"
        else:
            now = {"processed_time_ms": 0, "event_time_ms": 0}
            assert body(result.line) | now == body(output.value) | now


def test_a_file_whose_name_is_not_utf8_is_labelled(tmp_path: Path, router: PackRouter) -> None:
    (result,) = labelled(router, tmp_path / "caf\udce9.jsonl", LINES[:1])
    assert body(result.line)["source_topic"].endswith(r"caf\xe9.jsonl")


def test_what_cannot_be_written_as_json_is_a_failure_of_its_own(router: PackRouter) -> None:
    records = [as_record(name, Row(0, 1, b'{"text":"hi"}', JSON)) for name in ("a", "\ud83d", "b")]
    results = Pipeline(decoder=decoder(), router=router).process(records).results
    [first], [broken], [last] = results
    assert isinstance(first.output, OutputRecord)
    assert isinstance(last.output, OutputRecord)
    assert isinstance(broken.answer, Failure)
    assert (broken.answer.stage, broken.answer.reason, broken.output) == ("encode", "not_encodable", None)


def test_the_pipeline_reads_what_the_settings_say(router: PackRouter) -> None:
    source = SourceSettings(
        text_field="title, body", time_field="at", id_field="id", lang_field="locale", filter="stars > `3`"
    )
    bodies = [
        {"id": 7, "title": "Good", "body": "Works.", "at": 1_719_835_200, "locale": "en_GB", "stars": 5},
        {"title": "Bad", "stars": 1},
        {"title": "Odd", "stars": "many"},
    ]
    records = [Record("t", 0, n, 1, None, json.dumps(each).encode()) for n, each in enumerate(bodies)]
    (good,), (dropped,), (odd,) = (
        Pipeline(decoder=Decoder(Fields.of(source)), router=router).process(records).results
    )
    assert good.output is not None
    written = body(good.output.value)
    told = {name: written[name] for name in ("text", "event_id", "event_time_ms", "lang", "source_offset")}
    assert told == {
        "text": "Good\nWorks.",
        "event_id": "7",
        "event_time_ms": 1_719_835_200_000,
        "lang": "en-GB",
        "source_offset": 0,
    }
    assert (dropped.answer, dropped.output) == (Filtered(), None)
    assert isinstance(odd.answer, Failure)
    assert (odd.answer.stage, odd.answer.reason) == ("decode", "filter_not_boolean")


def test_a_deleted_row_becomes_a_tombstone_of_its_key(router: PackRouter) -> None:
    fields = Fields.of(SourceSettings(preset="debezium"))
    record = Record("t", 0, 0, 1, b"k", b'{"before": {"text": "x"}, "after": null, "op": "d"}')
    ((result,),) = Pipeline(decoder=Decoder(fields), router=router).process([record]).results
    assert result.answer == Tombstone()
    assert result.output is not None
    assert (result.output.key, result.output.value) == (b"k", None)
