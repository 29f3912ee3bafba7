"""What every format's reader hands on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from worker.errors import TrainingError

SHOWN = 12
"""Names that an error lists at most."""


class Cells(NamedTuple):
    """The wanted fields of one row. `place` says where it stands: `line 7`, in Parquet `row 7`."""

    place: str
    values: tuple[Any, ...]


class BadRow(NamedTuple):
    """A row that is none. `reason` never holds its text."""

    place: str
    reason: str


class Table(Protocol):
    """An opened table; its rows may be read several times."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Its columns; of JSON lines the fields that the first rows have."""
        ...

    def rows(self, names: Sequence[str]) -> Iterator[Cells | BadRow]:
        """Yield these columns of every row, in bounded memory. Raises TrainingError where it breaks off."""
        ...


def listed(names: Sequence[str]) -> str:
    """Return names for an error, not all of them where there are many."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def need_columns(path: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise TrainingError for a wanted column that is not there; the line names those that are."""
    for name in wanted:
        if name not in columns:
            raise TrainingError(f"{path}: no column {name!r}; there are: {listed(columns)}")
