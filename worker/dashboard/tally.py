"""What is counted of the posts and dead letters in a stretch of time."""

# ruff: noqa: S608 - the queries are put together from texts of this package; what a sender wrote is a parameter

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.dashboard.store import Store
from worker.dashboard.view import FIELD, OWN_FIELDS, column, step_for, where
from worker.dashboard.window import Window

NEWEST = 50
"""Posts in the list."""

MOST_TALLIED = 1_000
"""Values of a field that are counted one by one; a field with more of them is asked for, now and then."""

ASK_AGAIN_S = 10.0
"""How long the most frequent values of such a field stand still."""
_SUMS = (
    "count(*) AS posts, coalesce(sum(mood), 0) AS mood, count(mood) AS moods, "
    "count(*) FILTER (toxic) AS toxic, count(toxic) AS measured"
)
_LABELS = ("sentiment", "emotion", "toxicity", "toxic", "lang", "model")


@dataclass(slots=True)
class Sums:
    """How many posts, and the sums from which their mean mood and their share of toxic ones follow."""

    posts: int = 0
    mood: float = 0.0
    moods: int = 0
    toxic: int = 0
    measured: int = 0

    def add(self, row: Mapping[str, Any], sign: int) -> None:
        """Count a post, or with sign -1 no longer."""
        self.posts += sign
        if row["mood"] is not None:
            self.moods += sign
            self.mood = self.mood + sign * row["mood"] if self.moods else 0.0  # no rest of rounding stays
        if row["toxic"] is not None:
            self.measured += sign
            self.toxic += sign * row["toxic"]

    @property
    def mean_mood(self) -> float | None:
        """None without any."""
        return self.mood / self.moods if self.moods else None

    @property
    def toxic_share(self) -> float | None:
        """None without any post that is called toxic or not."""
        return self.toxic / self.measured if self.measured else None


@dataclass(slots=True)
class Bar:
    """The posts of one step of time."""

    sums: Sums = field(default_factory=Sums)
    texts: int = 0
    sentiments: Counter[str] = field(default_factory=Counter)
    emotions: Counter[str] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any], sign: int) -> None:
        """Count a post, or with sign -1 no longer."""
        self.sums.add(row, sign)
        self.texts += sign * row["has_text"]
        for labels, label in ((self.sentiments, row["sentiment"]), (self.emotions, row["emotion"])):
            if label is not None:
                labels[label] += sign


class Values(Window):
    """Posts that fit the filters, by the values of their fields."""

    table = "posts"

    def __init__(self, store: Store, filters: Mapping[str, str]) -> None:
        super().__init__(store, filters)
        self._values: dict[str, dict[str, Sums]] = {}
        self._asked_s: dict[str, float] = {}

    def condition(self) -> tuple[str, dict[str, str]]:
        """See `Window`."""
        return where(self.filters, self.store.columns)

    def names(self) -> Iterable[str]:
        """The fields whose values are counted."""
        return [*OWN_FIELDS, *(FIELD + name for name in self.store.columns)]

    def columns(self) -> Sequence[str]:
        """See `Window`."""
        return ("mood", *_LABELS, *self.store.columns.values())

    def count(self, inside: str, scope: Mapping[str, Any]) -> None:
        """See `Window`."""
        self._values.clear()
        self._asked_s.clear()
        for name in self.names():
            self._ask(name, inside, scope)

    def _ask(self, name: str, inside: str, scope: Mapping[str, Any]) -> None:
        rows = self.store.rows(
            f"SELECT {column(name, self.store.columns)} AS value, {_SUMS} FROM posts "
            f"WHERE {inside} AND value IS NOT NULL GROUP BY 1 ORDER BY posts DESC, 1 "
            f"LIMIT {MOST_TALLIED + 1}",
            scope,
        )
        self._values[name] = {row.pop("value"): Sums(**row) for row in rows}
        if len(rows) > MOST_TALLIED:
            self._asked_s[name] = time.monotonic()

    def change(self, row: Mapping[str, Any], sign: int) -> None:
        """See `Window`."""
        for name in self.names():
            value = _value(row, name, self.store.columns)
            if value is None or name in self._asked_s:
                continue
            found = self._values.setdefault(name, {})
            sums = found.get(value)
            if sums is None:
                sums = found[value] = Sums()
                if len(found) > MOST_TALLIED:
                    self._asked_s[name] = 0.0
            sums.add(row, sign)
            if not sums.posts:
                del found[value]

    def move(self, start_ms: int, end_ms: int, now_ms: int) -> None:
        """See `Window`."""
        with self.store.snapshot():
            super().move(start_ms, end_ms, now_ms)
            now_s = time.monotonic()
            due = [name for name, asked_s in self._asked_s.items() if asked_s + ASK_AGAIN_S <= now_s]
            if due:
                inside, scope = self.inside()
                for name in due:
                    del self._asked_s[name]
                    self._ask(name, inside, scope)

    def known(self, name: str) -> int:
        """How many values of a field are told apart."""
        return len(self._values.get(name, {}))

    def most(self, name: str, limit: int) -> list[tuple[str, Sums]]:
        """The most frequent values of a field, with their sums."""
        found = self._values.get(name, {})
        return sorted(found.items(), key=lambda item: (-item[1].posts, item[0]))[:limit]


class Tally(Values):
    """Posts that fit the filters: over time, by the fields that are broken down, and the newest ones."""

    def __init__(self, store: Store, filters: Mapping[str, str], span_s: float) -> None:
        super().__init__(store, filters)
        self._step_ms = 1000 * step_for(span_s)
        self.bars: dict[int, Bar] = {}
        """The posts by the start of a step, where there are any. Unix milliseconds."""
        self.newest: list[dict[str, Any]] = []
        """The last one first."""

    def names(self) -> Iterable[str]:
        """The fields whose values are counted: those that the page breaks down."""
        return ["lang", "model", *(FIELD + name for name in self.store.columns)]

    def columns(self) -> Sequence[str]:
        """See `Window`."""
        return (*super().columns(), "event_id", "time_ms", "text", "text IS NOT NULL AS has_text", "marks")

    def count(self, inside: str, scope: Mapping[str, Any]) -> None:
        """See `Window`."""
        super().count(inside, scope)
        self.bars = {}
        bar = f"time_ms - time_ms % {self._step_ms}"
        for row in self.store.rows(
            f"SELECT {bar} AS bar, sentiment, {_SUMS}, count(text) AS texts FROM posts "
            f"WHERE {inside} GROUP BY ALL",
            scope,
        ):
            found = self.bars.setdefault(row.pop("bar"), Bar())
            found.texts += row.pop("texts")
            sentiment = row.pop("sentiment")
            if sentiment is not None:
                found.sentiments[sentiment] = row["posts"]
            for name, value in row.items():
                setattr(found.sums, name, getattr(found.sums, name) + value)
        for row in self.store.rows(
            f"SELECT {bar} AS bar, emotion, count(*) AS posts FROM posts "
            f"WHERE emotion IS NOT NULL AND {inside} GROUP BY ALL",
            scope,
        ):
            self.bars[row["bar"]].emotions[row["emotion"]] = row["posts"]
        self.newest = self.store.rows(
            f"SELECT {', '.join(self.columns())} FROM posts WHERE {inside} "
            f"ORDER BY time_ms DESC, event_id DESC, model LIMIT {NEWEST}",
            scope,
        )

    def change(self, row: Mapping[str, Any], sign: int) -> None:
        """See `Window`."""
        super().change(row, sign)
        start = row["time_ms"] - row["time_ms"] % self._step_ms
        bar = self.bars.setdefault(start, Bar())
        bar.add(row, sign)
        if not bar.sums.posts:
            del self.bars[start]
        if sign > 0:
            self.newest.append(dict(row))

    def move(self, start_ms: int, end_ms: int, now_ms: int) -> None:
        """See `Window`."""
        super().move(start_ms, end_ms, now_ms)
        # Those that leave are the oldest: what stays of a full list is still the newest ones.
        rows = [row for row in self.newest if row["time_ms"] >= self.start_ms]
        rows.sort(key=lambda row: str(row["model"]))
        rows.sort(key=lambda row: (row["time_ms"], row["event_id"]), reverse=True)
        self.newest = rows[:NEWEST]

    def twice(self) -> int:
        """Labels of posts that another model has labelled too."""
        inside, scope = self.inside()
        [row] = self.store.rows(
            f"SELECT count(*) - count(DISTINCT event_id) AS twice FROM posts WHERE {inside}", scope
        )
        return int(row["twice"])


@dataclass(slots=True)
class Reason:
    """Dead letters of one reason, and what the last of them says."""

    messages: int = 0
    latest_ms: int = 0
    message: str = ""


class Letters(Window):
    """Dead letters by reason, whatever the filters say."""

    table = "dead_letters"

    def __init__(self, store: Store) -> None:
        super().__init__(store, {})
        self.reasons: dict[str, Reason] = {}

    def condition(self) -> tuple[str, dict[str, str]]:
        """See `Window`."""
        return "", {}

    def columns(self) -> Sequence[str]:
        """See `Window`."""
        return ("reason", "time_ms", "message")

    def count(self, inside: str, scope: Mapping[str, Any]) -> None:
        """See `Window`."""
        rows = self.store.rows(
            "SELECT reason, count(*) AS messages, max(time_ms) AS latest_ms, "
            f"arg_max(message, time_ms) AS message FROM dead_letters WHERE {inside} GROUP BY reason",
            scope,
        )
        self.reasons = {row.pop("reason"): Reason(**row) for row in rows}

    def change(self, row: Mapping[str, Any], sign: int) -> None:
        """See `Window`."""
        found = self.reasons.setdefault(row["reason"], Reason())
        found.messages += sign
        if not found.messages:
            del self.reasons[row["reason"]]
        elif sign > 0 and row["time_ms"] >= found.latest_ms:
            found.latest_ms, found.message = row["time_ms"], row["message"]


def _value(row: Mapping[str, Any], name: str, columns: Mapping[str, str]) -> str | None:
    """What a post has in a field: the same as the SQL of `view.column`."""
    if name == "toxic":
        return None if row["toxic"] is None else "yes" if row["toxic"] else "no"
    found: str | None = row[name if name in OWN_FIELDS else columns[name.removeprefix(FIELD)]]
    return found
