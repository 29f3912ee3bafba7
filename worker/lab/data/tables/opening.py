"""From a file's name to a table."""

from collections.abc import Sequence
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.data.tables.csv_table import CsvTable
from worker.lab.data.tables.json_table import JsonTable
from worker.lab.data.tables.parquet_table import ParquetTable
from worker.lab.data.tables.rows import Table

_CSV, _JSON, _PARQUET = (".csv", ".tsv", ".tab"), (".jsonl", ".ndjson", ".json"), (".parquet", ".pq")


def open_table(path: Path, wanted: Sequence[str] = ()) -> Table:
    """Open a CSV, JSON-lines or Parquet file, told by the end of its name; `.gz` may follow it.

    `wanted` are names of columns that it should have: they help to tell how a CSV file is separated.

    Raises:
        TrainingError: not there, a folder, unreadable, empty, or a name that tells no format: one line.
    """
    if path.is_dir():
        raise TrainingError(f"{path}: is a folder; name a file in it")
    if not path.exists():
        raise TrainingError(f"{path}: no such file")
    kind = _kind(path)
    try:
        if kind in _PARQUET:
            return ParquetTable(path)
        return JsonTable(path) if kind in _JSON else CsvTable(path, wanted)
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}") from error


def _kind(path: Path) -> str:
    ends = [end.lower() for end in path.suffixes]
    zipped = ends[-1:] == [".gz"]
    end = (ends[-2:-1] if zipped else ends[-1:]) or [""]
    known = (*_CSV, *_JSON, *_PARQUET)
    if end[0] not in known:
        raise TrainingError(
            f"{path}: the name does not tell the format (known: {' '.join(known)}, each but Parquet also .gz)"
        )
    if zipped and end[0] in _PARQUET:
        raise TrainingError(f"{path}: Parquet is read from its end: unpack it first")
    return end[0]
