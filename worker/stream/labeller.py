"""Rows to output messages: decode, classify and encode, without a broker."""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from worker.messages.decode import decode
from worker.stream.router import Desks
from worker.tables.open import Input
from worker.tables.rows import BadRow, Item, Pause, Row
from worker.types import Failure, Message, Record

WINDOW_ROWS = 256
"""Rows labelled together."""

WINDOW_BYTES = 4 * 1024 * 1024
"""Their bytes, at most (one row may be longer)."""


class Answer(NamedTuple):
    """What became of a row: the JSON line of its output message, or why there is none."""

    place: int
    line: bytes | None
    reason: str = ""


class Labeller:
    """Labels inputs as the worker labels topics: the same decoding, the same packs, the same fields.

    In the output the input's name stands for the topic, and the row's number, counted from 0, for the offset.
    """

    def __init__(self, desks: Desks, *, text_field: str) -> None:
        self._desks = desks
        self.text_field = text_field

    def label(self, source: Input) -> Iterator[list[Answer]]:
        """Read an input to its end; one list of answers a window, in the order of the rows.

        Raises:
            InputError: the input breaks off. What was read before has been answered.
        """
        for window in _windows(source):
            yield self._answer(source.name, window)

    def _answer(self, name: str, window: list[Row | BadRow]) -> list[Answer]:
        decoded: list[Message | Failure] = [self._decode(name, item) for item in window]
        labelled = iter(self._desks.label([item for item in decoded if isinstance(item, Message)]))
        now_ms = time.time_ns() // 1_000_000
        answers: list[Answer] = []
        for item, found in zip(window, decoded, strict=True):
            if isinstance(found, Failure):
                answers.append(Answer(item.place, None, found.message))
                continue
            message, answer, encoder = next(labelled)
            if isinstance(answer, Failure):
                answers.append(Answer(item.place, None, answer.message))
                continue
            output = encoder.encode(_record(name, item), message, answer, now_ms)
            answers.append(Answer(item.place, (output.value or b"") + b"\n"))
        return answers

    def _decode(self, name: str, item: Row | BadRow) -> Message | Failure:
        if isinstance(item, BadRow):
            return Failure("decode", "bad_row", item.reason, "worker.errors.UnreadableRow")
        decoded = decode(_record(name, item), self.text_field)
        if isinstance(decoded, Message | Failure):
            return decoded
        return Failure("decode", "no_value", "the row has no value", "worker.errors.UnreadableRow")


def _record(name: str, item: Row | BadRow) -> Record:
    value = item.value if isinstance(item, Row) else b""
    kind = item.content_type if isinstance(item, Row) else None
    headers = () if kind is None else (("content-type", kind.encode()),)
    return Record(name, 0, item.number, -1, None, value, headers)


def _windows(items: Iterable[Item]) -> Iterator[list[Row | BadRow]]:
    """Gather rows until there are enough, or none arrives for now."""
    window: list[Row | BadRow] = []
    size = 0
    for item in items:
        if not isinstance(item, Pause):
            window.append(item)
            size += len(item.value) if isinstance(item, Row) else 0
            if len(window) < WINDOW_ROWS and size < WINDOW_BYTES:
                continue
        if window:
            yield window
            window, size = [], 0
    if window:
        yield window
