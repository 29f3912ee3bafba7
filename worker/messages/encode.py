"""The flat output message: a prediction and where its text came from, in the format of `sink.format`."""

from collections.abc import Sequence

from worker.heads import Head
from worker.messages.avro_writer import AvroFormat
from worker.messages.columns import SCHEMA_VERSION, Layout, SpanColumn, TextColumns
from worker.messages.keep import add_kept
from worker.messages.output_formats import CloudEventsFormat, ConnectFormat, JsonFormat, OutputFormat
from worker.messages.schema import output_columns
from worker.settings.groups import SinkSettings
from worker.types import NO_TIME, Headers, HeadResult, Message, OutputRecord, Prediction, Range, Record

_DIGITS = 6


def make_output_format(sink: SinkSettings) -> OutputFormat:
    """Make the format that `sink.format` names.

    Raises:
        SettingsError: it needs a package that is missing.
    """
    match sink.format:
        case "json":
            return JsonFormat()
        case "json_schema":
            return ConnectFormat()
        case "cloudevents":
            return CloudEventsFormat(sink.topic)
        case "avro":
            return AvroFormat(sink.topic)


class OutputEncoder:
    """Turns predictions of one pack into output messages.

    Args:
        heads: the heads of the pack, or of all packs; the columns follow from them.
        model: `name@revision` of the pack; of several, each of them, joined by `+`.
        topic: output topic.
        include_text: write the text itself, and the words that token heads mark.
        layout: which columns are written.
        output_format: how they are written; as JSON when None.

    Raises:
        SettingsError: the layout keeps a field under the name of another column.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        *,
        model: str,
        topic: str,
        include_text: bool,
        layout: Layout | None = None,
        output_format: OutputFormat | None = None,
    ) -> None:
        layout = layout or Layout()
        self._columns = layout.of_heads(heads)
        self._keep = layout.keep
        self._utf16 = layout.offsets == "utf16"
        self._model = model
        self._topic = topic
        self._include_text = include_text
        self._writer = (output_format or JsonFormat()).writer(
            lambda: output_columns(heads, layout, include_text=include_text),
            words=[one.words for one in self._columns if isinstance(one, SpanColumn)],
        )

    def fields(self, prediction: Prediction, text: str) -> dict[str, object]:
        """Make the fields that need no record: the heads' results, what was read, the language."""
        fields: dict[str, object] = {}
        for columns in self._columns:
            if isinstance(columns, SpanColumn):
                self._marks(fields, columns, prediction.spans[columns.head].ranges, text)
            else:
                _judgement(fields, columns, prediction.heads[columns.head])
        fields["token_count"] = prediction.token_count
        fields["truncated"] = prediction.truncated
        fields["supported"] = prediction.supported
        fields["model"] = self._model
        fields["schema_version"] = SCHEMA_VERSION
        if self._include_text:
            fields["text"] = text
        if prediction.lang is not None:
            fields["lang"] = prediction.lang
        return fields

    def _marks(
        self, fields: dict[str, object], columns: SpanColumn, ranges: Sequence[Range], text: str
    ) -> None:
        """Write the ranges that a head marks, and with the text the words that stand there."""
        places = utf16_ranges(text, ranges) if self._utf16 else ranges
        fields[columns.column] = [[start, end] for start, end in places]
        if self._include_text:
            fields[columns.words] = [text[start:end] for start, end in ranges]

    def encode(
        self, record: Record, message: Message, prediction: Prediction, processed_time_ms: int
    ) -> OutputRecord:
        """Make the output record. Key, timestamp and headers of the input are kept.

        Raises:
            TypeError: a name that is not Unicode text, such as that of a file, cannot be written.
        """
        unknown = message.event_time_ms == NO_TIME
        event_time_ms = processed_time_ms if unknown else message.event_time_ms
        body: dict[str, object] = {
            "event_id": message.event_id,
            "event_time_ms": event_time_ms,
            "processed_time_ms": processed_time_ms,
        }
        body |= self.fields(prediction, message.text)
        body["source_topic"] = record.topic
        body["source_partition"] = record.partition
        body["source_offset"] = record.offset
        if self._keep or message.kept:
            add_kept(body, self._keep, message.kept, strings=self._writer.kept_as_strings)
        value = self._writer.write(body)
        return self._record(record, value, self._writer.headers(record.headers, body))

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
        fields[columns.group] = result.group
        for group, column in columns.groups.items():
            fields[column] = round(result.groups[group], _DIGITS)


def utf16_ranges(text: str, ranges: Sequence[Range]) -> Sequence[Range]:
    """Count ranges of code points in UTF-16 units, as JavaScript and Java do.

    Args:
        text: the text.
        ranges: ranges in ascending order.
    """
    if not ranges or text.isascii():
        return ranges
    found: list[Range] = []
    at = units = 0
    for start, end in ranges:
        first = units + _utf16_length(text[at:start])
        units = first + _utf16_length(text[start:end])
        at = end
        found.append((first, units))
    return found


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
