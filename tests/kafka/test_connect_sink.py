"""Kafka Connect reads what `sink.format` json_schema writes: a JDBC sink keeps a table in PostgreSQL."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.support.libs import KafkaMissing, connect_libs
from tests.support.postgres import Postgres, PostgresMissing, postgres
from tests.unit.messages.test_output_formats import HEADS, KEEP, KEPT, PREDICTION, TEXT, encoder_of, sink
from worker.kafka.topics import TopicSpec, create_topics
from worker.messages.columns import Layout
from worker.messages.schema import output_columns
from worker.settings.groups import KafkaSettings
from worker.types import Message, Record

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "connect.md"


@pytest.fixture(scope="module")
def connect() -> Path:
    """Kafka Connect's jars, or the reason why there are none."""
    try:
        return connect_libs()
    except KafkaMissing as reason:
        if os.environ.get("MOODSTREAM_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    try:
        with postgres() as server:
            yield server
    except PostgresMissing as reason:
        pytest.skip(str(reason))


def properties(path: Path, sign: str, changes: dict[str, str]) -> Path:
    """The properties that the page shows in the block with the sign, with values for this test."""
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    block = next(block for block in blocks if sign in block)
    shown = dict(line.split("=", 1) for line in block.splitlines() if line)
    missing = changes.keys() - shown.keys() - {"listeners"}
    assert not missing, f"the page does not show {missing}"
    path.write_text("".join(f"{name}={value}\n" for name, value in (shown | changes).items()))
    return path


def send(kafka: KafkaSettings, topic: str, offsets: dict[int, int]) -> None:
    """Write outputs as a worker does, by their offset and the time at which they were labelled."""
    encoder, _ = encoder_of(sink(topic=topic, format="json_schema", include_text=True, keep=KEEP))
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    for offset, processed_ms in offsets.items():
        message = Message(TEXT, f"posts:3:{offset}", 1_700_000_000_123, "en", KEPT if offset == 41 else {})
        record = Record("posts", 3, offset, 1_700_000_000_000, b"k", b"{}")
        output = encoder.encode(record, message, PREDICTION, processed_ms)
        producer.send(topic, key=output.key, value=output.value, headers=list(output.headers))
    producer.flush()
    producer.close()


def delete(kafka: KafkaSettings, topic: str) -> None:
    """Write a tombstone, as a worker passes it through."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    producer.send(topic, key=b"k", value=None)
    producer.flush()
    producer.close()


@pytest.mark.timeout(240)
def test_a_jdbc_sink_keeps_one_row_for_each_event_whatever_is_replayed(
    connect: Path, database: Postgres, kafka: str, settings: KafkaSettings, unique: str, tmp_path: Path
) -> None:
    topic = f"{unique}.moods"
    create_topics(settings, [TopicSpec(topic, 1, 1)])
    send(settings, topic, {40: 1, 41: 1})
    worker = properties(
        tmp_path / "worker.properties",
        "offset.storage.file.filename",
        {
            "bootstrap.servers": kafka,
            "offset.storage.file.filename": str(tmp_path / "offsets"),
            "listeners": "http://127.0.0.1:0",
        },
    )
    connector = properties(
        tmp_path / "sink.properties",
        "insert.mode",
        {
            "name": unique,
            "topics": topic,
            "connection.url": database.jdbc_url,
            "connection.username": database.user,
            "connection.password": "any",
        },
    )
    log = tmp_path / "connect.log"
    java = ["java", "-Xmx400m", "-XX:TieredStopAtLevel=1", "-cp", f"{connect}/*"]
    command = [*java, "org.apache.kafka.connect.cli.ConnectStandalone", str(worker), str(connector)]
    with log.open("wb") as into:
        process = subprocess.Popen(command, stdout=into, stderr=subprocess.STDOUT, cwd=tmp_path)

    def rows(wanted: int) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        deadline = time.monotonic() + 120
        while len(found) < wanted:
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-4000:]
            assert b"is being killed" not in log.read_bytes(), log.read_text(errors="replace")[-6000:]
            time.sleep(1)
            found = database.query("SELECT * FROM moods ORDER BY event_id")
        return found

    try:
        first, second = rows(2)
        delete(settings, topic)
        send(settings, topic, {40: 2, 41: 2, 42: 3})  # a replay, and a new one
        after = rows(3)
    finally:
        process.kill()
        process.wait()
    columns = output_columns(HEADS, Layout.of(sink(keep=KEEP)), include_text=True)
    assert first.keys() == {column.name for column in columns} - {"toxic_spans"}
    assert (first["event_id"], first["product"], first["text"]) == ("posts:3:40", "", TEXT)
    assert (second["product"], float(second["price"]), second["count"]) == ("lamp 🪔", 9.5, "3")
    assert (second["ok"], second["sentiment_label"], float(second["emotion_fear"])) == ("t", "negative", 0.7)
    assert (second["emotion_labels"], second["toxic_words"]) == ("{fear}", "{stupid,idiot}")
    assert [(row["event_id"], row["processed_time_ms"]) for row in after] == [
        ("posts:3:40", "2"),
        ("posts:3:41", "2"),
        ("posts:3:42", "3"),
    ]
