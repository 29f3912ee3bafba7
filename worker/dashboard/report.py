"""What the page shows of a view, put together from what is counted; the store is asked for changes only."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from worker.dashboard.store import AHEAD_MS, Store
from worker.dashboard.tally import Bar, Letters, Tally, Values
from worker.dashboard.view import FIELD, View

MOST_VALUES = 12
"""Values of a field in a breakdown."""

MOST_OPTIONS = 120
"""Values of a field that a filter offers."""

RANK_MS = 30_000
"""How long the values that a filter offers stay when a field has more of them."""

ENOUGH = 20
"""Posts that each half of the time needs before a change of an emotion's share is shown."""

MOST_TALLIES = 16
"""Views that are counted side by side; of more, the one that was not asked for the longest is dropped."""

STILL_MS = 5_000
"""How long a live view stands still when nothing comes in."""

PAUSED_STILL_MS = 60_000
"""The same for a view of a fixed time, which changes only by what is no longer kept."""

_EVER_MS = 2**63 - 1
_BROKEN_DOWN = ("lang", "model")
_SENTIMENTS = ("positive", "neutral", "negative")


class _Made(NamedTuple):
    state: tuple[int, int]
    now_ms: int
    report: dict[str, Any]


class _Counted:
    """All that is counted for one view."""

    def __init__(self, store: Store, view: View) -> None:
        self.whole = Tally(store, view.filters, view.span_s)
        self.part = self.whole
        if view.pick is not None:
            self.part = Tally(store, view.filters, (view.pick[1] - view.pick[0]) / 1000)
        self.letters = Letters(store)
        self.made: _Made | None = None


class Reporter:
    """Answers what a view shows, from one store. Any thread may ask.

    An answer to a view that was asked for just before costs one query for the posts that came and left, one
    for what can be filtered by, and one for the dead letters where there are any; it costs none at all when
    nothing was written since. Browsers with the same view share it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._options = Values(store, {})
        self._fields_shown: dict[str, list[str]] = {}
        self._ranked_ms = 0
        self._counted: dict[Any, _Counted] = {}

    def report(self, view: View, now_ms: int | None = None) -> dict[str, Any]:
        """Everything that the page draws, ready for JSON."""
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        with self._lock, self._store.snapshot():
            counted = self._find(view)
            state = (self._store.received_ms, self._store.rewritten)
            made = counted.made
            if made is None or made.state != state or not _still(view, made.now_ms, now_ms):
                made = counted.made = _Made(state, now_ms, self._make(view, counted, now_ms))
            return dict(made.report)

    def _find(self, view: View) -> _Counted:
        key = (view.span_s, view.to_ms, view.pick, tuple(sorted(view.filters.items())))
        counted = self._counted.pop(key, None) or _Counted(self._store, view)
        self._counted[key] = counted  # the last one is the one that was asked for last
        if len(self._counted) > MOST_TALLIES:
            del self._counted[next(iter(self._counted))]
        return counted

    def _make(self, view: View, counted: _Counted, now_ms: int) -> dict[str, Any]:
        start, end = view.limits(now_ms)
        first, last = view.pick or (start, end)
        self._options.move(0, _EVER_MS, now_ms)
        counted.whole.move(start, end, now_ms)
        if counted.part is not counted.whole:
            counted.part.move(first, last, now_ms)
        counted.letters.move(first, last, now_ms)
        fields = self._fields(now_ms)
        broken_down = [name for name in fields if name.startswith(FIELD) or name in _BROKEN_DOWN]
        part = counted.part
        twice = part.twice() if len(fields.get("model", ())) > 1 else 0
        return {
            "from_ms": start,
            "to_ms": end,
            "pick": view.pick,
            "live": view.to_ms is None and view.pick is None,
            "step_s": view.step_s,
            "totals": _totals(part.bars) | {"twice": twice},
            "series": _series(counted.whole.bars),
            "emotions": _emotions(part.bars, (first + last) // 2),
            "breakdowns": {name: _breakdown(part, name) for name in broken_down},
            "fields": fields,
            "posts": [_post(row, self._store.columns) for row in part.newest],
            "dead_letters": _dead_letters(counted.letters),
            **self._outside(now_ms),
        }

    def _fields(self, now_ms: int) -> dict[str, list[str]]:
        """The values to filter by, in alphabetical order.

        Of a field with too many, the most frequent ones; which these are is looked up now and then, so that a
        page need not make its lists anew every second.
        """
        anew = not self._ranked_ms <= now_ms < self._ranked_ms + RANK_MS
        fields = dict[str, list[str]]()
        for name in self._options.names():
            if anew or name not in self._fields_shown or self._options.known(name) <= MOST_OPTIONS:
                fields[name] = sorted(value for value, _ in self._options.most(name, MOST_OPTIONS))
            else:
                fields[name] = self._fields_shown[name]
        self._ranked_ms = now_ms if anew else self._ranked_ms
        self._fields_shown = fields
        return {name: found for name, found in fields.items() if found}

    def _outside(self, now_ms: int) -> dict[str, int | None]:
        """What the reader should know of the posts that a view does not show.

        `ahead` counts posts whose time is still to come: a sender's clock is ahead. `newest_ms` is the time
        of the newest of the others.
        """
        oldest, limit, latest = (
            self._store.oldest_ms(now_ms),
            now_ms + AHEAD_MS,
            self._store.latest_ms["posts"],
        )
        if latest is None or latest <= limit:
            return {"ahead": 0, "newest_ms": latest if latest is not None and latest >= oldest else None}
        [row] = self._store.rows(
            "SELECT count(*) FILTER (time_ms > $limit) AS ahead, "
            "max(time_ms) FILTER (time_ms <= $limit) AS newest_ms FROM posts WHERE time_ms >= $oldest",
            {"limit": limit, "oldest": oldest},
        )
        return row


def _still(view: View, made_ms: int, now_ms: int) -> bool:
    """Whether a report can be shown again if nothing was written since."""
    return made_ms <= now_ms < made_ms + (STILL_MS if view.to_ms is None else PAUSED_STILL_MS)


def _totals(bars: Mapping[int, Bar]) -> dict[str, Any]:
    """Counts, and the mean mood."""
    sentiments = Counter[str]()
    posts = texts = toxic = measured = moods = 0
    mood = 0.0
    for bar in bars.values():
        sentiments.update(bar.sentiments)
        sums = bar.sums
        posts, texts, moods = posts + sums.posts, texts + bar.texts, moods + sums.moods
        mood, toxic, measured = mood + sums.mood, toxic + sums.toxic, measured + sums.measured
    return {
        "posts": posts,
        "judged": sentiments.total(),
        **{name: sentiments[name] for name in _SENTIMENTS},
        "mood": mood / moods if moods else None,
        "measured": measured,
        "toxic": toxic,
        "texts": texts,
    }


def _series(bars: Mapping[int, Bar]) -> list[dict[str, Any]]:
    return [
        {
            "time_ms": start,
            "posts": bar.sums.posts,
            **{name: bar.sentiments[name] for name in _SENTIMENTS},
            "mood": _rounded(bar.sums.mean_mood, 4),
            "toxic": _rounded(bar.sums.toxic_share, 4),
        }
        for start, bar in sorted(bars.items())
    ]


def _emotions(bars: Mapping[int, Bar], middle_ms: int) -> list[dict[str, Any]]:
    """Posts by emotion, with its share in the first and the second half of the time: what is rising.

    The halves are of whole steps of time.
    """
    before, after = Counter[str](), Counter[str]()
    for start, bar in bars.items():
        (before if start < middle_ms else after).update(bar.emotions)
    posts = before + after
    befores, afters = before.total(), after.total()
    enough = min(befores, afters) >= ENOUGH
    return [
        {
            "emotion": emotion,
            "posts": count,
            "share": count / (befores + afters),
            "change": after[emotion] / afters - before[emotion] / befores if enough else None,
        }
        for emotion, count in sorted(posts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _breakdown(tally: Tally, name: str) -> list[dict[str, Any]]:
    return [
        {
            "value": value,
            "posts": sums.posts,
            "mood": _rounded(sums.mean_mood, 3),
            "toxic": sums.toxic_share,
        }
        for value, sums in tally.most(name, MOST_VALUES)
    ]


def _post(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    values = {name: row.get(column) for name, column in columns.items()}
    return {
        **{name: row[name] for name in ("event_id", "time_ms", "sentiment")},
        "mood": _rounded(row["mood"], 3),
        **{name: row[name] for name in ("emotion", "toxicity", "toxic", "lang", "model", "text", "marks")},
        "fields": {name: value for name, value in values.items() if value is not None},
    }


def _dead_letters(letters: Letters) -> list[dict[str, Any]]:
    return [
        {"reason": reason, "messages": found.messages, "message": found.message}
        for reason, found in sorted(letters.reasons.items(), key=lambda item: (-item[1].messages, item[0]))
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
