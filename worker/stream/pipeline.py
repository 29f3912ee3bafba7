"""Records to output records: decode, label, encode. Topics and files both take this path."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.messages.deadletter import DeadLetters
from worker.messages.decode import decode
from worker.messages.fields import Fields
from worker.model.classifier import Listener, Silent
from worker.stream.router import LabelledMessage, PackRouter
from worker.types import Answer, Failure, Filtered, Message, OutputRecord, Record, Tombstone


class Result(NamedTuple):
    """What became of one record, and what to write.

    `output` is None for a filtered record, and for a failure when there are no dead letters.
    """

    answer: Answer
    output: OutputRecord | None


@dataclass(frozen=True, slots=True)
class Processed:
    """The results of a window, one for each record in order: what to write (if anything), and the answers."""

    outputs: list[OutputRecord | None]
    answers: list[Answer]

    @property
    def written(self) -> list[OutputRecord]:
        """The outputs that there are."""
        return [output for output in self.outputs if output is not None]


class Pipeline:
    """Takes records through decoder, router and encoder.

    Args:
        fields: where things lie in a message.
        router: labels the messages.
        dead_letters: makes dead letters; without it a failure has no output.
        listener: called with the duration of each stage.
    """

    def __init__(
        self,
        *,
        fields: Fields,
        router: PackRouter,
        dead_letters: DeadLetters | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._fields = fields
        self._router = router
        self._dead_letters = dead_letters
        self._listener: Listener = listener or Silent()

    def process(self, records: Sequence[Record]) -> Processed:
        """Turn each record into one output record, or none if it is filtered, in the same order."""
        results = self.label(records)
        return Processed([result.output for result in results], [result.answer for result in results])

    def label(self, records: Sequence[Record]) -> list[Result]:
        """Label records. Result i belongs to record i."""
        started = time.perf_counter()
        decoded = [decode(record, self._fields) for record in records]
        self._listener.stage("decode", time.perf_counter() - started)

        labelled = iter(self._router.label([item for item in decoded if isinstance(item, Message)]))

        started = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        results: list[Result] = []
        for record, item in zip(records, decoded, strict=True):
            match item:
                case Message():
                    results.append(self._encoded(record, next(labelled), now_ms))
                case Tombstone():
                    results.append(Result(item, self._router.default.encoder.passed_through(record)))
                case Filtered():
                    results.append(Result(item, None))
                case Failure():
                    results.append(self._failed(record, item))
        self._listener.stage("encode", time.perf_counter() - started)
        return results

    def _encoded(self, record: Record, labelled: LabelledMessage, now_ms: int) -> Result:
        message, answer, encoder = labelled
        if isinstance(answer, Failure):
            return self._failed(record, answer)
        try:
            return Result(answer, encoder.encode(record, message, answer, now_ms))
        except TypeError as error:  # orjson raises it for half a surrogate pair, as in the name of a file
            return self._failed(record, Failure.of("encode", "not_encodable", error))

    def _failed(self, record: Record, failure: Failure) -> Result:
        letters = self._dead_letters
        return Result(failure, None if letters is None else letters.to_dead_letter(record, failure))
