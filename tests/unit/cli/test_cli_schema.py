"""`moodstream schema`: what the settings give, in each form."""

import json
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import pytest
import yaml


def names_in(form: str, out: str) -> list[str]:
    found: Any = json.loads(out)
    if form == "json-schema":
        jsonschema.Draft202012Validator.check_schema(found)
        return list(found["properties"])
    if form == "avro":
        fastavro.parse_schema(found)
    return [field["name" if form == "avro" else "field"] for field in found["fields"]]


@pytest.mark.parametrize("form", ["json-schema", "avro", "connect"])
def test_the_columns_are_those_of_the_settings(moodstream: Any, form: str) -> None:
    Path("worker.toml").write_text(
        '[sink]\ncolumns = "labels"\nkeep = ["product", "a.price as price:double"]\n'
    )
    ended = moodstream("schema", "--config", "worker.toml", "--format", form)
    assert (ended.code, ended.err) == (0, "")
    names = names_in(form, ended.out)
    assert {"event_id", "emotion_label", "emotion_labels", "toxic_spans", "product", "price"} <= set(names)
    assert not {"emotion_joy", "emotion_group_joy", "text", "toxic_words"} & set(names)
    ended = moodstream("schema", "--sink.include-text", "--format", form)
    assert {"emotion_joy", "text", "text_omitted", "toxic_words"} <= set(names_in(form, ended.out))


@pytest.mark.parametrize(
    ("sink", "form"),
    [("json", "json-schema"), ("cloudevents", "json-schema"), ("json_schema", "connect"), ("avro", "avro")],
)
def test_without_a_form_it_is_what_the_sink_writes(moodstream: Any, sink: str, form: str) -> None:
    flags = ("--sink.format", sink, "--kafka.schema-registry-url", "http://127.0.0.1:8081")
    assert moodstream("schema", *flags).out == moodstream("schema", *flags, "--format", form).out


def test_asyncapi_names_the_topics_of_the_settings(moodstream: Any) -> None:
    ended = moodstream("schema", "--format", "asyncapi", "--source.topics", "a,b", "--sink.topic", "feelings")
    document = yaml.safe_load(ended.out)
    assert document["asyncapi"] == "3.1.0"
    assert list(document["channels"]) == ["a", "b", "feelings", "moods.dead-letter"]


def test_a_kept_name_that_is_taken_is_refused(moodstream: Any) -> None:
    ended = moodstream("schema", "--sink.keep", "a.Model")
    assert (ended.code, ended.out) == (2, "")
    assert "`a.Model`" in ended.err
    assert "`model`" in ended.err
