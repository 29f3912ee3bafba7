"""What every group of settings is built on, and how its mistakes are raised."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError


class Place(NamedTuple):
    """A part of a value, on one line, and the column in it where something is wrong."""

    shown: str
    column: int


class WrongValue(ValueError):
    """A value that a validator refuses.

    Args:
        message: what is wrong, so that it can follow the quoted value: `is not a topic name`.
        value: the part that is wrong; all that the validator was given when None.
        place: where in the value the mistake is, for a caret.
    """

    def __init__(self, message: str, value: str | None = None, place: Place | None = None) -> None:
        super().__init__(message)
        self.value = value
        self.place = place


class Conflict(NamedTuple):
    """A mistake and the settings that make it, by their dotted names; the first is the one to look at.

    `value` is the part of that setting which is wrong, where there is one to quote in front of `message`.
    """

    settings: tuple[str, ...]
    message: str
    value: str | None = None


CONFLICT = "settings_conflict"
"""The type by which pydantic's error list shows what `refuse` raised."""


def refuse(conflicts: Iterable[Conflict]) -> None:
    """Raise when there are any, from inside a validator.

    Raises:
        PydanticCustomError: of type `CONFLICT`; its context holds the list as `conflicts`.
    """
    found = list(conflicts)
    if found:
        text = "; ".join(f"{conflict.settings[0]} {conflict.message}" for conflict in found)
        raise PydanticCustomError(CONFLICT, "{text}", {"text": text, "conflicts": found})


class Group(BaseModel):
    """A group of settings. An unknown name is a mistake, never ignored."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        # `slot = 0` in a TOML file means "0".
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        # What is wrong may be a password in the wrong place.
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_other_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true` for a number and a number for true or false: pydantic takes one for the other."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
            kind = "int_type" if int in kinds else "float_type"
            raise PydanticCustomError(kind, "is not a number")
        if isinstance(value, int | float) and not isinstance(value, bool) and kinds <= {bool, type(None)}:
            raise PydanticCustomError("bool_type", "is neither true nor false")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(self.conflicts())
        return self

    def conflicts(self) -> Iterable[Conflict]:
        """What does not fit together within the group."""
        return ()
