"""A worker that keeps fields of the sender, in each format that needs no registry."""

import json
import time
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer

from tests.support.topics import Topics
from worker.errors import ExitCode

BODIES = [
    {"text": "so good", "product": "kettle", "price": "12.5", "author": {"name": "Ada", "tags": [1]}},
    {"text": "terrible"},
    [{"text": "fine", "product": "phone"}, {"text": "awful", "product": None, "price": 3}],
]
EXPECTED: list[dict[str, object]] = [
    {"product": "kettle", "price": 12.5, "who": "Ada", "tags": "[1]"},
    {"product": None, "price": None, "who": None, "tags": None},
    {"product": "phone", "price": None, "who": None, "tags": None},
    {"product": None, "price": 3.0, "who": None, "tags": None},
]


@pytest.mark.parametrize("form", ["json", "json_schema", "cloudevents"])
def test_kept_fields_reach_the_output(embedded: str, unique: str, tmp_path: Path, form: str) -> None:
    topics = Topics(embedded, unique)
    topics.create()
    worker = topics.worker(
        "0",
        tmp_path,
        MOODSTREAM_SINK__KEEP="product, price:double, author.name as who, author.tags as tags",
        MOODSTREAM_SINK__FORMAT=form,
        MOODSTREAM_SINK__COLUMNS="labels",
    )
    worker.start()
    worker.wait_ready()
    producer = KafkaProducer(bootstrap_servers=embedded)
    for body in BODIES:
        producer.send(topics.posts, value=json.dumps(body).encode(), partition=0)
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer(
        topics.moods,
        bootstrap_servers=embedded,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    found: dict[str, dict[str, object]] = {}
    deadline = time.monotonic() + 30
    while len(found) < len(EXPECTED) and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                output = json.loads(record.value)
                output = output["payload"] if form == "json_schema" else output
                found[output["event_id"]] = output
                if form == "cloudevents":
                    assert dict(record.headers)["ce_id"]
    consumer.close()
    assert worker.terminate() == ExitCode.OK, worker.tail()
    ids = [f"{topics.posts}:0:{place}" for place in ("0", "1", "2:0", "2:1")]
    assert sorted(found) == ids
    for event_id, kept in zip(ids, EXPECTED, strict=True):
        assert {name: found[event_id][name] for name in kept} == kept
        assert "sentiment_label" in found[event_id]
        assert "sentiment_positive" not in found[event_id]


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("model", "which is also the name of"),
        ("a.name, b.name", "which is also the name of"),
        ("pro[duct", "^"),
        ("x as 1y", "sink.keep"),
    ],
)
def test_a_wrong_entry_stops_the_start_in_one_message(
    embedded: str, unique: str, tmp_path: Path, keep: str, says: str
) -> None:
    topics = Topics(embedded, unique)
    worker = topics.worker("0", tmp_path, MOODSTREAM_SINK__KEEP=keep)
    worker.start()
    assert worker.wait() == ExitCode.USAGE
    log = worker.log.read_text()
    assert "sink.keep" in log
    assert says in log
    assert "Traceback" not in log
