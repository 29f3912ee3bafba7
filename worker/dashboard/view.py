"""What the page shows of a stretch of time: sums, lines, breakdowns and posts, each one query."""

# ruff: noqa: S608 - the queries are put together from texts of this file; what a sender wrote is a parameter

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.dashboard.store import Store

MOST_BUCKETS = 120
MOST_VALUES = 12
"""Values of a field in a breakdown; filters offer ten times as many."""

NEWEST = 50
"""Posts in the list."""

OWN_FIELDS = ("lang", "model")
"""Fields that every message can be filtered by, besides those that the sender gave."""

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)
_AHEAD_MS = 60_000


@dataclass(frozen=True)
class View:
    """A stretch of time and the filters on it. `to_ms` None means up to now, and live. Unix times in ms."""

    span_s: float
    to_ms: int | None = None
    filters: Mapping[str, str] = field(default_factory=dict)

    def limits(self, now_ms: int) -> tuple[int, int]:
        """Its start and end."""
        end = now_ms if self.to_ms is None else self.to_ms
        return end - int(self.span_s * 1000), end

    @property
    def step_s(self) -> int:
        """The width of a bucket: the shortest round one that gives at most `MOST_BUCKETS`."""
        return next((step for step in _STEPS_S if self.span_s / step <= MOST_BUCKETS), _STEPS_S[-1])


class Reporter:
    """Answers what a view shows, from one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def report(self, view: View, now_ms: int | None = None) -> dict[str, Any]:
        """Everything that the page draws, ready for JSON."""
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        start, end = view.limits(now_ms)
        where, values = _where(view.filters)
        inside = f"time_ms > ? AND time_ms <= ?{where}"
        scope = [start, end, *values]
        fields = self._fields()
        return {
            "from_ms": start,
            "to_ms": end,
            "live": view.to_ms is None,
            "step_s": view.step_s,
            "totals": self._totals(inside, scope),
            "series": self._series(view.step_s, inside, scope),
            "emotions": self._emotions(inside, scope, (start + end) // 2),
            "breakdowns": {name: self._breakdown(name, inside, scope) for name in fields},
            "fields": fields,
            "posts": self.posts(view, now_ms),
            "dead_letters": self._store.rows(
                "SELECT reason, count(*) AS messages FROM dead_letters WHERE time_ms > ? AND time_ms <= ? "
                "GROUP BY reason ORDER BY messages DESC, reason",
                [start, end],
            ),
            "ahead": self._ahead(now_ms),
        }

    def posts(self, view: View, now_ms: int | None = None) -> list[dict[str, Any]]:
        """The newest posts of a view, the last one first."""
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        where, values = _where(view.filters)
        return self._store.rows(
            "SELECT event_id, time_ms, sentiment, round(mood, 3) AS mood, emotion, toxicity, lang, model, "
            f"text, marks, fields FROM posts WHERE time_ms > ? AND time_ms <= ?{where} "
            f"ORDER BY time_ms DESC, event_id DESC LIMIT {NEWEST}",
            [*view.limits(now_ms), *values],
        )

    def _totals(self, inside: str, scope: list[Any]) -> dict[str, Any]:
        [totals] = self._store.rows(
            "SELECT count(*) AS posts, count(*) FILTER (sentiment = 'positive') AS positive, "
            "count(*) FILTER (sentiment = 'neutral') AS neutral, "
            "count(*) FILTER (sentiment = 'negative') AS negative, avg(mood) AS mood, "
            f"count(*) FILTER (toxicity >= 0.5) AS toxic FROM posts WHERE {inside}",
            scope,
        )
        return totals

    def _series(self, step_s: int, inside: str, scope: list[Any]) -> list[dict[str, Any]]:
        step_ms = step_s * 1000
        return self._store.rows(
            f"SELECT time_ms - time_ms % {step_ms} AS time_ms, count(*) AS posts, "
            "count(*) FILTER (sentiment = 'positive') AS positive, "
            "count(*) FILTER (sentiment = 'neutral') AS neutral, "
            "count(*) FILTER (sentiment = 'negative') AS negative, round(avg(mood), 4) AS mood, "
            f"round(avg(toxicity), 4) AS toxicity FROM posts WHERE {inside} GROUP BY 1 ORDER BY 1",
            scope,
        )

    def _emotions(self, inside: str, scope: list[Any], middle: int) -> list[dict[str, Any]]:
        """Posts by emotion, with its share in the first and the second half of the time: what is rising."""
        rows = self._store.rows(
            "SELECT emotion, count(*) AS posts, count(*) FILTER (time_ms <= ?) AS before "
            f"FROM posts WHERE emotion IS NOT NULL AND {inside} GROUP BY emotion "
            "ORDER BY posts DESC, emotion",
            [middle, *scope],
        )
        before = sum(row["before"] for row in rows)
        after = sum(row["posts"] for row in rows) - before
        for row in rows:
            earlier = row.pop("before")
            row["share"] = row["posts"] / (before + after)
            later_share = (row["posts"] - earlier) / after if after else 0.0
            row["change"] = later_share - earlier / before if before else None
        return rows

    def _fields(self) -> dict[str, list[str]]:
        """The fields to filter by, and their most frequent values."""
        rows = self._store.rows(
            "SELECT name, value FROM (SELECT unnest(map_keys(fields)) AS name, "
            "unnest(map_values(fields)) AS value FROM posts) GROUP BY name, value "
            "QUALIFY row_number() OVER (PARTITION BY name ORDER BY count(*) DESC, value) "
            f"<= {MOST_VALUES * 10} "
            "ORDER BY name, count(*) DESC, value"
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["name"], []).append(row["value"])
        for name in OWN_FIELDS:
            values = self._store.rows(
                f"SELECT {name} AS value FROM posts WHERE {name} IS NOT NULL GROUP BY 1 "
                f"ORDER BY count(*) DESC, 1 LIMIT {MOST_VALUES * 10}"
            )
            if values:
                found[name] = [row["value"] for row in values]
        return found

    def _breakdown(self, name: str, inside: str, scope: list[Any]) -> list[dict[str, Any]]:
        column, values = _column(name)
        return self._store.rows(
            f"SELECT {column} AS value, count(*) AS posts, round(avg(mood), 3) AS mood, "
            f"count(*) FILTER (toxicity >= 0.5) / count(*) AS toxic FROM posts WHERE {inside} "
            f"GROUP BY 1 HAVING value IS NOT NULL ORDER BY posts DESC, 1 LIMIT {MOST_VALUES}",
            [*values, *scope],
        )

    def _ahead(self, now_ms: int) -> int:
        """Posts whose time is still to come: a sender's clock is ahead."""
        [row] = self._store.rows(
            "SELECT count(*) AS posts FROM posts WHERE time_ms > ?", [now_ms + _AHEAD_MS]
        )
        return int(row["posts"])


def _column(name: str) -> tuple[str, list[str]]:
    """The SQL of a field, and the values of its parameters. Names of the sender are never part of the SQL."""
    return (name, []) if name in OWN_FIELDS else ("fields[?]", [name])


def _where(filters: Mapping[str, str]) -> tuple[str, list[str]]:
    text, values = "", list[str]()
    for name, value in filters.items():
        column, parameters = _column(name)
        text += f" AND {column} = ?"
        values += [*parameters, value]
    return text, values
