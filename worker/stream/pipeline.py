"""Records to output records: decode, label, encode. Topics and files both take this path."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.messages.deadletter import DeadLetters
from worker.messages.decode import Decoder, Item
from worker.model.classifier import Listener, Silent
from worker.stream.router import LabelledMessage, PackRouter
from worker.types import Answer, Failure, Filtered, Message, OutputRecord, Record, Tombstone


class Result(NamedTuple):
    """What became of one message, and what to write: None if there is nothing to write.

    `record` is what holds the message: the input, or an element of the array in it as a record of its own.
    `language` is the message's language, as far as it is known.
    """

    record: Record
    answer: Answer
    output: OutputRecord | None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Processed:
    """The results of a window: for each record, in their order, those of its messages."""

    results: list[list[Result]]

    @property
    def outputs(self) -> list[OutputRecord]:
        """What to write, in order."""
        return self.outputs_of(0, len(self.results))

    @property
    def answers(self) -> list[Answer]:
        """The answers, in order."""
        return [result.answer for results in self.results for result in results]

    def outputs_of(self, start: int, stop: int) -> list[OutputRecord]:
        """What to write for the records from `start` up to `stop`."""
        return [
            result.output
            for results in self.results[start:stop]
            for result in results
            if result.output is not None
        ]


class Pipeline:
    """Takes records through decoder, router and encoder.

    Args:
        decoder: reads the records.
        router: labels the messages.
        dead_letters: makes dead letters; without it a failure has no output.
        listener: called with the duration of each stage.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        router: PackRouter,
        dead_letters: DeadLetters | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._decoder = decoder
        self._router = router
        self._dead_letters = dead_letters
        self._listener: Listener = listener or Silent()

    def process(self, records: Sequence[Record]) -> Processed:
        """Label records. Every message of a record has one result; those of record i are `results[i]`."""
        started = time.perf_counter()
        decoded = [self._decoder.decode(record) for record in records]
        self._listener.stage("decode", time.perf_counter() - started)

        messages = [item.decoded for items in decoded for item in items if isinstance(item.decoded, Message)]
        started = time.perf_counter()
        labelled = iter(self._router.label(messages))
        self._listener.stage("classify", time.perf_counter() - started)

        started = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        results = [[self._result(item, labelled, now_ms) for item in items] for items in decoded]
        self._listener.stage("encode", time.perf_counter() - started)
        return Processed(results)

    def _result(self, item: Item, labelled: Iterator[LabelledMessage], now_ms: int) -> Result:
        record, decoded = item
        match decoded:
            case Message():
                return self._encoded(record, next(labelled), now_ms)
            case Tombstone():
                return Result(record, decoded, self._router.default.encoder.passed_through(record))
            case Failure():
                return self._failed(record, decoded)
            case Filtered():
                return Result(record, decoded, None)

    def _encoded(self, record: Record, labelled: LabelledMessage, now_ms: int) -> Result:
        message, answer, encoder = labelled
        if isinstance(answer, Failure):
            return self._failed(record, answer)
        try:
            output = encoder.encode(record, message, answer, now_ms)
        except TypeError as error:  # orjson raises it for half a surrogate pair, as in the name of a file
            return self._failed(record, Failure.of("encode", "not_encodable", error))
        return Result(record, answer, output, message.lang)

    def _failed(self, record: Record, failure: Failure) -> Result:
        letters = self._dead_letters
        return Result(record, failure, None if letters is None else letters.to_dead_letter(record, failure))
