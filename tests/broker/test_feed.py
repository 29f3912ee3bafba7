"""`moodstream feed` on the embedded broker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from kafka import KafkaConsumer

from worker.cli.main import main
from worker.kafka.topics import TopicSpec, create_topics, missing_topics
from worker.settings.groups import KafkaSettings

ROOT = Path(__file__).parents[2]
CSV = 'id,text,customer\n007,"so good, really",ann\n2,never again,\n'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS", embedded)
    Path("posts.csv").write_text(CSV)


@pytest.fixture
def topic(settings: KafkaSettings, unique: str) -> str:
    create_topics(settings, [TopicSpec(unique, 2, 1)])
    return unique


def records(settings: KafkaSettings, topic: str, count: int) -> list[tuple[bytes | None, Any]]:
    """The key and value of what is in a topic, by the time of writing."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    found: list[Any] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        for rows in consumer.poll(timeout_ms=300).values():
            found += rows
    consumer.close()
    return [(row.key, row.value) for row in sorted(found, key=lambda row: (row.timestamp, row.offset))]


def test_rows_of_a_table_become_messages_with_keys(
    settings: KafkaSettings, topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["feed", "posts.csv", "--topic", topic, "--key", "customer"]) == 0
    assert capfd.readouterr().err == f"sent 2 messages to {topic}\n"
    found = {key: json.loads(value) for key, value in records(settings, topic, 2)}
    assert found == {
        b"ann": {"id": "007", "text": "so good, really", "customer": "ann"},
        b"": {"id": "2", "text": "never again", "customer": ""},
    }


def test_every_format_is_sent(settings: KafkaSettings, topic: str) -> None:
    Path("a.jsonl").write_text('{"text": "one", "author": {"id": 7}}\n{"text":"two"}\n')
    Path("b.txt").write_text("three\n")
    parquet.write_table(arrow.table({"text": ["four"], "n": [4]}), "c.parquet")
    assert main(["feed", "a.jsonl", "b.txt", "c.parquet", "--topic", topic, "--rate", "100"]) == 0
    assert sorted(value for _, value in records(settings, topic, 4)) == sorted(
        [
            b'{"text": "one", "author": {"id": 7}}',
            b'{"text":"two"}',
            b'{"text":"three"}',
            b'{"text":"four","n":4}',
        ]
    )
    assert main(["feed", "a.jsonl", "--topic", topic, "--key", "author.id", "--limit", "1"]) == 0
    assert (b"7", b'{"text": "one", "author": {"id": 7}}') in records(settings, topic, 5)


def test_a_rate_is_kept_and_a_limit_ends_a_loop(settings: KafkaSettings, topic: str) -> None:
    started = time.monotonic()
    assert main(["feed", "posts.csv", "--topic", topic, "--loop", "--limit", "21", "--rate", "20"]) == 0
    assert 1.0 <= time.monotonic() - started < 10
    assert len(records(settings, topic, 21)) == 21


def test_rows_behind_the_limit_are_not_looked_at(
    settings: KafkaSettings, topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("bad.csv").write_text("id,text\n1,a\n2,b\n3,c,d\n")
    assert main(["feed", "bad.csv", "--topic", topic, "--limit", "2"]) == 0
    assert capfd.readouterr().err == f"sent 2 messages to {topic}\n"
    assert len(records(settings, topic, 2)) == 2


def test_a_missing_topic_is_an_error_and_nothing_is_created(
    settings: KafkaSettings, unique: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["feed", "posts.csv", "--topic", unique]) == 8
    assert capfd.readouterr().err == (
        f"moodstream: there is no topic {unique}: --create makes it as the broker's defaults say, and "
        "`moodstream topics create` makes all that a worker needs\n"
    )
    assert missing_topics(settings, [unique]) == [unique]
    assert main(["feed", "posts.csv", "--topic", unique, "--create"]) == 0
    assert len(records(settings, unique, 2)) == 2


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["no.csv"], 2, "moodstream: no.csv: No such file or directory"),
        (
            ["posts.csv", "--key", "user"],
            2,
            "moodstream: posts.csv: no column 'user'; there are: id, text, cust",
        ),
        (["-", "--loop"], 2, "Error: --loop needs files"),
        (["empty.jsonl", "--loop"], 2, "moodstream: there are no rows to send over and over"),
        (
            ["posts.csv", "--kafka.bootstrap-servers", "127.0.0.1:1", "--kafka.connect-limit-s", "1"],
            3,
            "moodst",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    topic: str, capfd: pytest.CaptureFixture[str], args: list[str], code: int, line: str
) -> None:
    Path("empty.jsonl").write_text("\n")
    assert main(["feed", "--topic", topic, *args]) == code
    assert capfd.readouterr().err.splitlines()[-1].startswith(line)


def test_a_row_that_cannot_be_read_is_told_and_the_others_are_sent(
    settings: KafkaSettings, topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("bad.csv").write_text("id,text\n1,good\n2,one,too many\n3,better\n")
    assert main(["feed", "bad.csv", "--topic", topic]) == 1
    assert capfd.readouterr().err.splitlines() == [
        "bad.csv:3: the row has 3 fields, the header 2 fields",
        f"sent 2 messages to {topic}, 1 row could not be read",
    ]
    assert len(records(settings, topic, 2)) == 2


def test_ctrl_c_ends_it_well_and_all_that_is_counted_was_sent(settings: KafkaSettings, topic: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "feed", "posts.csv", "--topic", topic, "--loop", "--rate", "50"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert len(records(settings, topic, 5)) >= 5
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    sent = int(err.split()[1])
    assert len(records(settings, topic, sent)) == sent
