"""Records to output records: decode, schedule, classify, encode. No broker is needed to run it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.classifier import Classifier, Listener, Silent
from worker.deadletter import DeadLetters
from worker.decode import decode
from worker.encode import Encoder
from worker.language import Languages
from worker.settings.languages import DEFAULT
from worker.types import Failure, Message, OutputRecord, Prediction, Record, Tombstone

Answer = Prediction | Tombstone | Failure


class Desk(NamedTuple):
    """One pack at work: its classifier, and the encoder whose columns follow from its heads."""

    classifier: Classifier
    encoder: Encoder


class _Routed(NamedTuple):
    """A message and the name of the desk that labels it."""

    message: Message
    desk: str


@dataclass(frozen=True, slots=True)
class Processed:
    """What became of a window: for each record one output, and the answer that it came from."""

    outputs: list[OutputRecord]
    answers: list[Answer]


class Pipeline:
    """The way of a window of records through the rooms between the two Kafka ends.

    Args:
        text_field: where the text lies in a JSON message.
        classifier: labels the texts.
        encoder: makes outputs.
        dead_letters: makes dead letters.
        languages: names languages and routes by them; without it all texts go to `classifier`.
        others: the desks that `languages` routes to, by the folders of their packs.
        listener: told what each stage cost.
    """

    def __init__(
        self,
        *,
        text_field: str,
        classifier: Classifier,
        encoder: Encoder,
        dead_letters: DeadLetters,
        languages: Languages | None = None,
        others: Mapping[str, Desk] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._text_field = text_field
        self._encoder = encoder
        self._desks = {**(others or {}), DEFAULT: Desk(classifier, encoder)}
        self._languages = languages
        self._dead_letters = dead_letters
        self._listener: Listener = listener or Silent()

    def process(self, records: Sequence[Record]) -> Processed:
        """Turn each record into exactly one output record, in the same order."""
        started = time.perf_counter()
        decoded = [decode(record, self._text_field) for record in records]
        self._listener.stage("decode", time.perf_counter() - started)

        routed = self._route(decoded)
        predictions = self._classify([item for item in routed if isinstance(item, _Routed)])

        started = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        processed = Processed([], [])
        for record, item in zip(records, routed, strict=True):
            output, answer = (
                self._labelled(record, item, next(predictions[item.desk]), now_ms)
                if isinstance(item, _Routed)
                else self._unlabelled(record, item)
            )
            processed.outputs.append(output)
            processed.answers.append(answer)
        self._listener.stage("encode", time.perf_counter() - started)
        return processed

    def _route(self, decoded: Sequence[Message | Tombstone | Failure]) -> list[_Routed | Tombstone | Failure]:
        """Name each message's language and the desk that it goes to; a failure where there is none."""
        if self._languages is None:
            return [_Routed(item, DEFAULT) if isinstance(item, Message) else item for item in decoded]
        started = time.perf_counter()
        routed: list[_Routed | Tombstone | Failure] = []
        for item in decoded:
            if not isinstance(item, Message):
                routed.append(item)
                continue
            message = self._languages.named(item)
            target = self._languages.target(message)
            routed.append(target if isinstance(target, Failure) else _Routed(message, target))
        self._listener.stage("language", time.perf_counter() - started)
        return routed

    def _classify(self, messages: Sequence[_Routed]) -> dict[str, Iterator[Prediction | Failure]]:
        """Label each desk's texts together; the answers of a desk come in the order of its messages."""
        texts: dict[str, list[str]] = {}
        for message, desk in messages:
            texts.setdefault(desk, []).append(message.text)
        return {desk: iter(self._desks[desk].classifier.classify(found)) for desk, found in texts.items()}

    def _labelled(
        self, record: Record, item: _Routed, answer: Prediction | Failure, now_ms: int
    ) -> tuple[OutputRecord, Answer]:
        if isinstance(answer, Failure):
            return self._unlabelled(record, answer)
        encoder = self._desks[item.desk].encoder
        try:
            return encoder.encode(record, item.message, answer, now_ms), answer
        except TypeError as error:  # what orjson raises for half a surrogate pair in an event's id
            reason = f"no JSON can be made of it: {error}"
            return self._unlabelled(record, Failure("encode", "not_encodable", reason, "builtins.TypeError"))

    def _unlabelled(self, record: Record, item: Tombstone | Failure) -> tuple[OutputRecord, Answer]:
        if isinstance(item, Tombstone):
            return self._encoder.passed_through(record), item
        return self._dead_letters.letter(record, item), item
