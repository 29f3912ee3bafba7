"""The labels in a field: one, or several."""

import json
import math
from collections.abc import Iterable
from typing import Any, Literal

from worker.errors import LabelError

Many = Literal["auto", "one", "several"]

SEPARATORS = (";", "|")
"""What stands between several labels in one field."""

MAX_LABEL = 200
"""A longer label is a sign of the wrong column."""


class LabelReader:
    """Reads fields into label names.

    `auto` takes a field with `;` or `|` in it, or a list (JSON's or Parquet's), as several labels, and
    `several` says afterwards whether there was any. `one` takes each text as it stands.
    """

    def __init__(self, many: Many = "auto") -> None:
        self._many = many
        self.several = many == "several"

    def names(self, value: Any) -> tuple[str, ...] | None:
        """Return the labels of one field, without copies; None where it is empty.

        An empty list is no empty field: it says that none of the labels holds.

        Raises:
            LabelError: an object, a list within a list, or a label beyond all measure.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str):
            return self._of_text(value.strip())
        if isinstance(value, list | tuple):
            return self._of_list(value)
        return (_name(value),)

    def _of_text(self, text: str) -> tuple[str, ...] | None:
        if not text:
            return None
        if self._many == "one":
            return (_name(text),)
        if text.startswith("[") and text.endswith("]"):
            try:
                return self._of_list(json.loads(text))
            except ValueError:
                pass  # a label may be written in brackets
        for separator in SEPARATORS:
            if separator in text:
                parts = [part.strip() for part in text.split(separator)]
                return self._of_list([part for part in parts if part]) or None
        return (_name(text),)

    def _of_list(self, values: Iterable[Any]) -> tuple[str, ...]:
        if self._many == "one":
            raise LabelError("a list, where each row has one label")
        self.several = True
        names = [_name(value.strip() if isinstance(value, str) else value) for value in values]
        return tuple(dict.fromkeys(filter(None, names)))


def _name(value: Any) -> str:
    """Return a label as text: numbers as people write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # what data frames make of a column of whole numbers with gaps
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "null"
        raise LabelError(f"no label but {kind}")
    if len(value) > MAX_LABEL:
        raise LabelError(f"a label of {len(value)} characters: is this the right column?")
    return value
