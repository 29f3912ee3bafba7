"""A stretch of time whose rows are counted once, and then only what comes into it and what leaves it."""

# ruff: noqa: S608 - the queries are put together from texts of this package; what a sender wrote is a parameter

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from worker.dashboard.store import GRACE_MS, Store

MOST_CHANGES = 5_000
"""Rows that may have been written since the last look; if there are more, counting anew is quicker."""


class Window(ABC):
    """The rows of one table whose time is from `start_ms` to before `end_ms`, and that fit a filter.

    A page that watches asks once a second for a stretch that has moved on by a second. Counting it from the
    start would read everything each time; and each grouped query leaves DuckDB 2.0 with half a kilobyte, in a
    queue that it looks through only after tens of thousands of them. So the store is asked for the rows that
    came and for those that left: plain rows, a query for all, which takes the same time however much is kept.

    A subclass says how to count from the start, and how to add or take away one row.
    """

    table: str

    def __init__(self, store: Store, filters: Mapping[str, str]) -> None:
        self.store, self.filters = store, filters
        self.start_ms = self.end_ms = 0
        self._moved_ms: int | None = None
        self._received_ms = self._rewritten = self._added = 0
        self._latest_ms: int | None = None
        self._condition = ""

    @abstractmethod
    def condition(self) -> tuple[str, dict[str, str]]:
        """The filters as SQL that begins with AND, and its parameters."""

    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The columns that `change` reads."""

    @abstractmethod
    def count(self, inside: str, scope: Mapping[str, Any]) -> None:
        """Count from the start what fits the condition `inside`, whose parameters are `scope`."""

    @abstractmethod
    def change(self, row: Mapping[str, Any], sign: int) -> None:
        """Count one row that has come (`sign` is 1) or has left (-1)."""

    def move(self, start_ms: int, end_ms: int, now_ms: int) -> None:
        """Count what is now in the stretch from `start_ms` to before `end_ms`.

        What is no longer kept does not count, wherever the stretch begins.
        """
        with self.store.snapshot():
            start_ms = max(start_ms, self.store.oldest_ms(now_ms))
            condition, values = self.condition()
            goes_on = condition == self._condition and self._may_go_on(start_ms, end_ms, now_ms)
            self._moved_ms = None  # if anything fails, the next time counts from the start
            if goes_on:
                for row in self._changes(start_ms, end_ms, condition, values):
                    self.change(row, row["sign"])
                self.start_ms, self.end_ms = start_ms, end_ms
            else:
                self.start_ms, self.end_ms, self._condition = start_ms, end_ms, condition
                self.count(*self.inside())
            self._moved_ms = now_ms
            self._received_ms, self._rewritten = self.store.received_ms, self.store.rewritten
            self._added, self._latest_ms = self.store.added, self.store.latest_ms[self.table]

    def inside(self) -> tuple[str, dict[str, Any]]:
        """The condition that a row is counted, and its parameters."""
        condition, values = self.condition()
        scope = {"first": self.start_ms, "last": self.end_ms, **values}
        return f"time_ms >= $first AND time_ms < $last{condition}", scope

    def _may_go_on(self, start_ms: int, end_ms: int, now_ms: int) -> bool:
        """Whether what came and what left can be told, and is little."""
        return (
            self._moved_ms is not None
            and self._rewritten == self.store.rewritten
            and self._moved_ms <= now_ms <= self._moved_ms + GRACE_MS // 2  # what left is still there
            and self.start_ms <= start_ms
            and self.end_ms <= end_ms
            and self.store.added - self._added <= MOST_CHANGES
        )

    def _changes(
        self, start_ms: int, end_ms: int, condition: str, values: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The rows that came and those that left, in one query, or in none where there can be none."""
        since, scope = self._received_ms, dict[str, int]()
        parts = list[str]()

        def part(sign: int, written: str, first: int, last: int) -> None:
            place = len(parts)
            scope.update({f"first{place}": first, f"last{place}": last})
            parts.append(
                f"SELECT {sign} AS sign, {', '.join(self.columns())} FROM {self.table} "
                f"WHERE received_ms {written} $since AND time_ms >= $first{place} AND time_ms < $last{place}"
                f"{condition}"
            )

        if self.store.received_ms > since:
            part(1, ">", start_ms, end_ms)
        come = max(self.end_ms, start_ms)
        if come < end_ms and self._latest_ms is not None and self._latest_ms >= come:
            part(1, "<=", come, end_ms)  # of a clock that is ahead: now their time has come
        if self.start_ms < start_ms and self._latest_ms is not None:
            part(-1, "<=", self.start_ms, min(start_ms, self.end_ms))
        if not parts:
            return []
        return self.store.rows(" UNION ALL ".join(parts), {"since": since, **scope, **values})
