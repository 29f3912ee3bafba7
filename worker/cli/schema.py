"""`moodstream schema`."""

import json
from typing import Any

import click

from worker.cli.flags import SettingsCommand, settings_flags
from worker.settings.groups import Settings
from worker.settings.load import Loaded

_OF_FORMAT = {"json": "json-schema", "cloudevents": "json-schema", "json_schema": "connect", "avro": "avro"}


@click.command(cls=SettingsCommand)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json-schema", "avro", "connect", "asyncapi"]),
    help="json-schema: JSON Schema of the flat object. avro: Avro. connect: the `schema` of Kafka Connect's "
    "JSON. asyncapi: all topics, as AsyncAPI 3.1 in YAML. By default what sink.format writes.",
)
@settings_flags(hidden=True)
def schema(form: str | None, loaded: Loaded) -> None:
    """Print the schema of the output messages that these settings give.

    The columns follow from the model pack (model.path) and from sink.include_text, sink.columns, sink.keep
    and sink.offsets. Takes --config and every flag of `moodstream run`. Nothing is connected to.

    \b
      moodstream schema --config worker.toml
      moodstream schema --config worker.toml --format asyncapi > asyncapi.yaml
      moodstream schema --sink.columns labels --sink.keep product --format avro
    """
    click.echo(_text(form or _OF_FORMAT[loaded.settings.sink.format], loaded.settings), nl=False)


def _text(form: str, settings: Settings) -> str:
    from worker.messages.asyncapi import as_yaml, asyncapi
    from worker.messages.avro_writer import avro_schema
    from worker.messages.columns import Layout
    from worker.messages.output_formats import connect_schema
    from worker.messages.schema import output_columns, output_schema
    from worker.model.several import load_packs, named_heads

    sink = settings.sink
    heads, _ = named_heads(load_packs(settings.model.path))
    if form == "asyncapi":
        return as_yaml(asyncapi(settings, heads))
    layout = Layout.of(sink)
    found: Any
    if form == "json-schema":
        found = output_schema(heads, layout, include_text=sink.include_text)
    else:
        columns = output_columns(heads, layout, include_text=sink.include_text)
        found = avro_schema(columns) if form == "avro" else connect_schema(columns)
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
