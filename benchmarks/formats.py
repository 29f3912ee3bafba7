"""What a format costs a message, in and out: decoding and encoding alone, without Kafka and without a model.

    python benchmarks/formats.py [--rounds N] [--messages N]

Every format reads or writes the same posts. Rounds of all formats alternate, in an order that changes from
round to round; what is printed is the median of the rounds, in microseconds of processor time a message, and
the bytes of a value. Outputs are those of the bundled pack, with made-up scores.
"""

import argparse
import gzip
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import fastavro

from benchmarks.classifier import made_up_texts
from worker.heads import Head
from worker.messages.avro_writer import AvroFormat
from worker.messages.columns import Layout
from worker.messages.decode import Decoder
from worker.messages.encode import OutputEncoder, make_output_format
from worker.messages.fields import Fields
from worker.messages.registry import Registry, Schema
from worker.model.pack import bundled_pack, load_pack
from worker.settings.groups import SinkSettings, SourceSettings
from worker.types import Headers, HeadResult, Message, Prediction, Record, SpanResult

AVRO = {
    "type": "record",
    "name": "Post",
    "fields": [{"name": name, "type": "string"} for name in ("id", "product", "text", "lang")],
}


PROTOBUF = """syntax = "proto3";
message Post { string id = 1; string product = 2; string text = 3; string lang = 4; }
"""
SCHEMAS = {
    1: Schema("AVRO", json.dumps(AVRO)),
    2: Schema("JSON", '{"type": "object"}'),
    3: Schema("PROTOBUF", PROTOBUF),
}


class Schemas:
    """A registry that knows these schemas, and takes any."""

    def schema(self, number: int | str) -> Schema:
        return SCHEMAS[int(number)]

    def register(self, subject: str, schema: str, kind: str) -> int:  # noqa: ARG002 - a registry's signature
        return 1


class Case(NamedTuple):
    """One format: what one round does, and the bytes of a value."""

    name: str
    run: Callable[[], None]
    value_bytes: float


def input_cases(texts: Sequence[str]) -> list[Case]:
    """Decoding in each format."""
    posts = [
        {"id": str(number), "product": "lamp", "text": text, "lang": "en"}
        for number, text in enumerate(texts)
    ]
    objects = [json.dumps(post, ensure_ascii=False).encode() for post in posts]
    event = {"specversion": "1.0", "source": "/shop", "type": "review", "datacontenttype": "application/json"}
    headers: Headers = tuple((f"ce_{name}", value.encode()) for name, value in event.items())
    structured = [json.dumps({**event, "id": post["id"], "data": post}).encode() for post in posts]
    plain = Fields.of(SourceSettings())
    kept = Fields.of(SourceSettings(), keep=["product", "id as post"])
    query = Fields.of(SourceSettings.model_validate({"filter": "lang == 'en'"}))

    def case(name: str, values: Sequence[bytes], fields: Fields = plain, headers: Headers = ()) -> Case:
        records = [Record("posts", 0, number, 1, None, value, headers) for number, value in enumerate(values)]
        decoder = Decoder(fields, cast("Registry", Schemas()))
        for item in decoder.decode(records[0]):
            if not isinstance(item.decoded, Message):
                raise SystemExit(f"{name}: {item.decoded}")

        def run() -> None:
            for record in records:
                decoder.decode(record)

        return Case(name, run, statistics.fmean(map(len, values)))

    return [
        case("JSON object", objects),
        case("JSON object, two fields kept", objects, kept),
        case("JSON object, with a filter", objects, query),
        case("text", [text.encode() for text in texts]),
        case("CloudEvent, binary", objects, headers=(*headers, ("ce_id", b"1"))),
        case("CloudEvent, structured", structured),
        case("JSON object in gzip", [gzip.compress(each) for each in objects], headers=(GZIP,)),
        case("JSON object behind a schema id", [b"\0\0\0\0\2" + each for each in objects]),
        case("Avro", [_avro(post) for post in posts]),
        case("Protobuf", [_protobuf(post) for post in posts]),
    ]


GZIP = ("content-encoding", b"gzip")


def _avro(post: dict[str, str]) -> bytes:
    into = BytesIO(b"\0\0\0\0\1")
    into.seek(5)
    fastavro.schemaless_writer(into, fastavro.parse_schema(AVRO), post)
    return into.getvalue()


def _protobuf(post: dict[str, str]) -> bytes:
    """A message of the first type of its file: the strings in the order of their numbers."""
    parts = [b"\0\0\0\0\3\0"]
    for number, text in enumerate(post.values(), 1):
        data = text.encode()
        size, length = len(data), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        parts += [bytes([number << 3 | 2]), bytes([*length, size]), data]
    return b"".join(parts)


def made_up_prediction(heads: Sequence[Head], numbers: random.Random) -> Prediction:
    """Scores for every head."""
    results, spans = {}, {}
    for head in heads:
        if head.by_token:
            spans[head.name] = SpanResult(((0, 4),), read=True)
            continue
        scores = {label: numbers.random() for label in head.labels}
        label = max(scores, key=scores.__getitem__)
        groups = {name: max(scores[one] for one in labels) for name, labels in head.groups.items()}
        passed = (label,) if head.multi_label else None
        group = max(groups, key=groups.__getitem__) if groups else None
        results[head.name] = HeadResult(label, scores[label], scores, passed, groups or None, group)
    return Prediction(results, 20, False, spans)


def output_cases(texts: Sequence[str]) -> list[Case]:
    """Encoding in each format."""
    heads = load_pack(bundled_pack()).outputs
    numbers = random.Random(20_240_611)
    predictions = [made_up_prediction(heads, numbers) for _ in texts]
    record = Record("posts", 3, 41, 1_700_000_000_000, b"k", b"{}", (("traceparent", b"00-ab-cd-01"),))
    kept = {"product": "lamp", "price": "9.5"}
    cases = []
    for name, values in {
        "json": {},
        "json, two fields kept": {"keep": ["product", "price:double"]},
        "json, the text included": {"include_text": True},
        "json, columns labels": {"columns": "labels"},
        "cloudevents": {"format": "cloudevents"},
        "json_schema": {"format": "json_schema"},
        "json_schema, columns labels": {"format": "json_schema", "columns": "labels"},
        "avro": {"format": "avro"},
        "avro, columns labels": {"format": "avro", "columns": "labels"},
    }.items():
        sink = SinkSettings.model_validate(values)
        output_format = make_output_format(sink)
        encoder = OutputEncoder(
            heads,
            model="compact@0123456789ab",
            topic="moods",
            include_text=sink.include_text,
            layout=Layout.of(sink),
            output_format=output_format,
        )
        if isinstance(output_format, AvroFormat):
            output_format.register(Schemas())
        messages = [Message(text, "posts:3:41", 1, "en", kept if sink.keep else {}) for text in texts]
        pairs = list(zip(messages, predictions, strict=True))
        sizes = [len(encoder.encode(record, *pair, 2).value or b"") for pair in pairs]
        cases.append(Case(name, _encoding(encoder, record, pairs), statistics.fmean(sizes)))
    return cases


def _encoding(
    encoder: OutputEncoder, record: Record, pairs: Sequence[tuple[Message, Prediction]]
) -> Callable[[], None]:
    def run() -> None:
        for message, prediction in pairs:
            encoder.encode(record, message, prediction, 2)

    return run


def measure(cases: Sequence[Case], messages: int, rounds: int) -> None:
    """Run all cases in turn, and print medians."""
    spent: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds):
        first = number % len(cases)
        for case in [*cases[first:], *cases[:first]]:
            started = time.process_time()
            case.run()
            spent[case.name].append((time.process_time() - started) / messages * 1e6)
    for case in cases:
        times = spent[case.name]
        span = f"{min(times):.1f} to {max(times):.1f}"
        print(f"| {case.name} | {statistics.median(times):.1f} ({span}) | {case.value_bytes:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--messages", type=int, default=2_000)
    options = parser.parse_args()
    texts = made_up_texts(options.messages)
    for title, cases in (("input", input_cases(texts)), ("output", output_cases(texts))):
        print(f"\n| {title} | µs a message, median (range) | bytes a value |\n| --- | --- | --- |")
        measure(cases, len(texts), options.rounds)


if __name__ == "__main__":
    main()
