"""The input's own columns in the output of `moodstream label`: under which names they stand there."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from worker.errors import InputError, printable
from worker.tables.rows import listed, unnamed

PREFIX = "input_"
"""Put in front of a column whose name is that of one of our own."""


class KeepAll:
    """Keeps and names all columns. Their names are the same for all inputs of a run.

    Args:
        ours: the names of our own columns, which no kept column may take.
        repeated: the column with the text, which is left out because the output has it as `text`.
        hidden: columns that contain the text, and are left out because the output does not have it; None if
            that may be any of them.
        without_text: the output does not have the text.
    """

    def __init__(
        self,
        ours: Collection[str],
        *,
        repeated: str | None = None,
        hidden: Collection[str] | None = (),
        without_text: bool = False,
    ) -> None:
        self._ours = frozenset(ours)
        self._left_out = frozenset(hidden or ()) | ({repeated} if repeated is not None else set())
        self._nothing = hidden is None
        self._repeated = repeated
        self._without_text = without_text
        self._names: dict[str, str] = {}
        self._columns: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names that have been given so far, in their order."""
        return tuple(self._names.values())

    def columns(self, name: str, available: Sequence[str], _has: Callable[[str], bool]) -> dict[str, str]:
        """Name the columns of a table: each that is kept, with its name in the output.

        Raises:
            InputError: two columns would have one name.
        """
        return {
            column: self._named(column or unnamed(available.index(column), available), name)
            for column in ([] if self._nothing else available)
            if column not in self._left_out
        }

    def fields(self, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Choose from a JSON object: its fields under their names in the output.

        Raises:
            InputError: two fields would have one name.
        """
        if self._nothing:
            return {}
        hidden = self._text_of_event(record) if "specversion" in record else ()
        return {
            self._named(field or "column", name): value
            for field, value in record.items()
            if field not in self._left_out and field not in hidden
        }

    def _named(self, column: str, source: str) -> str:
        known = self._names.get(column)
        return self._add(column, source) if known is None else known

    def _add(self, column: str, source: str) -> str:
        """Give a column its name.

        Raises:
            InputError: it is taken.
        """
        # A name with half a surrogate pair, which JSON can have, cannot be written in other formats.
        name = column.encode("utf-8", "backslashreplace").decode()
        if name in self._ours:
            name = PREFIX + name
        other = self._columns.get(name)
        if name in self._ours or other is not None:
            whose = "one of moodstream's own" if other is None else f"that of '{printable(other)}'"
            raise InputError(
                f"{printable(source)}: the column '{printable(column)}' cannot be called "
                f"'{printable(name)}' in the output, which is {whose}: choose with --keep "
                "'COLUMN as NAME,…', or use --no-keep"
            )
        self._names[column], self._columns[name] = name, column
        return name

    def _text_of_event(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the fields of a CloudEvent in structured mode that are, or contain, the text."""
        data = record.get("data")
        if not self._without_text and isinstance(data, dict) and set(data) != {self._repeated}:
            return ("data_base64",)
        return ("data", "data_base64")


class KeepSome:
    """Keeps some columns of Parquet files, so that they can be copied with their types.

    Args:
        names: the columns, and their names in the output.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def columns(self, name: str, available: Sequence[str], has: Callable[[str], bool]) -> dict[str, str]:
        """Return the columns with their names; see `KeepAll.columns`.

        Raises:
            InputError: one of them is not there.
        """
        for column in self._names:
            if not has(column):
                raise no_column_to_keep(name, (column,), available)
        return self._names


def no_column_to_keep(name: str, ways: Sequence[str], available: Sequence[str]) -> InputError:
    """Make the error for a field to keep that is in none of these columns."""
    wanted = printable(" | ".join(ways))
    return InputError(f"{printable(name)}: no column '{wanted}' to keep; there are: {listed(available)}")
