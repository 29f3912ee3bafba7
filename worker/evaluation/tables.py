"""Two columns of a table, row by row: CSV, JSON lines or Parquet."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from worker.training.errors import TrainingError

Row = tuple[int, Any, Any]
"""The row's number from 1 (the header not counted), its text, its label."""


def read_rows(path: Path, text: str, label: str) -> Iterator[Row]:
    """Yield the two columns of every row, without holding the file in memory.

    Raises:
        TrainingError: no such file or column, a name that tells no format, a row that is none: one line.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _jsonl}
    readers |= {".parquet": _parquet, ".pq": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TrainingError(f"{path}: the name does not tell the format (known: {' '.join(readers)})")
    try:
        yield from reader(path, text, label)
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: is not UTF-8 ({error.reason})") from error


def _csv(path: Path, text: str, label: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max((",", ";", "\t"), key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            places = [_place(path, header, name) for name in (text, label)]
            number = 0
            for record in reader:
                if not record:
                    continue
                number += 1
                if len(record) != len(header):
                    _bad(path, number, f"{len(record)} fields, the header has {len(header)}")
                yield number, record[places[0]], record[places[1]]
        except csv.Error as error:
            raise TrainingError(f"{path}, line {reader.line_num}: {error}") from error


def _jsonl(path: Path, text: str, label: str) -> Iterator[Row]:
    with path.open("rb") as file:
        number = 0
        for line in file:
            if not line.strip():
                continue
            number += 1
            try:
                record = json.loads(line)
            except ValueError as error:
                _bad(path, number, f"not JSON: {error}")
            if not isinstance(record, dict):
                _bad(path, number, "no JSON object")
            for name in (text, label):
                if name not in record:
                    _bad(path, number, f"no field {name!r}; there are: {', '.join(list(record)[:12])}")
            yield number, record[text], record[label]


def _parquet(path: Path, text: str, label: str) -> Iterator[Row]:
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet as parquet  # noqa: PLC0415, PLR0402 - as above
    except ImportError:
        raise TrainingError(f"{path}: reading Parquet needs: pip install 'moodstream[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            for name in (text, label):
                _place(path, file.schema_arrow.names, name)
            number = 0
            for batch in file.iter_batches(batch_size=512, columns=[text, label]):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record[text], record[label]
    except arrow.ArrowException as error:
        raise TrainingError(
            f"{path}: is no sound Parquet file: {str(error).partition(chr(10))[0]}"
        ) from error


def _place(path: Path, names: list[str], wanted: str) -> int:
    if wanted not in names:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise TrainingError(f"{path}: no column {wanted!r}; there are: {shown}")
    return names.index(wanted)


def _bad(path: Path, number: int, why: str) -> NoReturn:
    raise TrainingError(f"{path}, row {number}: {why}")
