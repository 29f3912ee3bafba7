"""What the page has seen in the last hours, in DuckDB: in memory, or in a file that survives a restart."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from worker.errors import DashboardError
from worker.messages.scalars import as_json
from worker.types import TopicPartition

MEMORY_LIMIT = "512MB"
"""What DuckDB may take; above it, it writes to disk."""

_TABLES = """
CREATE TABLE IF NOT EXISTS posts (
    event_id VARCHAR PRIMARY KEY, time_ms BIGINT, received_ms BIGINT, sentiment VARCHAR, mood DOUBLE,
    emotion VARCHAR, emotion_group VARCHAR, toxicity DOUBLE, model VARCHAR, lang VARCHAR, text VARCHAR,
    marks INTEGER[][], fields MAP(VARCHAR, VARCHAR), place VARCHAR
);
CREATE TABLE IF NOT EXISTS dead_letters (
    place VARCHAR PRIMARY KEY, time_ms BIGINT, reason VARCHAR, stage VARCHAR, message VARCHAR
);
CREATE TABLE IF NOT EXISTS positions (
    topic VARCHAR, part INTEGER, next_offset BIGINT, PRIMARY KEY (topic, part)
);
"""
_POST = (
    '[{"event_id":"VARCHAR","time_ms":"BIGINT","sentiment":"VARCHAR","mood":"DOUBLE","emotion":"VARCHAR",'
    '"emotion_group":"VARCHAR","toxicity":"DOUBLE","model":"VARCHAR","lang":"VARCHAR","text":"VARCHAR",'
    '"marks":[["INTEGER"]],"fields":"MAP(VARCHAR, VARCHAR)","place":"VARCHAR"}]'
)
_DEAD = '[{"place":"VARCHAR","time_ms":"BIGINT","reason":"VARCHAR","stage":"VARCHAR","message":"VARCHAR"}]'


class Store:
    """Posts, dead letters and how far the topics were read. Any thread may call any method.

    Args:
        path: a file that outlives the process; None keeps everything in memory.
        keep_s: how long posts are kept after their own time. Seconds.

    Raises:
        DashboardError: the file cannot be opened, or another process uses it.
    """

    def __init__(self, path: Path | None, keep_s: float) -> None:
        self.keep_s = keep_s
        self._lock = threading.Lock()
        try:
            self._db = duckdb.connect(":memory:" if path is None else str(path))
            self._db.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET threads = 2;")
            self._db.execute(_TABLES)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise DashboardError(f"--store {path}: {reason}") from None
        self.version = 0
        """Grows with everything that is written."""

    def add(
        self,
        posts: Sequence[Mapping[str, Any]],
        dead: Sequence[Mapping[str, Any]],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Keep what was read and how far, in one transaction. A post that comes again replaces itself."""
        now_ms = time.time_ns() // 1_000_000
        oldest = now_ms - int(self.keep_s * 1000)
        with self._lock:
            self._db.begin()
            try:
                if posts:
                    unique = {post["event_id"]: dict(post) for post in posts if post["time_ms"] >= oldest}
                    self._db.execute(
                        "INSERT OR REPLACE INTO posts BY NAME "
                        "SELECT row.*, ? AS received_ms FROM (SELECT unnest(from_json(?, ?)) AS row)",
                        [now_ms, as_json(list(unique.values())), _POST],
                    )
                if dead:
                    self._db.execute(
                        "INSERT OR REPLACE INTO dead_letters BY NAME "
                        "SELECT row.* FROM (SELECT unnest(from_json(?, ?)) AS row)",
                        [as_json([dict(row) for row in dead if row["time_ms"] >= oldest]), _DEAD],
                    )
                for part, offset in positions.items():
                    self._db.execute(
                        "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                        [part.topic, part.partition, offset],
                    )
                self._db.commit()
            except BaseException:  # also Ctrl-C: nothing of it may stay behind
                self._db.rollback()
                raise
            self.version += 1

    def positions(self) -> dict[TopicPartition, int]:
        """The offset to read next of each partition that has been read."""
        rows = self.rows("SELECT topic, part, next_offset FROM positions")
        return {TopicPartition(row["topic"], row["part"]): row["next_offset"] for row in rows}

    def rate(self, over_s: float = 10.0) -> float:
        """Posts a second that have come in lately."""
        since = time.time_ns() // 1_000_000 - int(over_s * 1000)
        [row] = self.rows("SELECT count(*) AS posts FROM posts WHERE received_ms > ?", [since])
        return float(row["posts"]) / over_s

    def forget_old(self) -> None:
        """Remove what is older than `keep_s`."""
        oldest = time.time_ns() // 1_000_000 - int(self.keep_s * 1000)
        with self._lock:
            self._db.execute("DELETE FROM posts WHERE time_ms < ?", [oldest])
            self._db.execute("DELETE FROM dead_letters WHERE time_ms < ?", [oldest])

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query."""
        with self._lock:
            answer = self._db.execute(sql, list(parameters))
            names = [column[0] for column in answer.description or ()]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()
