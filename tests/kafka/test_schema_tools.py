"""What the AsyncAPI parser and ajv say about our schemas. They need npm instead of Kafka."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.node_tools import NodeMissing, ask, node_modules
from tests.unit.messages.test_output_formats import FORMATS, HEADS, KEEP, KEPT, body_in, output_of, sink
from worker.messages.asyncapi import as_yaml, asyncapi, connect_message_schema
from worker.messages.columns import Layout
from worker.messages.output_formats import connect_schema
from worker.messages.schema import input_schema, output_columns, output_schema
from worker.settings.groups import Settings

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


@pytest.fixture(autouse=True)
def tools() -> None:
    try:
        node_modules()
    except NodeMissing as reason:
        pytest.skip(str(reason))


def test_the_asyncapi_parser_takes_the_file_that_ships() -> None:
    answer = ask("asyncapi", (SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert answer == {"wrong": [], "version": "3.1.0", "channels": ["posts", "moods", "moods.dead-letter"]}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("source", [{"topics": ["a.b", "c_d-e"]}, {"topic_pattern": "(in|out)[.].*"}])
def test_the_asyncapi_parser_takes_what_follows_from_any_settings(form: str, source: dict[str, Any]) -> None:
    values = {
        "kafka": {"schema_registry_url": "http://registry.example:8081"},
        "source": source,
        "sink": {"format": form, "keep": KEEP, "include_text": True, "dead_letter_profile": "spring"},
    }
    document = asyncapi(Settings.model_validate(values), HEADS)
    answer = ask("asyncapi", as_yaml(document))
    assert (answer["wrong"], answer["channels"]) == ([], list(document["channels"]))


def test_the_asyncapi_parser_is_asked_in_earnest() -> None:
    document = asyncapi(Settings(), HEADS)
    document["operations"]["write_outputs"]["action"] = "shout"
    assert ask("asyncapi", as_yaml(document))["wrong"]


@pytest.mark.parametrize("values", [{}, {"columns": "labels"}, {"include_text": True, "offsets": "utf16"}])
def test_ajv_takes_our_outputs_and_refuses_others(values: dict[str, Any]) -> None:
    settings = sink(keep=KEEP, **values)
    layout = Layout.of(settings)
    schema = output_schema(HEADS, layout, include_text=settings.include_text)
    body = body_in(output_of(settings, KEPT).value, settings)
    answers = ask(
        "ajv", json.dumps({"schema": schema, "values": [body, body | {"new": 1}, body | {"price": "9"}]})
    )
    assert [bool(wrong) for wrong in answers] == [False, True, True]
    enveloped = sink(format="json_schema", keep=KEEP, **values)
    columns = output_columns(HEADS, layout, include_text=settings.include_text)
    message = json.loads(output_of(enveloped, KEPT).value or b"")
    connect = connect_message_schema(connect_schema(columns), as_part(schema))
    assert ask("ajv", json.dumps({"schema": connect, "values": [message, body]}))[0] == []


def as_part(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema as a part of another."""
    return {name: value for name, value in schema.items() if name not in {"$schema", "$id"}}


def test_ajv_reads_the_schema_of_the_input() -> None:
    values = [{"text": "so good", "more": 1}, {"text": " "}, {}]
    answers = ask("ajv", json.dumps({"schema": input_schema(), "values": values}))
    assert [bool(wrong) for wrong in answers] == [False, True, True]
