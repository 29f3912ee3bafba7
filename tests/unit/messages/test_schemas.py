"""The files in `schemas/` say what the code does."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import decode
from worker.messages.asyncapi import as_yaml, asyncapi
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.schema import input_schema, output_schema
from worker.model.pack import bundled_pack, load_pack
from worker.settings.groups import Settings
from worker.types import Failure, Message, Record

HEADS = load_pack(bundled_pack()).outputs
SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"


def read(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text())


def test_the_output_schema_is_the_bundled_packs() -> None:
    assert read("output.v1.json") == output_schema(HEADS)


def test_the_input_schema_is_the_codes() -> None:
    assert read("input.v1.json") == input_schema()


@given(
    body=st.fixed_dictionaries(
        {}, optional={"text": st.text() | st.integers() | st.none(), "lang": st.text() | st.none()}
    )
)
def test_what_the_input_schema_allows_is_decoded(body: dict[str, object]) -> None:
    valid = jsonschema.Draft202012Validator(input_schema()).is_valid(body)
    result = decode(Record("t", 0, 0, 0, None, json.dumps(body).encode()), "text")
    if valid:
        # JSON Schema cannot say what is invisible: of that it knows only blanks.
        assert isinstance(result, Message) or (isinstance(result, Failure) and result.reason == "text_empty")
    if isinstance(result, Message) and isinstance(body.get("lang"), str | None):
        assert valid


def test_the_asyncapi_file_is_that_of_the_default_settings() -> None:
    text = as_yaml(asyncapi(Settings(), HEADS))
    assert (SCHEMAS / "asyncapi.yaml").read_text() == text, "run: make schemas"


@pytest.mark.parametrize("profile", ["connect", "spring"])
def test_asyncapi_names_the_headers_of_dead_letters(profile: Any) -> None:
    settings = Settings.model_validate({"sink": {"dead_letter_profile": profile}})
    channels = asyncapi(settings, HEADS)["channels"]
    described = channels["moods.dead-letter"]["messages"][profile]["headers"]["required"]
    failure = Failure("decode", "not_json", "m", "E")
    letter = DeadLetters("d", profile, Origin("g", "0")).to_dead_letter(
        Record("t", 0, 0, 0, None, b"{"), failure
    )
    assert [name for name, _ in letter.headers] == described


@pytest.mark.parametrize("form", ["json", "json_schema", "avro", "cloudevents"])
def test_asyncapi_follows_from_the_settings(form: str) -> None:
    sink = {"topic": "feelings", "format": form, "columns": "labels", "keep": ["product", "price:double"]}
    settings = Settings.model_validate(
        {"kafka": {"schema_registry_url": "http://r:8081"}, "source": {"topics": ["a.b", "c"]}, "sink": sink}
    )
    document = asyncapi(settings, HEADS)
    assert yaml.safe_load(as_yaml(document)) == document
    assert list(document["channels"]) == ["a.b", "c", "feelings", "moods.dead-letter"]
    message = document["channels"]["feelings"]["messages"]["labelled"]
    payload = message["payload"]
    if form == "avro":
        names = [field["name"] for field in payload["schema"]["fields"]]
    elif form == "json_schema":
        names = [field["field"] for field in payload["properties"]["schema"]["const"]["fields"]]
        assert names == list(payload["properties"]["payload"]["properties"])
    else:
        names = list(payload["properties"])
    assert names[-2:] == ["product", "price"]
    assert "emotion_label" in names
    assert "emotion_joy" not in names
    assert ("ce_id" in message["headers"]["required"]) == (form == "cloudevents")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(st.dictionaries(st.text(), inner, max_size=3), max_size=3)
            | st.dictionaries(st.text(), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_yaml_reads_back_as_it_was(document: object) -> None:
    assert yaml.safe_load(as_yaml({"document": document})) == {"document": document}
