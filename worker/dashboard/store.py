"""What the page has seen in the last hours, in DuckDB: in memory, or in a file that survives a restart."""

# ruff: noqa: S608 - names of tables and columns are this file's own; what a sender wrote is a parameter

import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import orjson

from worker.errors import DashboardError
from worker.messages.scalars import as_json
from worker.types import TopicPartition

MEMORY_LIMIT = "512MB"
"""What DuckDB may take; above it, it writes to disk."""

MOST_COLUMNS = 40
"""Fields of the sender, by name, that are kept in all. Those that come later are left out."""

AHEAD_MS = 60_000
"""How far a sender's clock may be ahead before the page says so."""

GRACE_MS = 60_000
"""How much longer than `keep_s` posts stay in the tables, so that who counts them sees them leave."""

RATE_S = 10.0
"""What is called lately in posts a second."""

_MOST_WRITTEN = 100_000
_LAYOUT = 3
"""A file with other tables is emptied, and filled from the topics again."""

# A post that two packs have labelled is two rows: their labels are never mixed.
_TABLES = """
CREATE TABLE IF NOT EXISTS posts (
    event_id VARCHAR, model VARCHAR, time_ms BIGINT, received_ms BIGINT, written_ms BIGINT, sentiment VARCHAR,
    mood DOUBLE, emotion VARCHAR, toxicity DOUBLE, toxic BOOLEAN, lang VARCHAR, text VARCHAR,
    marks INTEGER[][],
    PRIMARY KEY (event_id, model)
);
CREATE TABLE IF NOT EXISTS fields (name VARCHAR PRIMARY KEY, col VARCHAR);
CREATE TABLE IF NOT EXISTS dead_letters (
    place VARCHAR PRIMARY KEY, time_ms BIGINT, received_ms BIGINT, reason VARCHAR, stage VARCHAR,
    message VARCHAR
);
CREATE TABLE IF NOT EXISTS positions (
    topic VARCHAR, part INTEGER, next_offset BIGINT, PRIMARY KEY (topic, part)
);
CREATE TABLE IF NOT EXISTS moodstream_layout (version INTEGER);
"""
TABLES = ("posts", "dead_letters")
"""What is kept for a time."""

_NAMES = ("posts", "fields", "dead_letters", "positions", "moodstream_layout")
_POST = {
    **dict.fromkeys(("event_id", "model", "sentiment", "emotion", "lang", "text"), "VARCHAR"),
    **dict.fromkeys(("time_ms", "written_ms"), "BIGINT"),
    **dict.fromkeys(("mood", "toxicity"), "DOUBLE"),
    "toxic": "BOOLEAN",
    "marks": [["INTEGER"]],
}
_DEAD = [
    {"place": "VARCHAR", "time_ms": "BIGINT", "reason": "VARCHAR", "stage": "VARCHAR", "message": "VARCHAR"}
]


class Store:
    """Posts, dead letters and how far the topics were read. Any thread may call any method.

    Each field of the sender has a column of its own, `f0`, `f1` and so on: a filter or a breakdown then reads
    that column alone. The names that senders chose are values of a table, never part of a query.

    Args:
        path: a file that outlives the process; None keeps everything in memory.
        keep_s: how long posts are kept after their own time. Seconds.

    Raises:
        DashboardError: the file cannot be opened, or another process uses it.
    """

    def __init__(self, path: Path | None, keep_s: float) -> None:
        self.keep_s = keep_s
        self._lock = threading.RLock()
        spill = str(Path(tempfile.gettempdir()) / f"moodstream-dashboard-{os.getpid()}")
        try:
            self._db = duckdb.connect(":memory:" if path is None else str(path))
            self._db.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET threads = 2;")
            self._db.execute("SET temp_directory = ?", [spill])
            self._make_tables()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise DashboardError(f"--store {path}: {reason}") from None
        self.columns: dict[str, str] = dict(self._db.execute("SELECT name, col FROM fields").fetchall())
        """The column of each field of the sender, by its name."""
        found = self._db.execute("SELECT topic, part, next_offset FROM positions").fetchall()
        self._positions = {TopicPartition(topic, part): offset for topic, part, offset in found}
        self.version = 0
        """Grows with everything that is written."""
        tables = {
            table: self._db.execute(f"SELECT max(time_ms), max(received_ms) FROM {table}").fetchall()[0]
            for table in TABLES
        }
        self.latest_ms: dict[str, int | None] = {table: latest for table, (latest, _) in tables.items()}
        """The latest time that any row of a table has had; None where there was none."""
        self.received_ms: int = max(received or 0 for _, received in tables.values())
        """When the last rows were written. No two transactions have the same time."""
        self.rewritten = 0
        """Grows when rows that are still shown were changed or removed, not only added."""
        self.added = 0
        """Rows that were added since the start."""
        self._written: deque[int] = deque(maxlen=_MOST_WRITTEN)

    def _make_tables(self) -> None:
        # DuckDB opens a table of another kind, such as a CSV, as views over a database in memory.
        if self._db.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
            raise duckdb.Error("the file holds something else; give another name")
        present = {row[0] for row in self._db.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if present and "moodstream_layout" not in present:
            raise duckdb.Error("the file has tables of something else; give another name")
        if present:
            found = self._db.execute("SELECT max(version) FROM moodstream_layout").fetchone()
            if found == (_LAYOUT,):
                return
            for table in _NAMES:
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
        self._db.execute(_TABLES)
        self._db.execute("INSERT INTO moodstream_layout VALUES (?)", [_LAYOUT])

    def add(
        self,
        posts: Sequence[Mapping[str, Any]],
        dead: Sequence[Mapping[str, Any]],
        positions: Mapping[TopicPartition, int],
    ) -> int:
        """Keep what was read and how far, in one transaction. A post that comes again replaces itself.

        Returns:
            How many of the posts are older than `keep_s`, and not kept.
        """
        now_ms = time.time_ns() // 1_000_000
        oldest = now_ms - int(self.keep_s * 1000)
        kept = {(post["event_id"], post["model"]): post for post in posts if post["time_ms"] >= oldest}
        letters = [dict(row) for row in dead if row["time_ms"] >= oldest]
        with self._lock:
            received_ms = max(now_ms, self.received_ms + 1)
            try:
                self._write("INSERT", list(kept.values()), letters, positions, received_ms)
            except duckdb.ConstraintException:  # one of them came before
                self._write("INSERT OR REPLACE", list(kept.values()), letters, positions, received_ms)
                self.rewritten += 1
            self.received_ms = received_ms
            self._note({"posts": kept.values(), "dead_letters": letters}, now_ms)
            self.version += 1
        return sum(post["time_ms"] < oldest for post in posts)

    def _note(self, rows: Mapping[str, Collection[Mapping[str, Any]]], now_ms: int) -> None:
        """Remember what would otherwise be asked for again and again."""
        for table, added in rows.items():
            self.added += len(added)
            for row in added:
                self.latest_ms[table] = max(row["time_ms"], self.latest_ms[table] or row["time_ms"])
        since = now_ms - int(RATE_S * 1000)
        while self._written and self._written[0] <= since:
            self._written.popleft()
        # What the page catches up with at its start was written long before.
        self._written.extend(post["written_ms"] for post in rows["posts"] if post["written_ms"] > since)

    def _write(
        self,
        verb: str,
        posts: Sequence[Mapping[str, Any]],
        letters: Sequence[Mapping[str, Any]],
        positions: Mapping[TopicPartition, int],
        now_ms: int,
    ) -> None:
        """Write all in one transaction.

        With INSERT OR REPLACE DuckDB 2.0 takes four times as long, and memory that it does not give back:
        some 0.2 MB for a thousand rows. So it is only for what is there already.
        """
        columns = dict(self.columns)
        self._db.begin()
        try:
            if posts:
                self._add_posts(verb, posts, now_ms)
            if letters:
                self._insert(verb, "dead_letters", letters, _DEAD, now_ms)
            for part, offset in positions.items():
                place = [part.topic, part.partition]
                if part in self._positions:
                    self._db.execute(
                        "UPDATE positions SET next_offset = ? WHERE topic = ? AND part = ?", [offset, *place]
                    )
                else:
                    self._db.execute("INSERT INTO positions VALUES (?, ?, ?)", [*place, offset])
            self._db.commit()
        except BaseException:  # also Ctrl-C: nothing of it may stay behind
            self.columns = columns
            self._db.rollback()
            raise
        self._positions |= positions

    def _add_posts(self, verb: str, posts: Sequence[Mapping[str, Any]], now_ms: int) -> None:
        self._make_columns(name for post in posts for name in post["fields"])
        rows = []
        for post in posts:
            row = {name: post[name] for name in _POST}
            for name, value in post["fields"].items():
                if name in self.columns:
                    row[self.columns[name]] = value
            rows.append(row)
        kinds = [_POST | dict.fromkeys(self.columns.values(), "VARCHAR")]
        self._insert(verb, "posts", rows, kinds, now_ms)

    def _make_columns(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.columns and len(self.columns) < MOST_COLUMNS:
                column = f"f{len(self.columns)}"
                self._db.execute(f"ALTER TABLE posts ADD COLUMN {column} VARCHAR")
                self._db.execute("INSERT INTO fields VALUES (?, ?)", [name, column])
                self.columns = {**self.columns, name: column}

    def _insert(
        self, verb: str, table: str, rows: Sequence[Mapping[str, Any]], kinds: object, now_ms: int
    ) -> None:
        self._db.execute(
            f"{verb} INTO {table} BY NAME "
            "SELECT row.*, ? AS received_ms FROM (SELECT unnest(from_json(?, ?)) AS row)",
            [now_ms, as_json(rows), orjson.dumps(kinds).decode()],
        )

    def positions(self) -> dict[TopicPartition, int]:
        """The offset to read next of each partition that has been read."""
        return dict(self._positions)

    def rate(self) -> float:
        """Posts a second that the workers have written lately."""
        since = time.time_ns() // 1_000_000 - int(RATE_S * 1000)
        with self._lock:
            return sum(written > since for written in self._written) / RATE_S

    def oldest_ms(self, now_ms: int) -> int:
        """The time before which nothing is kept."""
        return now_ms - int(self.keep_s * 1000)

    def forget_old(self, now_ms: int | None = None) -> None:
        """Remove what is older than `keep_s`, by its own time or because it came so long ago.

        It stays in the tables for `GRACE_MS` more; `oldest_ms` says what still counts.
        """
        oldest = self.oldest_ms(time.time_ns() // 1_000_000 if now_ms is None else now_ms)
        with self._lock:
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table} WHERE time_ms < ?", [oldest - GRACE_MS])
                # For senders whose clock is ahead: their posts would stay for ever.
                gone = self._db.execute(
                    f"DELETE FROM {table} WHERE received_ms < ? RETURNING time_ms",
                    [oldest - GRACE_MS - AHEAD_MS],
                ).fetchall()
                if any(time_ms >= oldest for (time_ms,) in gone):
                    self.rewritten += 1
                    self.version += 1

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within it, all that this thread asks for is of the same state: nothing is written meanwhile."""
        with self._lock:
            yield

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query."""
        with self._lock:
            answer = self._db.execute(sql, parameters)
            names = [column[0] for column in answer.description or ()]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()
