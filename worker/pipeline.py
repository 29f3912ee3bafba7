"""Records to output records: decode, schedule, classify, encode. No broker is needed to run it."""

import time
from collections.abc import Sequence
from typing import Protocol

from worker.classifier import Classifier
from worker.deadletter import DeadLetters
from worker.decode import decode
from worker.encode import Encoder
from worker.types import Failure, Message, OutputRecord, Prediction, Record, Tombstone


class Tally(Protocol):
    """Who counts what became of the messages. Times in seconds."""

    def stage(self, name: str, seconds: float) -> None:
        """Take the duration of one stage of one window."""
        ...

    def labelled(self, record: Record, prediction: Prediction) -> None:
        """Count a labelled message."""
        ...

    def tombstone(self, record: Record) -> None:
        """Count a null value that passed through."""
        ...

    def dead_letter(self, record: Record, failure: Failure) -> None:
        """Count a dead letter."""
        ...


class Pipeline:
    """The way of a window of records through the rooms between the two Kafka ends.

    Args:
        text_field: where the text lies in a JSON message.
        classifier: labels the texts.
        encoder: makes outputs.
        dead_letters: makes dead letters.
        tally: counts.
    """

    def __init__(
        self,
        *,
        text_field: str,
        classifier: Classifier,
        encoder: Encoder,
        dead_letters: DeadLetters,
        tally: Tally,
    ) -> None:
        self._text_field = text_field
        self._classifier = classifier
        self._encoder = encoder
        self._dead_letters = dead_letters
        self._tally = tally

    def process(self, records: Sequence[Record]) -> list[OutputRecord]:
        """Turn each record into exactly one output record, in the same order."""
        started = time.perf_counter()
        decoded = [decode(record, self._text_field) for record in records]
        self._tally.stage("decode", time.perf_counter() - started)

        messages = [item for item in decoded if isinstance(item, Message)]
        answers = iter(self._classifier.classify([message.text for message in messages]))

        started = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        outputs: list[OutputRecord] = []
        for record, item in zip(records, decoded, strict=True):
            answer = next(answers) if isinstance(item, Message) else None
            outputs.append(self._output(record, item, answer, now_ms))
        self._tally.stage("encode", time.perf_counter() - started)
        return outputs

    def _output(
        self,
        record: Record,
        item: Message | Tombstone | Failure,
        answer: Prediction | Failure | None,
        now_ms: int,
    ) -> OutputRecord:
        if isinstance(item, Tombstone):
            self._tally.tombstone(record)
            return self._encoder.passed_through(record)
        failure = item if isinstance(item, Failure) else answer
        if isinstance(item, Message) and isinstance(answer, Prediction):
            try:
                output = self._encoder.encode(record, item, answer, now_ms)
            except TypeError as error:  # what orjson raises for half a surrogate pair in an event's id
                failure = Failure(
                    "encode", "not_encodable", f"no JSON can be made: {error}", "builtins.TypeError"
                )
            else:
                self._tally.labelled(record, answer)
                return output
        if not isinstance(failure, Failure):
            raise TypeError("a message came out of the classifier without an answer")
        self._tally.dead_letter(record, failure)
        return self._dead_letters.letter(record, failure)
