"""Input and output messages as models, their JSON Schemas, and the columns that follow from the models.

`moodstream schema` prints those of the settings, `moodstream model schema` the output's for any settings that
keep nothing; `schemas/` holds both, for the bundled pack.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from worker.heads import Head
from worker.messages.columns import SCHEMA_VERSION, Layout, SpanColumn, TextColumns
from worker.messages.keep import KeptColumn
from worker.types import ColumnKind

Probability = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0)]


class InputMessage(BaseModel):
    """A JSON message with the text in its default place. Other fields are allowed and ignored.

    For the schema only: the decoder accepts any path to the text and ignores everything else.
    """

    model_config = ConfigDict(extra="allow", title="Moodstream input message")

    text: str = Field(pattern=r"\S", description="The text to label. `source.text_field` puts it elsewhere.")
    lang: str | None = Field(
        default=None,
        description="Language tag (BCP 47), passed on to the output when it is one. `und` and a code that "
        "stands for no language mean that it is not known.",
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
    token_count: int = Field(ge=0, description="Tokens of the text that the model read.")
    truncated: bool = Field(
        description="The text was longer than the model reads, and part of it was left out."
    )
    supported: bool | None = Field(
        default=None,
        description="False: the text is in a language that the model does not read, so that its labels mean "
        "little. Outputs from before this column lack it.",
    )
    lang: str | None = Field(
        default=None,
        description="Language tag: the message's own, else the one that `language.detect` found, `und` if it "
        "is not sure of any.",
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


_WITH_TEXT = ("text", "text_omitted")
_UNITS = {"code_points": "code points", "utf16": "UTF-16 units"}
_KEPT_TYPES: dict[str | None, Any] = {
    "string": str | None,
    "long": Annotated[int, Field(ge=-(2**63), lt=2**63)] | None,
    "double": float | None,
    "boolean": bool | None,
    None: str | bool | int | float | None,
}


def output_model(
    heads: Sequence[Head], layout: Layout | None = None, *, include_text: bool | None = None
) -> type[OutputBase]:
    """Make the model of an output message for a pack with these heads.

    Args:
        heads: the heads.
        layout: which columns are written.
        include_text: whether the text is; None allows both.

    Raises:
        SettingsError: the layout keeps a field under the name of another column.
    """
    layout = layout or Layout()
    fields: dict[str, Any] = {}
    for head, columns in zip(heads, layout.of_heads(heads), strict=True):
        if isinstance(columns, SpanColumn):
            fields |= _marks(head, columns, layout, words=include_text is not False)
        else:
            fields |= _judgement(head, columns)
    for number, column in enumerate(layout.keep):
        kind = _KEPT_TYPES[column.type]
        # By an alias: pydantic has names of its own, and takes none that begin with `_`, as Debezium's do.
        description = f"Kept from the input: {column.entry}"
        fields[f"kept_{number}"] = (kind, Field(alias=column.name, description=description))
    model = create_model("OutputMessage", __base__=OutputBase, **fields)
    if include_text is False:
        for name in _WITH_TEXT:
            del model.model_fields[name]
        model.model_rebuild(force=True)
    return model


def _marks(head: Head, columns: SpanColumn, layout: Layout, *, words: bool) -> dict[str, Any]:
    """Make the fields of a head that marks places."""
    unit = _UNITS[layout.offsets]
    ranges = f"Ranges of the text that {head.name} marks: start and end (exclusive), in {unit}."
    fields: dict[str, Any] = {columns.column: (list[tuple[Place, Place]], Field(description=ranges))}
    if words:
        description = f"What stands at the ranges of {columns.column}; only with the text itself."
        fields[columns.words] = (list[str] | None, Field(default=None, description=description))
    return fields


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
    if columns.group:
        group: Any = Literal.__getitem__(tuple(head.groups))
        fields[columns.group] = (group, Field(description=f"Strongest group of labels of {head.name}."))
        for name, column in columns.groups.items():
            description = f"Largest probability among the labels of the group `{name}`."
            fields[column] = (Probability, Field(description=description))
    return fields


def output_schema(
    heads: Sequence[Head], layout: Layout | None = None, *, include_text: bool | None = None
) -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of an output message; see `output_model` for the arguments."""
    schema = output_model(heads, layout, include_text=include_text).model_json_schema()
    schema.pop("description", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:moodstream:output:v{SCHEMA_VERSION}",
        **schema,
    }


class Column(NamedTuple):
    """A column of the output, for formats whose schemas know fewer types than JSON Schema.

    `optional` is true for all that depends on the pack or the settings: a table of another pack's output can
    then be read and written with this one's schema. `always` says that every output of these settings has it.
    """

    name: str
    kind: ColumnKind
    optional: bool
    doc: str
    always: bool


def output_columns(
    heads: Sequence[Head], layout: Layout | None = None, *, include_text: bool | None = None
) -> list[Column]:
    """Return the columns of an output message; see `output_model` for the arguments.

    A kept field without a type is a string here.
    """
    layout = layout or Layout()
    model = output_model(heads, layout, include_text=include_text)
    kept: Mapping[str, KeptColumn] = {column.name: column for column in layout.keep}
    columns = []
    for attribute, field in model.model_fields.items():
        name, always = field.alias or attribute, field.is_required()
        optional = attribute not in OutputBase.model_fields or not always
        kind = (kept[name].type or "string") if name in kept else _kind(field)
        columns.append(Column(name, kind, optional, field.description or "", always))
    return columns


def _kind(field: FieldInfo) -> Any:
    """Name the kind of a field by its annotation."""
    annotation: Any = field.annotation
    if type(None) in get_args(annotation):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        return "ranges" if get_origin(item) is tuple else "strings"
    example = type(get_args(annotation)[0]) if get_origin(annotation) is Literal else annotation
    return {str: "string", bool: "boolean", int: "long", float: "double"}[example]
