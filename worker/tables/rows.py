"""What a reader hands on: rows, and rows that are none."""

from typing import NamedTuple

JSON = "application/json"
TEXT = "text/plain"


class Row(NamedTuple):
    """One row of an input, as bytes that the decode room reads like a Kafka message.

    `number` counts rows from 0 (blank lines are no rows), `place` is the line (in Parquet the row) counted
    from 1. `content_type` None means: JSON when it begins with `{`, else text.
    """

    number: int
    place: int
    value: bytes
    content_type: str | None


class BadRow(NamedTuple):
    """A row that is none. `reason` never holds its text."""

    number: int
    place: int
    reason: str


class Pause(NamedTuple):
    """Nothing more has arrived for now: whoever waits for rows should go on with those that are there."""


Item = Row | BadRow | Pause
