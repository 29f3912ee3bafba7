"""Inputs of one row a line: `.jsonl`, `.ndjson`, `.json`, `.txt`, and standard input."""

from collections.abc import Iterable, Iterator

from worker.files.lines import MAX_LINE_BYTES, Line
from worker.files.rows import JSON, BadRow, InputError, Item, Pause, Row

_BOM = b"\xef\xbb\xbf"


def line_rows(name: str, lines: Iterable[Line | None], content_type: str | None) -> Iterator[Item]:
    """Make each line a row. Blank lines are passed over; a byte order mark in front is dropped.

    Raises:
        InputError: JSON lines are expected and the input begins with `[`: it is one JSON document.
    """
    index = 0
    for line in lines:
        if line is None:
            yield Pause()
            continue
        if line.value is None:
            yield BadRow(index, line.number, f"the line is longer than {MAX_LINE_BYTES} bytes")
            index += 1
            continue
        value = line.value.removeprefix(_BOM) if line.number == 1 else line.value
        if not value.strip():
            continue
        if index == 0 and content_type == JSON and value.lstrip().startswith(b"["):
            raise InputError(
                f"{name}: is one JSON document, not one object a line; `jq -c '.[]' {name}` makes lines of it"
            )
        yield Row(index, line.number, value, content_type)
        index += 1
