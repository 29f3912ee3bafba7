"""Labels files with the worker's own pipeline: rows become records, and their results become lines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.messages.decode import Decoder
from worker.messages.fields import Fields
from worker.messages.places import Places
from worker.stream.pipeline import Pipeline, Result
from worker.stream.router import PackRouter
from worker.tables.keep import KeepAll
from worker.tables.open import Input
from worker.tables.rows import TEXT, BadRow, Item, Pause, Row, Wanted, from_json, to_json
from worker.types import NO_TIME, Failure, Message, Record

WINDOW_ROWS = 256
"""Rows labelled together."""

WINDOW_BYTES = 4 * 1024 * 1024
"""Maximum size of such a window in bytes (a single row may be longer)."""


class RowResult(NamedTuple):
    """What became of a row, or of one post of a row with several.

    `line` is the JSON line of its output message. Where there is none, `message` says why it could not be
    labelled, and `reason` is the code of that; both are empty for a row that is left out because nobody wants
    it labelled.
    """

    row: Row | BadRow
    line: bytes | None
    message: str = ""
    reason: str = ""

    @property
    def place(self) -> int:
        """The line of the row, in Parquet its number from 1."""
        return self.row.place

    @property
    def left_out(self) -> bool:
        """Whether `source.filter` or the preset drops it."""
        return self.line is None and not self.message


class Labeller:
    """Labels inputs as the worker labels topics, by the same pipeline.

    In the output the input's name stands for the topic, and the row's number, counted from 0, for the offset.

    Args:
        router: labels the texts.
        fields: where text and the rest lie in a row.
        keep: writes all columns of the input in front of ours; without it the output has what `fields` keeps.
    """

    def __init__(self, router: PackRouter, fields: Fields, *, keep: KeepAll | None = None) -> None:
        self._pipeline = Pipeline(decoder=Decoder(fields), router=router)
        self.keep = keep
        self.wanted = wanted_columns(fields.places)
        """What to read of a table."""
        self.heads = router.heads

    def label(self, source: Input, *, start: int = 0) -> Iterator[list[RowResult]]:
        """Read an input to its end; one list of results per window, in the order of the rows.

        Each row has at least one result. Rows before number `start` are read and not labelled.

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
                results.append(RowResult(item, None, item.reason, "bad_row"))
            else:
                results += [self._result(name, item, result) for result in next(labelled)]
        return results

    def _result(self, name: str, row: Row, result: Result) -> RowResult:
        if isinstance(result.answer, Failure):
            return RowResult(row, None, result.answer.message, result.answer.reason)
        if result.output is None or result.output.value is None:  # filtered, or the deletion of a row
            return RowResult(row, None)
        line = result.output.value + b"\n"
        kept = self._kept(name, row, result.record.value or b"")
        try:
            return RowResult(row, to_json(kept)[:-1] + b"," + line[1:] if kept else line)
        except ValueError as error:
            return RowResult(row, None, f"its columns cannot be kept: {error}", "bad_row")

    def _kept(self, name: str, row: Row, value: bytes) -> dict[str, object]:
        """Return the columns of the input for a message whose value this is."""
        if self.keep is None or row.content_type == TEXT:
            return {}
        if row.kept is not None:
            return row.kept
        try:
            body = from_json(value)
        except ValueError:  # a bare text
            return {}
        return self.keep.fields(name, body) if isinstance(body, dict) else {}


def wanted_columns(places: Places) -> Wanted:
    """Return what must be read of a table for these places."""
    others = None if places.read is None else (*sorted(places.read), "lang")
    return Wanted(places.text, places.kept, others)


def as_record(name: str, row: Row) -> Record:
    """Make the record that a row of the input `name` stands for."""
    headers = () if row.content_type is None else (("content-type", row.content_type.encode()),)
    return Record(name, 0, row.number, NO_TIME, None, row.value, headers)


def texts_of(source: Input, fields: Fields, on_bad: Callable[[int, str], None]) -> Iterator[str]:
    """Yield the texts of an input, read as `moodstream label` reads them, without labels.

    Args:
        source: the input, opened with `wanted_columns(fields.places)`.
        fields: where the text lies in a row.
        on_bad: called with the place of a row that has no text, and the reason.
    """
    decoder = Decoder(fields)
    for row in source:
        if isinstance(row, BadRow):
            on_bad(row.place, row.reason)
        elif isinstance(row, Row):
            for _, decoded in decoder.decode(as_record(source.name, row)):
                if isinstance(decoded, Message):
                    yield decoded.text
                elif isinstance(decoded, Failure):
                    on_bad(row.place, decoded.message)


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
