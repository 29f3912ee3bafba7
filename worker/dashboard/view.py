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

OWN_FIELDS = {
    "sentiment": "sentiment",
    "emotion": "emotion",
    "toxic": "CASE WHEN toxicity >= 0.5 THEN 'yes' WHEN toxicity < 0.5 THEN 'no' END",
    "lang": "lang",
    "model": "model",
}
"""What every message can be filtered by, and its SQL, besides the fields that the sender gave."""

FIELD = "field."
"""What stands before the name of a sender's field, so that none is taken for one of ours."""

_BROKEN_DOWN = ("lang", "model")

ENOUGH = 20
"""Posts that each half of the time needs before a change of an emotion's share is shown."""

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)
_AHEAD_MS = 60_000


@dataclass(frozen=True)
class View:
    """A stretch of time and the filters on it. Unix times in milliseconds.

    `to_ms` None means up to now, and live. `pick` is a shorter stretch in it, whose posts alone are counted
    and listed, while the lines go on showing the whole.
    """

    span_s: float
    to_ms: int | None = None
    filters: Mapping[str, str] = field(default_factory=dict)
    pick: tuple[int, int] | None = None

    def limits(self, now_ms: int) -> tuple[int, int]:
        """Its start and its end, which is not part of it."""
        end = now_ms + 1 if self.to_ms is None else self.to_ms
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
        first, last = view.pick or (start, end)
        columns = self._store.columns
        names = [*OWN_FIELDS, *(FIELD + name for name in columns)]
        where, values = _where(view.filters, columns)
        inside = f"time_ms >= ? AND time_ms < ?{where}"
        scope = [first, last, *values]
        options = {name: self._options(_column(name, columns)) for name in names}
        fields = {name: found for name, found in options.items() if found}
        broken_down = [name for name in fields if name.startswith(FIELD) or name in _BROKEN_DOWN]
        return {
            "from_ms": start,
            "to_ms": end,
            "pick": view.pick,
            "live": view.to_ms is None and view.pick is None,
            "step_s": view.step_s,
            "totals": self._totals(inside, scope, several=len(fields.get("model", ())) > 1),
            "series": self._series(view.step_s, inside, [start, end, *values]),
            "emotions": self._emotions(inside, scope, (first + last) // 2),
            "breakdowns": {
                name: self._breakdown(_column(name, columns), inside, scope) for name in broken_down
            },
            "fields": fields,
            "posts": self._posts(columns, inside, scope),
            "dead_letters": self._store.rows(
                "SELECT reason, count(*) AS messages, arg_max(message, time_ms) AS message "
                "FROM dead_letters WHERE time_ms >= ? AND time_ms < ? GROUP BY reason "
                "ORDER BY messages DESC, reason",
                [first, last],
            ),
            **self._outside(now_ms),
        }

    def _posts(self, columns: Mapping[str, str], inside: str, scope: list[Any]) -> list[dict[str, Any]]:
        """The newest posts, the last one first."""
        rows = self._store.rows(
            "SELECT event_id, time_ms, sentiment, round(mood, 3) AS mood, emotion, toxicity, lang, model, "
            f"text, marks{''.join(f', {column}' for column in columns.values())} FROM posts WHERE {inside} "
            f"ORDER BY time_ms DESC, event_id DESC, model LIMIT {NEWEST}",
            scope,
        )
        for row in rows:
            values = {name: row.pop(column) for name, column in columns.items()}
            row["fields"] = {name: value for name, value in values.items() if value is not None}
        return rows

    def _totals(self, inside: str, scope: list[Any], *, several: bool) -> dict[str, Any]:
        """Counts, and the mean mood. `twice` are the labels of posts that another model has labelled too."""
        twice = "count(*) - count(DISTINCT event_id)" if several else "0"
        [totals] = self._store.rows(
            "SELECT count(*) AS posts, count(sentiment) AS judged, "
            "count(*) FILTER (sentiment = 'positive') AS positive, "
            "count(*) FILTER (sentiment = 'neutral') AS neutral, "
            "count(*) FILTER (sentiment = 'negative') AS negative, avg(mood) AS mood, "
            "count(toxicity) AS measured, count(*) FILTER (toxicity >= 0.5) AS toxic, "
            f"count(text) AS texts, {twice} AS twice FROM posts WHERE {inside}",
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
            "round(count(*) FILTER (toxicity >= 0.5) / nullif(count(toxicity), 0), 4) AS toxic "
            f"FROM posts WHERE {inside} GROUP BY 1 ORDER BY 1",
            scope,
        )

    def _emotions(self, inside: str, scope: list[Any], middle: int) -> list[dict[str, Any]]:
        """Posts by emotion, with its share in the first and the second half of the time: what is rising."""
        rows = self._store.rows(
            "SELECT emotion, count(*) AS posts, count(*) FILTER (time_ms < ?) AS before "
            f"FROM posts WHERE emotion IS NOT NULL AND {inside} GROUP BY emotion "
            "ORDER BY posts DESC, emotion",
            [middle, *scope],
        )
        before = sum(row["before"] for row in rows)
        after = sum(row["posts"] for row in rows) - before
        for row in rows:
            earlier = row.pop("before")
            row["share"] = row["posts"] / (before + after)
            enough = min(before, after) >= ENOUGH
            row["change"] = (row["posts"] - earlier) / after - earlier / before if enough else None
        return rows

    def _options(self, column: str) -> list[str]:
        """The most frequent values of a field, to filter by."""
        rows = self._store.rows(
            f"SELECT {column} AS value FROM posts WHERE value IS NOT NULL GROUP BY 1 "
            f"ORDER BY count(*) DESC, 1 LIMIT {MOST_VALUES * 10}"
        )
        return [row["value"] for row in rows]

    def _breakdown(self, column: str, inside: str, scope: list[Any]) -> list[dict[str, Any]]:
        return self._store.rows(
            f"SELECT {column} AS value, count(*) AS posts, round(avg(mood), 3) AS mood, "
            f"count(*) FILTER (toxicity >= 0.5) / nullif(count(toxicity), 0) AS toxic FROM posts "
            f"WHERE {inside} AND value IS NOT NULL GROUP BY 1 ORDER BY posts DESC, 1 LIMIT {MOST_VALUES}",
            scope,
        )

    def _outside(self, now_ms: int) -> dict[str, int | None]:
        """What the reader should know of the posts that a view does not show.

        `ahead` counts posts whose time is still to come: a sender's clock is ahead. `newest_ms` is the time
        of the newest of the others.
        """
        [row] = self._store.rows(
            "SELECT count(*) FILTER (time_ms > $limit) AS ahead, "
            "max(time_ms) FILTER (time_ms <= $limit) AS newest_ms FROM posts",
            {"limit": now_ms + _AHEAD_MS},
        )
        return row


def _column(name: str, columns: Mapping[str, str]) -> str:
    """The column of a field; NULL for one that no post has. What a sender wrote is never part of a query."""
    return OWN_FIELDS.get(name) or columns.get(name.removeprefix(FIELD), "NULL")


def _where(filters: Mapping[str, str], columns: Mapping[str, str]) -> tuple[str, list[str]]:
    text = "".join(f" AND ({_column(name, columns)}) = ?" for name in filters)
    return text, list(filters.values())
