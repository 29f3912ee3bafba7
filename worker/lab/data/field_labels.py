"""Reading labels from a field of a table: one or several, spellings, and words for a missing label."""

import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

from worker.errors import LabelError

Many = Literal["auto", "one", "several"]

SEPARATORS = (";", "|")
"""The separators between several labels in one field."""

MAX_LABEL = 200
"""A longer label is a sign of the wrong column."""

_MISSING = frozenset({"nan", "-nan", "n/a", "#n/a", "<na>", "null", "nat"})
"""What tools write into a field without a value, in upper or lower case."""

_UNCLEAR = frozenset({"None", "NA", "-", "--", "?"})
"""What may be either a missing value or a class (of polarity, stance or region)."""

_WHOLE = re.compile(r"[+-]?\d+\.0*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_ITEM = re.compile(
    r"""\s*(?:('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|([^\s,'"()\[\]{}]+))\s*(,?)\s*""", re.DOTALL
)
_ESCAPED = re.compile(r"\\(['\"\\])")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


class LabelReader:
    """Reads fields into label names.

    `auto` takes a list (JSON's, Parquet's, or as Python and numpy print one) and a field with `;` or `|` in
    it as several labels; `several` is True once there was one. `one` takes each text unchanged as one label.
    An integer is the same label however it is written (`1`, `1.0`).
    """

    def __init__(self, many: Many = "auto") -> None:
        self._many = many
        self.several = many == "several"
        self.missing: Counter[str] = Counter()
        """How often each word for a missing label (`nan`, `N/A`) occurred."""

    def names(self, value: Any) -> tuple[str, ...] | None:
        """Return the distinct labels of one field; None if it is empty.

        An empty list is not an empty field: it means that none of the labels applies.

        Raises:
            LabelError: an object, a nested list, a label that is too long, or a word that may be either a
                label or a missing one.
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
        if text.casefold() in _MISSING:
            self.missing[text] += 1
            return None
        items = _items(text)
        if items is not None:
            return self._of_list(items)
        if self._many == "one":
            return (_name(text),)
        for separator in SEPARATORS:
            if separator in text:
                parts = [part.strip() for part in text.split(separator)]
                return self._of_list([part for part in parts if part]) or None
        if text in _UNCLEAR:
            raise LabelError(
                f"{text!r}, a class or a missing label: leave the field empty, or say that each row has one "
                "label (--labels one) to take it as a class"
            )
        return (_name(text),)

    def _of_list(self, values: Iterable[Any]) -> tuple[str, ...]:
        if self._many == "one":
            raise LabelError("a list, where each row has one label")
        self.several = True
        names = [_name(value.strip() if isinstance(value, str) else value) for value in values]
        for name in names:
            if name.casefold() in _MISSING or name in _UNCLEAR:
                raise LabelError(f"a list with {name!r} in it")
        return tuple(dict.fromkeys(filter(None, names)))


def _items(text: str) -> list[Any] | None:
    """Return the items of a list written as text, by JSON, Python (`['a', 'b']`) or numpy (`['a' 'b']`).

    None if the text is something else, since a label may be in brackets.

    Raises:
        LabelError: an object, or a list that numpy has abbreviated.
    """
    if _BRACKETS.get(text[0]) != text[-1] or len(text) < 2:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _printed_items(text)
    if isinstance(value, dict):
        raise LabelError("no label but an object")
    return value if isinstance(value, list) else None


def _printed_items(text: str) -> list[Any] | None:
    items: list[Any] = []
    quoted, commas, place = 0, 0, 1
    while place < len(text) - 1:
        found = _ITEM.match(text, place, len(text) - 1)
        if found is None:
            return None
        place = found.end()
        commas += bool(found[3])
        if found[1] is not None:
            quoted += 1
            items.append(_ESCAPED.sub(r"\1", found[1][1:-1]))
        elif _NUMBER.fullmatch(found[2]):
            items.append(float(found[2]))
        elif found[2] in {"None", "nan", "<NA>"}:
            items.append(found[2])
        elif found[2] == "...":
            raise LabelError("a list that was cut short by '...'")
        else:
            return None
    return items if quoted or commas or text[0] == "[" else None


def _name(value: Any) -> str:
    """Return a label as text, integers without a decimal point."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise LabelError(f"no label but {value}")
    if isinstance(value, float | Decimal) and value == int(value):
        return str(int(value))  # data frames store integers with gaps as floats
    if isinstance(value, int | float | Decimal):
        return str(value)
    if not isinstance(value, str):
        kinds = {dict: "an object", list: "a list", type(None): "null"}
        raise LabelError(f"no label but {kinds.get(type(value), type(value).__name__)}")
    if len(value) > MAX_LABEL:
        raise LabelError(f"a label of {len(value)} characters: is this the right column?")
    return str(int(value.partition(".")[0])) if _WHOLE.fullmatch(value) else value


def spelling_key(name: str) -> str:
    """Return a key that is equal for spellings that differ only in case, spaces or Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def respelt(rows: Iterable[Sequence[str]], known: Iterable[str] = ()) -> dict[str, str]:
    """Map labels to the `known` or most common spelling from which they differ only in case or spaces."""
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, count in Counter(name for row in rows for name in row).items():
        groups[spelling_key(name)][name] = count
    chosen = {key: min(names, key=lambda name: (-names[name], name)) for key, names in groups.items()}
    chosen |= {spelling_key(name): name for name in known}
    return {name: chosen[key] for key, names in groups.items() for name in names if name != chosen[key]}
