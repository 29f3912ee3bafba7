"""The output message as a model of types, and its JSON Schema.

`moodstream model schema` prints it for any pack; `schemas/` holds it for the bundled one.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from worker.messages.columns import MULTI_LABEL, HeadLike, SpanColumn, TextColumns, head_columns
from worker.messages.encode import SCHEMA_VERSION

Probability = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0)]


class OutputBase(BaseModel):
    """The fields of an output message that no pack changes."""

    model_config = ConfigDict(extra="forbid", title="Moodstream output message")

    event_id: str = Field(
        description="Deterministic: `source#id` of a CloudEvent, else `topic:partition:offset`. "
        "A replay gives the same, so a table that keeps one row an event_id is safe from doubles."
    )
    event_time_ms: int = Field(
        ge=0, description="When it happened: the event's or the record's time. Unix ms."
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


def output_model(heads: Sequence[HeadLike]) -> type[OutputBase]:
    """Make the model of an output message for a pack with these heads."""
    fields: dict[str, Any] = {}
    for head, columns in zip(heads, head_columns(heads), strict=True):
        if isinstance(columns, SpanColumn):
            ranges = f"Ranges of the text that {head.name} marks: start and end (exclusive), in code points."
            fields[columns.column] = (list[tuple[Place, Place]], Field(description=ranges))
        else:
            fields |= _judgement(head, columns)
    return create_model("OutputMessage", __base__=OutputBase, **fields)


def _judgement(head: HeadLike, columns: TextColumns) -> dict[str, Any]:
    """Make the fields of a head that judges whole texts."""
    fields: dict[str, Any] = {}
    strongest: Any = Literal.__getitem__(tuple(head.labels))
    fields[columns.label] = (strongest, Field(description=f"Strongest label of {head.name}."))
    fields[columns.score] = (Probability, Field(description="Its probability."))
    if head.problem_type == MULTI_LABEL:
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


def output_schema(heads: Sequence[HeadLike]) -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of an output message for a pack with these heads."""
    schema = output_model(heads).model_json_schema()
    schema.pop("description", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:moodstream:output:v{SCHEMA_VERSION}",
        **schema,
    }
