"""The input's own columns in the output of `moodstream label`: which of them, and under which names."""

import csv
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from worker.errors import InputError, printable
from worker.tables.lines import field_at
from worker.tables.rows import unnamed

PREFIX = "input_"
"""Put in front of a column whose name is that of one of our own."""

_RENAMED = re.compile(r"(?P<column>.+?)\s+as\s+(?P<name>\S+)\s*")


class Wanted(NamedTuple):
    """A column to keep. `name` is its name in the output; "" leaves it to `Keep`."""

    column: str
    name: str = ""


def wanted_columns(texts: Sequence[str]) -> list[Wanted]:
    """Read the values of `--keep`: names with commas between, each with or without `as OTHER`.

    A name that contains a comma stands in double quotes.

    Raises:
        InputError: a name is empty.
    """
    found = []
    for text in texts:
        for part in next(csv.reader([text], skipinitialspace=True), []):
            renamed = _RENAMED.fullmatch(part.strip())
            found.append(Wanted(renamed["column"], renamed["name"]) if renamed else Wanted(part.strip()))
    if not found or not all(each.column for each in found):
        raise InputError("--keep: a name is empty; write it as in --keep product,'author.name as author'")
    return found


class Keep:
    """Chooses and names the columns that are kept. The choice is the same for all inputs of a run.

    Args:
        ours: the names of our own columns, which no kept column may take.
        text_field: where the text is. Its column is not repeated, since the output has it as `text`.
        include_text: the output has the text. Without it, columns that contain the text are left out.
        wanted: the columns to keep; None for all.
    """

    def __init__(
        self,
        ours: Collection[str],
        *,
        text_field: str,
        include_text: bool = True,
        wanted: Sequence[Wanted] | None = None,
    ) -> None:
        self._ours = frozenset(ours)
        self._text_field = text_field
        self._include_text = include_text
        self._holds_text = {text_field}
        if not include_text:
            self._holds_text |= {path.strip().partition(".")[0] for path in re.split("[,|]", text_field)}
        self._wanted = wanted
        self._paths = [(each.column, each.column.split(".")) for each in wanted or ()]
        self._names: dict[str, str] = {}
        self._columns: dict[str, str] = {}
        self.missing = {each.column for each in wanted or ()}
        """Wanted fields that no row has had so far."""
        for each in wanted or ():
            self._add(each.column, each.name, "--keep")

    def columns(self, name: str, available: Sequence[str], has: Callable[[str], bool]) -> dict[str, str]:
        """Choose from the columns of a table: each kept column with its name in the output.

        `available` are its columns in their order; `has` says whether there is one that was asked for.

        Raises:
            InputError: a wanted column is not there, or two columns would have one name.
        """
        if self._wanted is None:
            chosen = [column for column in available if column not in self._holds_text]
        else:
            chosen = [each.column for each in self._wanted]
            for column in chosen:
                if not has(column):
                    shown = ", ".join(printable(each) for each in available[:12])
                    raise InputError(
                        f"{printable(name)}: no column '{printable(column)}' to keep; there are: {shown}"
                    )
        self.missing.difference_update(chosen)
        return {
            column: self._named(column or unnamed(available.index(column), available), name)
            for column in chosen
        }

    def fields(self, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Choose from a JSON object: its fields under their names in the output.

        A wanted field that the object does not have is None.

        Raises:
            InputError: two fields would have one name.
        """
        if self._wanted is not None:
            found = {}
            for column, steps in self._paths:
                value = field_at(record, column, steps)
                if value is not None:
                    self.missing.discard(column)
                found[self._names[column]] = value
            return found
        hidden = self._text_of_event(record) if "specversion" in record else ()
        return {
            self._named(field or "column", name): value
            for field, value in record.items()
            if field not in self._holds_text and field not in hidden
        }

    def _named(self, column: str, source: str) -> str:
        known = self._names.get(column)
        return self._add(column, "", source) if known is None else known

    def _add(self, column: str, asked: str, source: str) -> str:
        """Give a column its name.

        Raises:
            InputError: it is taken.
        """
        name = asked or column
        if self._wanted is not None and not asked and "." in column:
            name = column.rpartition(".")[2] or column
        # A name with half a surrogate pair, which JSON can have, cannot be written in other formats.
        name = name.encode("utf-8", "backslashreplace").decode()
        if name in self._ours and not asked:
            name = PREFIX + name
        other = self._columns.get(name)
        if name in self._ours or (other is not None and other != column):
            whose = "one of moodstream's own" if other is None else f"that of '{printable(other)}'"
            raise InputError(
                f"{printable(source)}: the column '{printable(column)}' cannot be called "
                f"'{printable(name)}' in the output, which is {whose}: choose with --keep 'NAME as OTHER,…', "
                "or use --no-keep"
            )
        self._names[column], self._columns[name] = name, column
        return name

    def _text_of_event(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the fields of a CloudEvent in structured mode that are, or contain, the text."""
        data = record.get("data")
        if self._include_text and isinstance(data, dict) and set(data) != {self._text_field}:
            return ("data_base64",)
        return ("data", "data_base64")
