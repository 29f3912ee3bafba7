"""The flat output message: a prediction and where its text came from, as one JSON object."""

from collections.abc import Sequence

import orjson

from worker.heads import Head
from worker.messages.columns import SpanColumn, TextColumns, head_columns
from worker.messages.headers import output_headers
from worker.types import NO_TIME, Headers, HeadResult, Message, OutputRecord, Prediction, Record

SCHEMA_VERSION = 1
_DIGITS = 6


class OutputEncoder:
    """Turns predictions of one pack into output messages.

    Args:
        heads: the heads of the pack, or of all packs; the columns follow from them.
        model: `name@revision` of the pack; of several, each of them, joined by `+`.
        topic: output topic.
        include_text: write the text itself.
    """

    def __init__(self, heads: Sequence[Head], *, model: str, topic: str, include_text: bool) -> None:
        self._columns = head_columns(heads)
        self._model = model
        self._topic = topic
        self._include_text = include_text

    def fields(self, prediction: Prediction, text: str) -> dict[str, object]:
        """Make the fields that need no record: each head's result, and how much of the text was read."""
        fields: dict[str, object] = {}
        for columns in self._columns:
            if isinstance(columns, SpanColumn):
                ranges = prediction.spans[columns.head].ranges
                fields[columns.column] = [[start, end] for start, end in ranges]
            else:
                _judgement(fields, columns, prediction.heads[columns.head])
        fields["token_count"] = prediction.token_count
        fields["truncated"] = prediction.truncated
        fields["model"] = self._model
        fields["schema_version"] = SCHEMA_VERSION
        if self._include_text:
            fields["text"] = text
        return fields

    def encode(
        self, record: Record, message: Message, prediction: Prediction, processed_time_ms: int
    ) -> OutputRecord:
        """Make the output record. Key, timestamp and headers of the input are kept.

        Raises:
            TypeError: a name that is not Unicode text, such as that of a file, cannot be written as JSON.
        """
        unknown = message.event_time_ms == NO_TIME
        event_time_ms = processed_time_ms if unknown else message.event_time_ms
        body: dict[str, object] = {
            "event_id": message.event_id,
            "event_time_ms": event_time_ms,
            "processed_time_ms": processed_time_ms,
        }
        body |= self.fields(prediction, message.text)
        if message.lang is not None:
            body["lang"] = message.lang
        body["source_topic"] = record.topic
        body["source_partition"] = record.partition
        body["source_offset"] = record.offset
        return self._record(record, orjson.dumps(body), output_headers(record.headers))

    def passed_through(self, record: Record) -> OutputRecord:
        """Make the output of a tombstone: the same key, headers and null value."""
        return self._record(record, None, record.headers)

    def _record(self, record: Record, value: bytes | None, headers: Headers) -> OutputRecord:
        timestamp_ms = record.timestamp_ms if record.timestamp_ms >= 0 else None
        return OutputRecord(self._topic, record.key, value, headers, timestamp_ms)


def _judgement(fields: dict[str, object], columns: TextColumns, result: HeadResult) -> None:
    """Write a head's result for a whole text."""
    fields[columns.label] = result.label
    fields[columns.score] = round(result.score, _DIGITS)
    if result.labels is not None:
        fields[columns.passed] = list(result.labels)
    for label, column in columns.scores.items():
        fields[column] = round(result.scores[label], _DIGITS)
    if result.groups:
        # On a tie the first in the pack's order, so that a replay gives the same.
        fields[columns.group] = max(result.groups, key=result.groups.__getitem__)
        for group, column in columns.groups.items():
            fields[column] = round(result.groups[group], _DIGITS)


def without_text(value: bytes) -> bytes | None:
    """Remove the text from an output message and mark it as omitted. None when there is no text in it."""
    body = orjson.loads(value)
    if "text" not in body:
        return None
    del body["text"]
    return orjson.dumps({**body, "text_omitted": True})
