"""Kafka Connect reads what `sink.format` json_schema writes: its JsonConverter and a JDBC sink."""

import csv
import os
import subprocess
import time
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.support.libs import KafkaMissing, connect_libs
from tests.unit.messages.test_output_formats import HEADS, KEEP, KEPT, PREDICTION, TEXT, encoder_of, sink
from worker.kafka.topics import TopicSpec, create_topics
from worker.messages.columns import Layout
from worker.messages.schema import output_columns
from worker.settings.groups import KafkaSettings
from worker.types import Message, Record

ARRAYS = "emotion_labels,toxic_spans,toxic_words"
"""Columns that a table in H2 cannot hold; the how-to page says how they are left out."""


@pytest.fixture(scope="module")
def connect() -> Path:
    """Kafka Connect's jars, or the reason why there are none."""
    try:
        return connect_libs()
    except KafkaMissing as reason:
        if os.environ.get("MOODSTREAM_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(reason))


def properties(path: Path, values: dict[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return path


def query(libs: Path, url: str, sql: str, into: Path) -> list[dict[str, str]]:
    """Read a table through H2's own tools; none when it is not there yet."""
    command = f"CALL CSVWRITE('{into}', '{sql}')"
    shell = [
        "java",
        "-cp",
        f"{libs}/*",
        "org.h2.tools.Shell",
        "-url",
        url,
        "-user",
        "sa",
        "-password",
        "sa",
        "-sql",
        command,
    ]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 or not into.exists():
        return []
    with into.open(newline="", encoding="utf-8") as file:
        return [{name.lower(): value for name, value in row.items()} for row in csv.DictReader(file)]


def send(kafka: KafkaSettings, topic: str) -> None:
    """Write two outputs, as a worker does."""
    create_topics(kafka, [TopicSpec(topic, 1, 1)])
    encoder, _ = encoder_of(sink(topic=topic, format="json_schema", include_text=True, keep=KEEP))
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    for offset, kept in ((40, {}), (41, KEPT)):
        message = Message(TEXT, f"posts:3:{offset}", 1_700_000_000_123, "en", kept)
        record = Record("posts", 3, offset, 1_700_000_000_000, b"k", b"{}")
        output = encoder.encode(record, message, PREDICTION, 1_700_000_000_500)
        producer.send(topic, key=output.key, value=output.value, headers=list(output.headers))
    producer.flush()
    producer.close()


def test_a_jdbc_sink_makes_a_table_of_the_outputs(
    connect: Path, kafka: str, settings: KafkaSettings, unique: str, tmp_path: Path
) -> None:
    topic = f"{unique}.moods"
    send(settings, topic)
    url = f"jdbc:h2:file:{tmp_path}/moods;AUTO_SERVER=TRUE;DATABASE_TO_LOWER=TRUE"
    worker = properties(
        tmp_path / "worker.properties",
        {
            "bootstrap.servers": kafka,
            "offset.storage.file.filename": str(tmp_path / "offsets"),
            "listeners": "http://127.0.0.1:0",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true",
        },
    )
    connector = properties(
        tmp_path / "sink.properties",
        {
            "name": unique,
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1",
            "topics": topic,
            "consumer.override.auto.offset.reset": "earliest",
            "connection.url": url,
            "connection.username": "sa",
            "connection.password": "sa",
            "collection.name.format": "moods",
            "insert.mode": "insert",
            "primary.key.mode": "record_value",
            "primary.key.fields": "event_id",
            "schema.evolution": "basic",
            "transforms": "flat",
            "transforms.flat.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
            "transforms.flat.exclude": ARRAYS,
        },
    )
    log = tmp_path / "connect.log"
    java = ["java", "-Xmx400m", "-XX:TieredStopAtLevel=1", "-cp", f"{connect}/*"]
    command = [*java, "org.apache.kafka.connect.cli.ConnectStandalone", str(worker), str(connector)]
    with log.open("wb") as into:
        process = subprocess.Popen(command, stdout=into, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        rows: list[dict[str, str]] = []
        deadline = time.monotonic() + 120
        while len(rows) < 2 and time.monotonic() < deadline and b"is being killed" not in log.read_bytes():
            time.sleep(2)
            rows = query(connect, url, "SELECT * FROM moods ORDER BY event_id", tmp_path / "moods.csv")
    finally:
        process.kill()
        process.wait()
    assert len(rows) == 2, log.read_text(errors="replace")[-4000:]
    columns = output_columns(HEADS, Layout.of(sink(keep=KEEP)), include_text=True)
    assert rows[0].keys() == {column.name for column in columns} - set(ARRAYS.split(","))
    first, second = rows
    assert (first["event_id"], first["product"], first["text"]) == ("posts:3:40", "", TEXT)
    assert (second["product"], float(second["price"]), second["count"]) == ("lamp 🪔", 9.5, "3")
    assert (second["ok"].lower(), second["sentiment_label"], float(second["emotion_fear"])) == (
        *("true", "negative", 0.7),
    )
