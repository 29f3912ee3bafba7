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
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.schema import input_schema, output_schema
from worker.model.pack import bundled_pack, load_pack
from worker.types import Failure, Message, Record

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"


def read(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text())


def test_the_output_schema_is_the_bundled_packs() -> None:
    assert read("output.v1.json") == output_schema(load_pack(bundled_pack()).outputs)


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


@pytest.mark.parametrize("profile", ["connect", "spring"])
def test_asyncapi_names_the_headers_of_dead_letters(profile: Any) -> None:
    channels = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())["channels"]
    described = channels["moods.dead-letter"]["messages"][profile]["headers"]["required"]
    failure = Failure("decode", "not_json", "m", "E")
    letter = DeadLetters("d", profile, Origin("g", "0")).to_dead_letter(
        Record("t", 0, 0, 0, None, b"{"), failure
    )
    assert [name for name, _ in letter.headers] == described


def test_asyncapi_refers_to_files_that_are_there() -> None:
    text = (SCHEMAS / "asyncapi.yaml").read_text()
    files = [line.split("./", 1)[1].strip() for line in text.splitlines() if "$ref: ./" in line]
    assert sorted(files) == ["input.v1.json", "output.v1.json"]
    assert all((SCHEMAS / name).is_file() for name in files)
