"""ClickHouse as a library (chdb), with the tables of `deploy/clickhouse/`."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from worker.demo.samples import LABELLED, load_samples

PACKAGES = ("axe_playwright_python", "chdb", "playwright")
collect_ignore_glob = [] if all(map(importlib.util.find_spec, PACKAGES)) else ["test_*.py"]
"""Only `make test-stack` installs these packages; elsewhere its tests are not even collected."""

TABLES = ("moods", "mood_by_minute", "mood_by_hour")
SQL = Path(__file__).parents[2] / "deploy" / "clickhouse"


class ClickHouse:
    """One server's worth of ClickHouse in this process. A process can have one session at a time."""

    def __init__(self, folder: Path) -> None:
        import chdb.session

        self._session = chdb.session.Session(str(folder))
        self.create()

    def create(self) -> None:
        """Run the SQL files: they make what is missing."""
        for file in sorted(SQL.glob("*.sql")):
            for statement in statements(file.read_text(encoding="utf-8")):
                self._session.query(_without_kafka(statement))

    def execute(self, text: str) -> None:
        """Run the statements of a text."""
        for statement in statements(text):
            self._session.query(statement)

    def query(self, sql: str) -> str:
        """The answer as tab-separated lines."""
        return str(self._session.query(sql, "TSV")).strip()

    def rows(self, sql: str) -> list[dict[str, object]]:
        """The answer as dictionaries."""
        lines = str(self._session.query(sql, "JSONEachRow")).splitlines()
        return [json.loads(line) for line in lines if line]

    def receive(self, messages: Sequence[dict[str, object]]) -> None:
        """Take messages as the Kafka table would: as JSON, a block at a time."""
        lines = "\n".join(json.dumps(message) for message in messages)
        self._session.query(f"INSERT INTO moodstream.moods_queue FORMAT JSONEachRow {lines}")

    def refresh(self) -> None:
        """Run the scheduled views now."""
        for view in ("mood_by_minute_writer", "mood_by_hour_writer"):
            self._session.query(f"SYSTEM REFRESH VIEW moodstream.{view}")
            self._session.query(f"SYSTEM WAIT VIEW moodstream.{view}")

    def empty(self) -> None:
        """Remove all rows."""
        for table in TABLES:
            self._session.query(f"TRUNCATE TABLE moodstream.{table}")

    def close(self) -> None:
        """End the session."""
        self._session.close()


def statements(text: str) -> list[str]:
    """The statements of a file, without comments at the start of a line."""
    plain = re.sub(r"^--.*\n", "", text, flags=re.MULTILINE)
    return [statement.strip() for statement in plain.split(";\n") if statement.strip()]


def _without_kafka(statement: str) -> str:
    """chdb has no Kafka table. A Null table hands what is inserted to its views in the same way."""
    if "ENGINE = Kafka" not in statement:
        return statement
    columns, _, _ = statement.partition("\n)\nENGINE = Kafka")
    return f"{columns},\n    _error String\n)\nENGINE = Null"


PRODUCTS, SOURCES, LANGUAGES = ("phone", "kettle", "app"), ("web", "shop"), ("en", "de")


@pytest.fixture(scope="session")
def moods(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """Output messages of the bundled pack, spread over the last half hour, with fields of the sender."""
    values = [sample.value for sample in load_samples() if sample.expected == LABELLED and sample.value]
    bodies = [json.loads(value) for value in values if value.startswith(b"{")]
    posts = [body["text"] for body in bodies if isinstance(body.get("text"), str)][:120]
    folder = tmp_path_factory.mktemp("moods")
    (folder / "posts.txt").write_text("\n".join(text.replace("\n", " ") for text in posts), encoding="utf-8")
    command = [sys.executable, "-m", "worker", "label", str(folder / "posts.txt"), "--format", "txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    now_ms = time.time_ns() // 1_000_000
    for number, mood in enumerate(found):
        mood["event_id"] = f"posts:0:{number}"
        mood["event_time_ms"] = now_ms - 1_500_000 + number * 12_000
        mood["product"], mood["source"] = PRODUCTS[number % 3], SOURCES[number % 2]
        mood["lang"] = LANGUAGES[number % 5 == 0]
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """All tables, once for all tests."""
    made = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    yield made
    made.close()


@pytest.fixture
def clickhouse(server: ClickHouse) -> ClickHouse:
    """All tables, empty."""
    server.empty()
    return server
