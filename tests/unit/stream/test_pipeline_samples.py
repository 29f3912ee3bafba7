"""Every output of the demo's samples validates against the schema in `schemas/`."""

import json
from pathlib import Path

import jsonschema

from tests.support.decoding import decoder
from worker.demo.samples import load_samples
from worker.messages.deadletter import DeadLetters, Origin
from worker.settings.groups import Settings
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter
from worker.types import Failure, Prediction, Record, Tombstone

SCHEMA = Path(__file__).resolve().parents[3] / "schemas" / "output.v1.json"


def test_every_output_of_the_demo_validates() -> None:
    pipeline = Pipeline(
        decoder=decoder(),
        router=PackRouter.load(Settings(), topic="moods", include_text=True),
        dead_letters=DeadLetters("dead", "connect", Origin("demo", "0")),
    )
    records = [
        Record("posts", 0, number, 1_700_000_000_000, sample.key, sample.value, tuple(sample.headers))
        for number, sample in enumerate(load_samples())
    ]
    processed = pipeline.process(records)
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    kinds = {Prediction: 0, Tombstone: 0, Failure: 0}
    for record, output, answer in zip(records, processed.outputs, processed.answers, strict=True):
        kinds[type(answer)] += 1
        assert output.key == record.key
        if isinstance(answer, Prediction):
            assert output.topic == "moods"
            validator.validate(json.loads(output.value or b""))
        else:
            assert output.value == record.value
    assert sum(kinds.values()) == len(records) == 400
    assert all(kinds.values())
