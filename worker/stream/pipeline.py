"""Records to output records: decode, schedule, classify, encode. No broker is needed to run it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from worker.messages.deadletter import DeadLetters
from worker.messages.decode import decode
from worker.model.classifier import Listener, Silent
from worker.stream.router import Desks, Labelled
from worker.types import Failure, Message, OutputRecord, Prediction, Record, Skipped, Tombstone

Answer = Prediction | Tombstone | Failure | Skipped


@dataclass(frozen=True, slots=True)
class Processed:
    """What became of a window: for each record one output, and the answer that it came from."""

    outputs: list[OutputRecord]
    answers: list[Answer]


class Pipeline:
    """The way of a window of records through the rooms between the two Kafka ends.

    Args:
        text_field: where the text lies in a JSON message.
        desks: label the messages.
        dead_letters: makes dead letters.
        listener: told what each stage cost.
    """

    def __init__(
        self,
        *,
        text_field: str,
        desks: Desks,
        dead_letters: DeadLetters,
        listener: Listener | None = None,
    ) -> None:
        self._text_field = text_field
        self._desks = desks
        self._dead_letters = dead_letters
        self._listener: Listener = listener or Silent()

    def process(self, records: Sequence[Record]) -> Processed:
        """Turn each record into exactly one output record, in the same order."""
        started = time.perf_counter()
        decoded = [decode(record, self._text_field) for record in records]
        self._listener.stage("decode", time.perf_counter() - started)

        labelled = iter(self._desks.label([item for item in decoded if isinstance(item, Message)]))

        started = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        processed = Processed([], [])
        for record, item in zip(records, decoded, strict=True):
            output, answer = (
                self._labelled(record, next(labelled), now_ms)
                if isinstance(item, Message)
                else self._unlabelled(record, item)
            )
            processed.outputs.append(output)
            processed.answers.append(answer)
        self._listener.stage("encode", time.perf_counter() - started)
        return processed

    def _labelled(self, record: Record, labelled: Labelled, now_ms: int) -> tuple[OutputRecord, Answer]:
        message, answer, encoder = labelled
        if isinstance(answer, Failure):
            return self._unlabelled(record, answer)
        try:
            return encoder.encode(record, message, answer, now_ms), answer
        except TypeError as error:  # what orjson raises for half a surrogate pair in an event's id
            reason = f"no JSON can be made of it: {error}"
            return self._unlabelled(record, Failure("encode", "not_encodable", reason, "builtins.TypeError"))

    def _unlabelled(self, record: Record, item: Tombstone | Failure) -> tuple[OutputRecord, Answer]:
        if isinstance(item, Tombstone):
            return self._desks.default.encoder.passed_through(record), item
        return self._dead_letters.letter(record, item), item
