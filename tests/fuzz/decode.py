"""Fuzzes the decoder, from a record to its output message or its dead letter and log line.

    python tests/fuzz/decode.py --inputs 1000000 --seed 1

Seeds are the records in corpus/decode.jsonl; each input is one of them, changed at random. A finding is
printed as a line for that file, so that it becomes a test. Exits with 1 when there are findings.
"""

import argparse
import base64
import io
import json
import logging
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import orjson
import structlog

from tests.support.decoding import decoder
from worker.heads import SINGLE, Head
from worker.messages.body import visible
from worker.messages.deadletter import DeadLetters, Origin
from worker.messages.decode import Item
from worker.messages.encode import OutputEncoder
from worker.observe.logs import configure as configure_logging
from worker.types import (
    LONGEST_MESSAGE,
    Failure,
    Headers,
    HeadResult,
    Message,
    OutputRecord,
    Prediction,
    Record,
)

CORPUS = Path(__file__).parent / "corpus" / "decode.jsonl"
CANARY = "Zq7canary"
"""Stands for what a sender wrote. It must not come out again in a header that says why a message failed."""

TEXT_FIELDS = ("text", "data.text", "review.body", "0.text", "a.b", "..", "²", "\udc80")
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"null", b"true", b"-1e999", b"0" * 5_000),
    *(b'"text":', b'"data":', b'"lang":', b'"id":', b'"specversion":', b'"data_base64":', b'{"text":"'),
    *(rb"\ud800", rb"\udfff", rb"\ud83d\ude00", rb"\u0000", rb"\ufe0f", b"&nbsp;", "\u200b\u3164".encode()),
    *(b"\x00\x00\x00\x00\x05", b"\x01" * 17, b"\x03\x00" + bytes(16), b"\x1e", b"Obj\x01", b"\xff\xfe"),
    *(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf", b"caf\xe9", b"\x80", b"\xed\xa0\x80", b"[" * 2_000),
    *(CANARY.encode(), f'"{CANARY}"'.encode(), f'{{"{CANARY}":1}}'.encode(), b"x" * 10_000),
)
_HEADER_NAMES = (
    *("content-type", "Content-Type", "contentType", "content-encoding", "__value_schema_id", "__TypeId__"),
    *("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_datacontenttype", "traceparent"),
    *("__connect.errors.topic", "kafka_dlt-exception-message", "moodstream.reason", "caf\udce9", ""),
)
_HEADER_VALUES = (
    *(
        None,
        b"",
        b"1.0",
        b"1",
        b"a#b",
        b"\xff",
        b"2026-01-02T03:04:05Z",
        b"gzip",
        b"utf-8",
        b"\x00\x00\x00\x05",
    ),
    *(b"application/json", b"text/plain; charset=utf-16", b"text/json", b"application/cloudevents+json"),
    *(b"application/cloudevents-batch+json", b"application/avro", b"text/plain; charset=" + CANARY.encode()),
    *(
        CANARY.encode(),
        f"application/{CANARY}".encode(),
        b"application/json; charset=iso-8859-1",
        b"x" * 5_000,
    ),
)


HEAD = Head("mood", SINGLE, ("good", "bad"))
PREDICTION = Prediction({"mood": HeadResult("good", 0.9, {"good": 0.9, "bad": 0.1})}, 3, truncated=False)
ENCODER = OutputEncoder([HEAD], model="fuzz@0123456789ab", topic="moods", include_text=True)
LETTERS = [
    DeadLetters("dead", "connect", Origin("group", "0")),
    DeadLetters("dead", "spring", Origin("gr\udc80oup", "0")),
]


def corpus() -> list[Record]:
    """Read the seeds."""
    return [record_of(json.loads(line)) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def record_of(fields: dict[str, object]) -> Record:
    """Make a record of a line of the corpus: bytes are in base64."""
    headers = fields.get("headers", [])
    assert isinstance(headers, list)
    value = fields["value"]
    return Record(
        "posts",
        0,
        7,
        1_700_000_000_000,
        None,
        None if value is None else base64.b64decode(str(value)),
        tuple((name, None if data is None else base64.b64decode(data)) for name, data in headers),
    )


def line_of(record: Record) -> str:
    """Write a record as a line of the corpus."""

    def text(data: bytes | None) -> str | None:
        return None if data is None else base64.b64encode(data).decode()

    headers = [[name, text(data)] for name, data in record.headers]
    return json.dumps({"value": text(record.value), "headers": headers})


def inputs(count: int, seed: int) -> Iterator[tuple[Record, str]]:
    """Yield records and text fields, the same ones for the same seed."""
    draw = random.Random(seed)
    seeds = corpus()
    for number in range(count):
        record = draw.choice(seeds)
        value = record.value or b""
        for _ in range(draw.choice((0, 1, 1, 2, 3, 6))):
            value = draw.choice(_CHANGES)(draw, value, draw.choice(seeds).value or b"")
        headers = _changed_headers(draw, record.headers)
        times = (record.timestamp_ms, -1, -5, 1_700_000_000_000_000, 2**62)
        yield (
            replace(record, value=value, headers=headers, offset=number, timestamp_ms=draw.choice(times)),
            draw.choice(TEXT_FIELDS) if draw.random() < 0.2 else "text",
        )


def _flip(draw: random.Random, value: bytes, _: bytes) -> bytes:
    if not value:
        return value
    place = draw.randrange(len(value))
    return value[:place] + bytes([draw.randrange(256)]) + value[place + 1 :]


def _insert(draw: random.Random, value: bytes, _: bytes) -> bytes:
    place = draw.randrange(len(value) + 1)
    return value[:place] + draw.choice(_TOKENS) + value[place:]


def _cut(draw: random.Random, value: bytes, _: bytes) -> bytes:
    start, end = sorted(draw.randrange(len(value) + 1) for _ in range(2))
    return value[:start] + value[end:]


def _splice(draw: random.Random, value: bytes, other: bytes) -> bytes:
    return value[: draw.randrange(len(value) + 1)] + other[draw.randrange(len(other) + 1) :]


def _wrap(draw: random.Random, value: bytes, _: bytes) -> bytes:
    """Put the whole value into another form."""
    text = value.decode("utf-8", "replace")
    forms: tuple[Callable[[], bytes], ...] = (
        lambda: json.dumps(text).encode(),
        lambda: b'{"text":' + value + b"}",
        lambda: struct.pack(">bI", 0, draw.randrange(2**32)) + value,
        lambda: text.encode(draw.choice(("utf-16", "utf-16-le", "utf-32"))),
        lambda: b"[" + value + b"]",
        lambda: base64.b64encode(value),
    )
    return draw.choice(forms)()


_CHANGES = (_flip, _insert, _insert, _cut, _splice, _wrap)


def _changed_headers(draw: random.Random, headers: Headers) -> Headers:
    changed = [header for header in headers if draw.random() < 0.9]
    added = range(draw.choice((0, 0, 0, 1, 2)))
    return (*changed, *((draw.choice(_HEADER_NAMES), draw.choice(_HEADER_VALUES)) for _ in added))


class Checker:
    """Takes one record after another through the decoder and checks what comes out. For a `with` block.

    Inside the block the process writes its log to memory.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._stream = io.StringIO()
        self._log = structlog.get_logger("fuzz")
        root = logging.getLogger()
        self._before = list(root.handlers), root.level

    def __enter__(self) -> Self:
        configure_logging("warning", "json", self._stream)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.handlers[:], root.level = self._before
        logging.captureWarnings(False)
        structlog.reset_defaults()

    def check(self, record: Record, text_field: str) -> str | None:
        """Return what is wrong with the way of a record, or None."""
        try:
            reader = decoder(text_field)
        except ValueError:  # the settings refuse this path
            self.outcomes["setting refused"] += 1
            return None
        try:
            problems = [self._check_item(item) for item in reader.decode(record)]
            return next((problem for problem in problems if problem is not None), None)
        except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
            return f"raised {error!r}"

    def _check_item(self, item: Item) -> str | None:
        record, result = item
        if isinstance(result, Failure):
            self.outcomes[result.reason] += 1
            return self._check_failure(record, result)
        self.outcomes[type(result).__name__] += 1
        return self._check_message(record, result) if isinstance(result, Message) else None

    def _check_message(self, record: Record, message: Message) -> str | None:
        output = ENCODER.encode(record, message, PREDICTION, 1)
        body = orjson.loads(output.value or b"")
        if not visible(body["text"]) or not body["event_id"]:
            return "an output without a text or an id"
        if message.lang is not None and (len(message.lang) > 35 or not message.lang.isascii()):
            return f"the language {message.lang!r}"
        return "headers of a failure on an output" if _error_headers(output) else None

    def _check_failure(self, record: Record, failure: Failure) -> str | None:
        if failure.reason == "decoder_failed":
            return failure.message
        if len(failure.message) > LONGEST_MESSAGE or not failure.message.isprintable():
            return f"a message that is not fit to print: {failure.message!r}"
        for letters in LETTERS:
            letter = letters.to_dead_letter(record, failure)
            if letter.value != record.value or letter.key != record.key:
                return "a dead letter with another value"
            added = _error_headers(letter)
            if len({name for name, _ in added}) != len(added):
                return "a header of a failure stands twice"
            if any(CANARY.encode() in (data or b"") for _, data in added):
                return f"content of the message in a header: {failure.message!r}"
        return self._check_line(record, failure)

    def _check_line(self, record: Record, failure: Failure) -> str | None:
        """Write the log line of a dead letter as the loop does, and read it again."""
        self._stream.seek(0)
        self._stream.truncate()
        self._log.warning(
            "dead letter",
            stage=failure.stage,
            reason=failure.reason,
            message=failure.message,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        line = self._stream.getvalue()
        if line.count("\n") != 1 or orjson.loads(line)["message"] != failure.message:
            return f"a log line that cannot be read: {line!r}"
        return f"content of the message in the log: {line!r}" if CANARY in line else None


def _error_headers(output: OutputRecord) -> Headers:
    prefixes = ("__connect.errors.", "kafka_dlt-", "moodstream.")
    return tuple(header for header in output.headers if header[0].startswith(prefixes))


def main() -> int:
    """Run for so many inputs, or for so many seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end earlier, after this time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    findings, count, started = 0, 0, time.monotonic()
    with Checker() as checker:
        for record, text_field in inputs(options.inputs, options.seed):
            count += 1
            if (wrong := checker.check(record, text_field)) is not None:
                findings += 1
                print(f"{wrong}\n  text_field {text_field!r}: {line_of(record)}")
            if findings >= 20 or time.monotonic() - started > options.seconds:
                break
    print(f"decoder: {count} inputs in {time.monotonic() - started:.0f} s, {findings} findings")
    print(" ".join(f"{name}={number}" for name, number in checker.outcomes.most_common()))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
