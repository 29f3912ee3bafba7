"""Labels files with the worker's own pipeline: rows become records, and their results become lines."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.expressions import column_of
from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.stream.pipeline import Pipeline
from worker.stream.router import PackRouter
from worker.tables.open import Input
from worker.tables.rows import BadRow, Item, Pause, Row
from worker.types import NO_TIME, Failure, Record

WINDOW_ROWS = 256
"""Rows labelled together."""

WINDOW_BYTES = 4 * 1024 * 1024
"""Maximum size of such a window in bytes (a single row may be longer)."""


class RowResult(NamedTuple):
    """What became of a row: the JSON line of its output message, or why there is none."""

    row: Row | BadRow
    line: bytes | None
    reason: str = ""

    @property
    def place(self) -> int:
        """The line of the row, in Parquet its number from 1."""
        return self.row.place


class Labeller:
    """Labels inputs as the worker labels topics, by the same pipeline.

    In the output the input's name stands for the topic, and the row's number, counted from 0, for the offset.
    """

    def __init__(self, router: PackRouter, *, text_field: str) -> None:
        fields = Fields.at(text_field)
        self._pipeline = Pipeline(decoder=Decoder(fields), router=router)
        self.text_field = column_of(text_field)
        self.heads = router.heads

    def label(self, source: Input, *, start: int = 0) -> Iterator[list[RowResult]]:
        """Read an input to its end; one list of results per window, in the order of the rows.

        Rows before number `start` are read and not labelled.

        Raises:
            InputError: the input breaks off. Results for everything read before have been yielded.
        """
        for window in _windows(source, start):
            yield self._results(source.name, window)

    def _results(self, name: str, window: Sequence[Row | BadRow]) -> list[RowResult]:
        rows = [item for item in window if isinstance(item, Row)]
        labelled = iter(self._pipeline.process([as_record(name, row) for row in rows]).results)
        results: list[RowResult] = []
        for item in window:
            if isinstance(item, BadRow):
                results.append(RowResult(item, None, item.reason))
                continue
            for result in next(labelled):
                if isinstance(result.answer, Failure):
                    results.append(RowResult(item, None, result.answer.message))
                elif result.output is not None:
                    results.append(RowResult(item, (result.output.value or b"") + b"\n"))
        return results


def as_record(name: str, row: Row) -> Record:
    """Make the record that a row of the input `name` stands for."""
    headers = () if row.content_type is None else (("content-type", row.content_type.encode()),)
    return Record(name, 0, row.number, NO_TIME, None, row.value, headers)


def _windows(items: Iterable[Item], start: int) -> Iterator[list[Row | BadRow]]:
    """Gather rows until there are enough, or until no more arrive for now."""
    window: list[Row | BadRow] = []
    size = 0
    for item in items:
        if not isinstance(item, Pause):
            if item.number < start:
                continue
            window.append(item)
            size += len(item.value) if isinstance(item, Row) else 0
            if len(window) < WINDOW_ROWS and size < WINDOW_BYTES:
                continue
        if window:
            yield window
            window, size = [], 0
    if window:
        yield window
