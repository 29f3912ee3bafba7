"""Parquet, a batch of rows at a time (extra `parquet`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from worker.errors import TrainingError
from worker.lab.data.tables.rows import BadRow, Cells, need_columns

_ROWS = 512


class ParquetTable:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        """Read its schema. Raises TrainingError: pyarrow is missing, or the file is none."""
        try:
            import pyarrow as arrow  # noqa: PLC0415 - of an extra
            import pyarrow.parquet as parquet  # noqa: PLC0415, PLR0402 - see above
        except ImportError:
            raise TrainingError(f"{path}: reading Parquet needs: pip install 'moodstream[parquet]'") from None
        self.path = path
        self._open = parquet.ParquetFile
        self._errors: tuple[type[Exception], ...] = (arrow.ArrowException, OSError)
        with self._opened() as file:
            self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)

    def rows(self, names: Sequence[str]) -> Iterator[Cells | BadRow]:
        """Yield these columns of every row."""
        need_columns(self.path, self.columns, names)
        number = 0
        with self._opened() as file:
            try:
                for batch in file.iter_batches(batch_size=_ROWS, columns=list(names)):
                    for record in _records(batch):
                        number += 1
                        place = f"row {number}"
                        if record is None:
                            yield BadRow(place, "is not UTF-8")
                        else:
                            yield Cells(place, tuple(record[name] for name in names))
            except self._errors as error:
                raise TrainingError(
                    f"{self.path}: damaged after row {number}: {_first_line(error)}"
                ) from error

    def _opened(self) -> Any:
        try:
            return self._open(self.path)
        except self._errors as error:
            raise TrainingError(f"{self.path}: is no Parquet file: {_first_line(error)}") from error


def _records(batch: Any) -> "Iterator[dict[str, Any] | None]":
    """The rows of a batch; None for one whose text is not UTF-8, which pyarrow finds only now."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
