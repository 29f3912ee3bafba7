"""The JSON form of an input message as a model, for its JSON Schema in `schemas/`.

The decoder itself does not go through it: it takes any path for the text and looks at nothing else.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class InputMessage(BaseModel):
    """A message with the text where it lies by default. Other fields are allowed and ignored."""

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
