"""Comma-separated inputs: `.csv` and `.tsv`."""

import csv
from collections.abc import Iterable, Iterator

import orjson

from worker.errors import InputError
from worker.tables.lines import MAX_LINE_BYTES, Line
from worker.tables.rows import JSON, BadRow, Item, Row

_DELIMITERS = (",", ";", "\t")


def table_rows(name: str, lines: Iterable[Line | None], text_field: str) -> Iterator[Item]:
    """Make each record a row, with the columns of the header as fields.

    The delimiter is the comma, or the semicolon or tab when only that makes `text_field` a column. Quotes
    are taken strictly: a quote that never closes is a bad row, and does not swallow the rows behind it
    unseen.

    Raises:
        InputError: there is no header, or no column of that name in it.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    texts = _texts(lines)
    first = next(texts, None)
    if first is None:
        raise InputError(f"{name}: is empty; a table begins with a line of column names")
    columns, delimiter = _header(name, first, text_field)
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    index, place = 0, 2
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(index, place, f"the row is no CSV: {error}")
        else:
            if not record:
                place = reader.line_num + 2
                continue
            yield _row(index, place, columns, record)
        index, place = index + 1, reader.line_num + 2


def _texts(lines: Iterable[Line | None]) -> Iterator[str]:
    """Text with line ends, as the csv module wants it. Bytes that are no UTF-8 survive for `_row` to see."""
    for line in lines:
        if line is not None:
            # A line that was too long to keep is a field that the csv module refuses for its length.
            value = line.value if line.value is not None else b"x" * (MAX_LINE_BYTES + 1)
            encoding = "utf-8-sig" if line.number == 1 else "utf-8"
            yield value.decode(encoding, "surrogateescape") + "\n"


def _header(name: str, line: str, text_field: str) -> tuple[list[str], str]:
    seen: list[str] = []
    for delimiter in _DELIMITERS:
        columns = [column.strip() for column in next(csv.reader([line], delimiter=delimiter), [])]
        if text_field in columns:
            return columns, delimiter
        seen = max(seen, columns, key=len)
    shown = ", ".join(seen[:12]) + (", …" if len(seen) > 12 else "")
    raise InputError(f"{name}: no column `{text_field}`; there are: {shown} (choose with --text-field)")


def _row(index: int, place: int, columns: list[str], record: list[str]) -> Row | BadRow:
    if len(record) != len(columns):
        # An unquoted comma inside a text looks like this, and would cut the text.
        return BadRow(index, place, f"the row has {len(record)} fields, the header {len(columns)}")
    try:
        return Row(index, place, orjson.dumps(dict(zip(columns, record, strict=True))), JSON)
    except TypeError:
        return BadRow(index, place, "the row is not UTF-8")
