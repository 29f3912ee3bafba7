"""Parquet inputs, read a batch of rows at a time (extra `parquet`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from worker.errors import InputError
from worker.tables.rows import JSON, BadRow, Item, Row

_ROWS = 512


class ParquetReader:
    """Rows of one Parquet file; `position` counts bytes, in proportion to the rows read."""

    def __init__(self, path: Path, text_field: str) -> None:
        """Open the file.

        Raises:
            InputError: pyarrow is not installed, the file is no Parquet, or it has no such column.
        """
        try:
            import pyarrow as arrow  # noqa: PLC0415 - an extra, and 50 MB of memory: only for those who read Parquet
            import pyarrow.parquet as parquet  # noqa: PLC0415, PLR0402 - see above
        except ImportError:
            raise InputError(f"{path}: reading Parquet needs: pip install 'moodstream[parquet]'") from None
        self.position = 0
        self._path = path
        self._error: type[Exception] = arrow.ArrowException
        try:
            self._file: Any = parquet.ParquetFile(path)
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: is no Parquet file: {_first_line(error)}") from None
        names = self._file.schema_arrow.names
        column = text_field if text_field in names else text_field.partition(".")[0]
        if column not in names:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            raise InputError(
                f"{path}: no column `{text_field}`; there are: {shown} (choose with --text-field)"
            )
        self._columns = [column, *(["lang"] if "lang" in names and column != "lang" else [])]

    def __iter__(self) -> Iterator[Item]:
        index, total, size = 0, max(1, self._file.metadata.num_rows), self._path.stat().st_size
        try:
            for batch in self._file.iter_batches(batch_size=_ROWS, columns=self._columns):
                for record in _records(batch):
                    yield _row(index, record)
                    index += 1
                self.position = size * index // total
        except (self._error, OSError) as error:
            raise InputError(f"{self._path}: damaged after row {index}: {_first_line(error)}") from None
        finally:
            self._file.close()


def _records(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch; None for one whose text is not UTF-8, which pyarrow finds only now."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _row(index: int, record: dict[str, Any] | None) -> Row | BadRow:
    if record is None:
        return BadRow(index, index + 1, "the row is not UTF-8")
    try:
        return Row(index, index + 1, orjson.dumps(record, default=_readable), JSON)
    except TypeError:
        return BadRow(index, index + 1, "the row cannot be read as JSON")


def _readable(value: Any) -> Any:
    """Binary columns are text in many files that Spark wrote. What else is no text, decode will say."""
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
