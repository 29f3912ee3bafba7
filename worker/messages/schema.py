"""Input and output messages as models, and their JSON Schemas.

`moodstream model schema` prints the output's for any pack; `schemas/` holds both, for the bundled pack.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from worker.heads import Head
from worker.messages.columns import SpanColumn, TextColumns, head_columns
from worker.messages.encode import SCHEMA_VERSION

Probability = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0)]


class InputMessage(BaseModel):
    """A JSON message with the text in its default place. Other fields are allowed and ignored.

    For the schema only: the decoder accepts any path to the text and ignores everything else.
    """

    model_config = ConfigDict(extra="allow", title="Moodstream input message")

    text: str = Field(pattern=r"\S", description="The text to label. `source.text_field` puts it elsewhere.")
    lang: str | None = Field(
        default=None, description="Language tag (BCP 47), passed on to the output when it is one."
    )


def input_schema() -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of an input message in its JSON form."""
    schema = InputMessage.model_json_schema()
    schema.pop("description", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:moodstream:input:v1",
        **schema,
    }


class OutputBase(BaseModel):
    """The fields of an output message that are the same for every pack."""

    model_config = ConfigDict(extra="forbid", title="Moodstream output message")

    event_id: str = Field(
        description="Deterministic: `source#id` of a CloudEvent (a `#` in the source is written `%23`), else "
        "`topic:partition:offset`. A replay gives the same one, so a table that keeps one row per event_id "
        "holds no duplicates."
    )
    event_time_ms: int = Field(
        description="When it happened: the event's or the record's time, as it was given. Unix ms."
    )
    processed_time_ms: int = Field(ge=0, description="When it was labelled. Unix ms.")
    token_count: int = Field(ge=0, description="Tokens that the model read.")
    truncated: bool = Field(description="The text was longer than the model reads, and was cut.")
    lang: str | None = Field(
        default=None,
        description="Language tag: the message's own, else the one that `language.detect` found.",
    )
    model: str = Field(pattern=r"^.+@[0-9a-f]{12}$", description="`name@revision` of the model pack.")
    source_topic: str = Field(description="Topic of the input.")
    source_partition: int = Field(ge=0, description="Partition of the input.")
    source_offset: int = Field(ge=0, description="Offset of the input.")
    schema_version: Literal[1] = Field(description="Version of this schema.")
    text: str | None = Field(default=None, description="The text itself; only with `sink.include_text`.")
    text_omitted: Literal[True] | None = Field(
        default=None,
        description="The text was to be here and was left out, because the topic takes no record so large.",
    )


def output_model(heads: Sequence[Head]) -> type[OutputBase]:
    """Make the model of an output message for a pack with these heads."""
    fields: dict[str, Any] = {}
    for head, columns in zip(heads, head_columns(heads), strict=True):
        if isinstance(columns, SpanColumn):
            ranges = f"Ranges of the text that {head.name} marks: start and end (exclusive), in code points."
            fields[columns.column] = (list[tuple[Place, Place]], Field(description=ranges))
        else:
            fields |= _judgement(head, columns)
    return create_model("OutputMessage", __base__=OutputBase, **fields)


def _judgement(head: Head, columns: TextColumns) -> dict[str, Any]:
    """Make the fields of a head that judges whole texts."""
    fields: dict[str, Any] = {}
    strongest: Any = Literal.__getitem__(tuple(head.labels))
    fields[columns.label] = (strongest, Field(description=f"Strongest label of {head.name}."))
    fields[columns.score] = (Probability, Field(description="Its probability."))
    if head.multi_label:
        description = "Labels that pass their own thresholds, strongest first; may be empty."
        fields[columns.passed] = (list[strongest], Field(description=description))
    for label, column in columns.scores.items():
        fields[column] = (Probability, Field(description=f"Probability of `{label}`."))
    if columns.groups:
        group: Any = Literal.__getitem__(tuple(columns.groups))
        fields[columns.group] = (group, Field(description=f"Strongest group of labels of {head.name}."))
        for name, column in columns.groups.items():
            description = f"Largest probability among the labels of the group `{name}`."
            fields[column] = (Probability, Field(description=description))
    return fields


def output_schema(heads: Sequence[Head]) -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of an output message for a pack with these heads."""
    schema = output_model(heads).model_json_schema()
    schema.pop("description", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:moodstream:output:v{SCHEMA_VERSION}",
        **schema,
    }
