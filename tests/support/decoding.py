"""One record through the decoder, for tests of what it makes of it."""

from collections.abc import Sequence

from worker.messages.decode import Decoded, Decoder
from worker.messages.fields import Fields
from worker.stream.pipeline import Processed, Result
from worker.types import OutputRecord, Record, Tombstone


def decode(record: Record, text_field: str = "text") -> Decoded:
    """What one record holds; it must hold one message."""
    [item] = decoder(text_field).decode(record)
    return item.decoded


def one_each(records: Sequence[Record], outputs: Sequence[OutputRecord]) -> Processed:
    """A window whose records are passed through, each with one output."""
    return Processed(
        [[Result(record, Tombstone(), output)] for record, output in zip(records, outputs, strict=True)]
    )


def decoder(text_field: str = "text") -> Decoder:
    """A decoder that reads the text only."""
    return Decoder(Fields.at(text_field))
