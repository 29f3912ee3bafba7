"""Makes outputs acceptable to their topics: not too large, with a valid timestamp, with a key if needed.

Every change is marked in the record, so that the original can be found.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from worker.errors import KeyMissing, MessageError, OutputTooLarge, RefusedByKafka
from worker.kafka.limits import TopicLimits
from worker.messages.headers import OWN_PREFIX
from worker.messages.output_formats import JsonFormat, OutputFormat
from worker.stream.pipeline import Processed, Result
from worker.types import Answer, Failure, Headers, OutputRecord, Record

ToDeadLetter = Callable[[Record, Failure], OutputRecord]
"""Makes the dead letter of a record."""

TIME_HEADER = OWN_PREFIX + "timestamp"
"""The timestamp of the input, Unix ms, if the output record could not carry it itself."""

VALUE_HEADERS = (OWN_PREFIX + "value.bytes", OWN_PREFIX + "value.sha256", OWN_PREFIX + "value.at")
"""Size and SHA-256 of a value that was left out, and where it is: `topic:partition:offset`."""

KEY_HEADERS = (OWN_PREFIX + "key.bytes", OWN_PREFIX + "key.sha256")
HEADERS_HEADER = OWN_PREFIX + "headers.omitted"
"""How many headers of the input were left out."""


class Fitter:
    """Fits outputs to what their topics accept.

    Args:
        limits: what each topic accepts.
        to_dead_letter: makes dead letters.
        dead_letter_topic: where they go.
        compression: `sink.compression_type`.
        output_format: how the outputs are written; as JSON when None.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        limits: Mapping[str, TopicLimits],
        to_dead_letter: ToDeadLetter,
        *,
        dead_letter_topic: str,
        compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none",
        output_format: OutputFormat | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._to_dead_letter = to_dead_letter
        self._dead_letter_topic = dead_letter_topic
        self._compression = compression
        self._format = output_format or JsonFormat()
        self._clock = clock

    def fit_all(self, processed: Processed) -> Processed:
        """Fit the outputs of a window."""
        return Processed([[self._fitted(result) for result in results] for results in processed.results])

    def _fitted(self, result: Result) -> Result:
        if result.output is None:
            return result
        output, answer = self.fit(result.record, result.output, result.answer)
        return result._replace(answer=answer, output=output)

    def fit(self, record: Record, output: OutputRecord, answer: Answer) -> tuple[OutputRecord, Answer]:
        """Fit one output. What cannot be written to the output topic becomes a dead letter."""
        if isinstance(answer, Failure):
            return self.dead_letter(record, answer), answer
        limits = self._limits_of(output.topic)
        if limits.compacted and output.key is None:
            return self._failed(
                record,
                KeyMissing(
                    f"the record has no key, and topic {output.topic} is compacted (cleanup.policy) and "
                    "needs one"
                ),
            )
        if not self._takes(output):
            shorter = None if output.value is None else self._format.without_text(output.value)
            short = output if shorter is None else replace(output, value=shorter)
            if shorter is None or not self._takes(short):
                return self._failed(
                    record,
                    OutputTooLarge(
                        f"the output is larger than topic {output.topic} takes, {limits.max_bytes} bytes "
                        "(max.message.bytes)"
                    ),
                )
            output = short
        return self._at_a_time_taken(record, output), answer

    def dead_letter(self, record: Record, answer: Failure) -> OutputRecord:
        """The dead letter of a record, as much of it as fits: the value goes first, then headers and key."""
        for letter in self._ever_smaller(record, answer):
            if self._takes(letter):
                break
        if letter.key is None and self._limits_of(self._dead_letter_topic).compacted:
            letter = replace(letter, key=_place(record).encode())
        return self._at_a_time_taken(record, letter)

    def smallest_dead_letter(self, record: Record, answer: Failure) -> OutputRecord:
        """A dead letter that holds nothing of the record itself, and the current time."""
        *_, letter = self._ever_smaller(record, answer)
        return replace(_without_time(record, letter), key=_place(record).encode())

    def refused(self, reason: str) -> Failure:
        """Why a record whose output Kafka refuses has no labels."""
        problem = RefusedByKafka(f"Kafka refuses the output: {reason}")
        return Failure.of("write", problem.reason, problem)

    def at_the_current_time(self, record: Record, output: OutputRecord) -> OutputRecord | None:
        """The same output without the input's timestamp. None when it has none."""
        return None if output.timestamp_ms is None else _without_time(record, output)

    def _failed(self, record: Record, problem: MessageError) -> tuple[OutputRecord, Answer]:
        answer = Failure.of("encode", problem.reason, problem)
        return self.dead_letter(record, answer), answer

    def _ever_smaller(self, record: Record, answer: Failure) -> Iterator[OutputRecord]:
        """The complete dead letter of the record, then ones with less and less of it."""
        yield self._to_dead_letter(record, answer)
        gone: Headers = ()
        if record.value is not None:
            size, digest = _size_and_hash(record.value)
            where = _place(record).encode()
            gone = tuple(zip(VALUE_HEADERS, (size, digest, where), strict=True))
        bare = replace(record, value=None)
        yield _with_headers(self._to_dead_letter(bare, answer), gone)
        gone = (*gone, (HEADERS_HEADER, str(len(record.headers)).encode()))
        bare = replace(bare, headers=())
        yield _with_headers(self._to_dead_letter(bare, answer), gone)
        if record.key is not None:
            gone = (*gone, *zip(KEY_HEADERS, _size_and_hash(record.key), strict=True))
        yield _with_headers(self._to_dead_letter(replace(bare, key=None), answer), gone)

    def _takes(self, output: OutputRecord) -> bool:
        return self._limits_of(output.topic).takes_size(output, self._compression)

    def _at_a_time_taken(self, record: Record, output: OutputRecord) -> OutputRecord:
        now_ms = int(self._clock() * 1_000)
        wanted_ms = record.timestamp_ms if output.timestamp_ms is None else output.timestamp_ms
        if wanted_ms == -1 or self._limits_of(output.topic).takes_time(wanted_ms, now_ms):
            return output
        return _without_time(record, output)

    def _limits_of(self, topic: str) -> TopicLimits:
        return self._limits.get(topic, TopicLimits())


def _without_time(record: Record, output: OutputRecord) -> OutputRecord:
    if record.timestamp_ms == -1:
        return replace(output, timestamp_ms=None)
    header = (TIME_HEADER, str(record.timestamp_ms).encode())
    return _with_headers(replace(output, timestamp_ms=None), (header,))


def _with_headers(output: OutputRecord, headers: Headers) -> OutputRecord:
    return replace(output, headers=(*output.headers, *headers))


def _size_and_hash(data: bytes) -> tuple[bytes, bytes]:
    return str(len(data)).encode(), hashlib.sha256(data).hexdigest().encode()


def _place(record: Record) -> str:
    return f"{record.topic}:{record.partition}:{record.offset}"
