"""What a page that goes on watching is told: the same as one that has just been opened, at little cost."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.dashboard import tally
from worker.dashboard.report import MOST_OPTIONS, MOST_TALLIES, PAUSED_STILL_MS, RANK_MS, STILL_MS, Reporter
from worker.dashboard.store import AHEAD_MS, Store
from worker.dashboard.tally import MOST_TALLIED
from worker.dashboard.view import View
from worker.dashboard.window import MOST_CHANGES

START_MS = 1_700_000_000_000
MOST_QUERIES = 3
"""For the posts that came and left, for what can be filtered by, and for the dead letters."""


class CountingStore(Store):
    """A store that counts how often it is asked."""

    asked = 0

    def rows(self, *arguments: Any, **more: Any) -> list[dict[str, Any]]:
        self.asked += 1
        return super().rows(*arguments, **more)


class Stage:
    """A store, and a reporter that goes on, at a time that the test sets."""

    def __init__(self, keep_s: float = 3_600) -> None:
        self.now_ms = START_MS
        self.store = CountingStore(None, keep_s)
        self.reporter = Reporter(self.store)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """The time of this stage, for the store."""
        with mock.patch("worker.dashboard.store.time") as time:
            time.time_ns = lambda: self.now_ms * 1_000_000
            yield

    def add(self, *posts: Mapping[str, Any], letters: int = 0) -> None:
        """Write posts, and dead letters of now."""
        dead = [
            {"place": f"{self.now_ms}:{number}", "time_ms": self.now_ms, "reason": ("a", "b")[number % 2]}
            | {"stage": "", "message": str(self.now_ms)}
            for number in range(letters)
        ]
        with self.clock():
            self.store.add(posts, dead, {})

    def report(self, view: View) -> tuple[dict[str, Any], int]:
        """What is told, and how often the store was asked for it."""
        before = self.store.asked
        return self.reporter.report(view, self.now_ms), self.store.asked - before


def post(number: int, time_ms: int, **more: Any) -> dict[str, Any]:
    """A row of a post, of which the number decides everything that is not given."""
    fields = {"product": ("kettle", "phone", "lamp")[number % 3]} if number % 4 else {}
    return {
        "event_id": f"posts:{number}",
        "time_ms": time_ms,
        "sentiment": ("positive", "neutral", "negative", None)[number % 4],
        "mood": None if number % 4 == 3 else (number % 7 - 3) / 4,
        "emotion": ("joy", "anger", None)[number % 3],
        "toxicity": None if number % 5 == 0 else (number % 10) / 10,
        "toxic": None if number % 5 == 0 else number % 10 > 3,
        "model": "compact@1",
        "lang": ("en", "de")[number % 2],
        "text": f"post {number}" if number % 6 else None,
        "marks": [[0, 4]] if number % 9 == 0 else [],
        "fields": fields,
        "written_ms": time_ms,
        **more,
    }


def alike(found: Any, wanted: Any) -> None:
    """The same, but for the last digits of sums that were added in another order."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            alike(found[name], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            alike(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=2e-3)
    else:
        assert found == wanted


VIEWS = (
    View(300),
    View(1_800, filters={"field.product": "kettle"}),
    View(300, filters={"toxic": "yes", "lang": "de"}),
    View(300, START_MS + 60_000),
    View(300, START_MS + 100_000, pick=(START_MS - 30_000, START_MS + 40_000)),
)
# How far the time goes on, how many posts come then, how far before that their time is, what else is done.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 900, 5_000, 12_000, 29_000, 70_000]),
        st.integers(0, 12),
        st.sampled_from([0, 3_000, 100_000, -20_000, -3 * AHEAD_MS]),
        st.sampled_from(["nothing", "nothing", "letters", "again", "forget", "clock back", "field"]),
    ),
    min_size=3,
    max_size=10,
)


@settings(max_examples=12, deadline=None)
@given(steps=STEPS, keep_s=st.sampled_from([40, 200, 3_600]), seed=st.integers(0, 1_000))
def test_a_page_that_watches_is_told_what_a_new_one_is_told(steps: Any, keep_s: float, seed: int) -> None:
    rng, stage, number = random.Random(seed), Stage(keep_s), 0
    for passed_ms, count, before_ms, work in steps:
        stage.now_ms += passed_ms
        posts = []
        for _ in range(count):
            number += 1
            posts.append(post(number, stage.now_ms - before_ms - rng.randrange(30_000)))
        if work == "again" and number:
            posts.append(post(rng.randint(1, number), stage.now_ms, sentiment="neutral", mood=0.0))
        if work == "field":
            posts.append(post(number := number + 1, stage.now_ms, fields={f"f{number}": "new"}))
        if work == "clock back":
            stage.now_ms -= 4_000
        stage.add(*posts, letters=3 * (work == "letters"))
        if work == "forget":
            with stage.clock():
                stage.store.forget_old()
        for view in VIEWS:
            if rng.random() < 0.4:
                stage.now_ms += STILL_MS if not posts else 0  # otherwise a view may stand still
                found, _ = stage.report(view)
                alike(
                    found,
                    Reporter(stage.store).report(view, found["to_ms"] - 1 if found["live"] else stage.now_ms),
                )
    stage.store.close()


def test_an_update_asks_little_of_the_store_and_not_more_with_more_kept() -> None:
    stage = Stage()
    stage.add(*(post(number, START_MS - 400 * number) for number in range(1, 3_000)), letters=5)
    for place, view in enumerate((View(300), View(1_800, filters={"field.product": "kettle"})), 1):
        _, first = stage.report(view)
        assert first > MOST_QUERIES
        for number in range(10_000 * place, 10_000 * place + 20):
            stage.now_ms += 1_000
            stage.add(post(number, stage.now_ms, fields={"product": "kettle"}))
            report, asked = stage.report(view)
            assert report["posts"][0]["event_id"] == f"posts:{number}"
            assert asked <= MOST_QUERIES


def test_a_report_without_news_asks_nothing_also_for_another_browser() -> None:
    stage = Stage()
    stage.add(*(post(number, START_MS - 400 * number) for number in range(1, 100)), letters=5)
    paused = View(300, START_MS)
    first, held = stage.report(View(300))[0], stage.report(paused)[0]
    stage.now_ms += STILL_MS - 1
    assert stage.report(View(300)) == (first, 0)
    stage.now_ms += 1
    report, asked = stage.report(View(300))  # a live view moves on, but not with each look
    assert asked <= MOST_QUERIES
    assert report["to_ms"] == stage.now_ms + 1
    stage.now_ms = START_MS + PAUSED_STILL_MS - 1
    assert stage.report(paused) == (held, 0)


def test_a_page_that_was_away_or_is_far_behind_counts_anew() -> None:
    stage = Stage()
    view = View(300)
    stage.add(*(post(number, START_MS - 400 * number) for number in range(1, 100)))
    stage.report(view)
    stage.now_ms += 100_000
    stage.add(post(100, stage.now_ms))
    _, asked = stage.report(view)
    assert asked > MOST_QUERIES
    stage.now_ms += 1_000
    stage.add(*(post(number, stage.now_ms) for number in range(200, 200 + MOST_CHANGES + 1)))
    report, asked = stage.report(view)
    assert asked > MOST_QUERIES
    assert report["series"][-1]["posts"] == MOST_CHANGES + 2


def test_views_that_nobody_asks_for_are_dropped() -> None:
    stage = Stage()
    stage.add(post(1, START_MS))
    views = [View(300, filters={"lang": str(number)}) for number in range(MOST_TALLIES + 1)]
    for view in views:
        stage.report(view)
    assert stage.report(views[-1])[1] == 0
    assert stage.report(views[0])[1] > 0


def test_a_field_with_very_many_values_still_has_its_most_frequent_ones() -> None:
    stage = Stage()
    view = View(300)
    many = [post(number, START_MS - 1, fields={"user": f"u{number}"}) for number in range(MOST_TALLIED)]
    stage.add(*many)
    stage.report(view)
    # Those that come now are one too many to be counted one by one.
    stage.add(*(post(5_000 + number, START_MS, fields={"user": "often"}) for number in range(3)))
    [first, *_] = stage.report(view)[0]["breakdowns"]["field.user"]
    assert (first["value"], first["posts"]) == ("often", 3)
    stage.now_ms += 1_000
    stage.add(*(post(6_000 + number, stage.now_ms, fields={"user": "often"}) for number in range(3)))
    report, asked = stage.report(view)
    assert asked <= MOST_QUERIES  # it stands still for a while
    assert report["totals"]["posts"] == MOST_TALLIED + 6
    with mock.patch.object(tally, "ASK_AGAIN_S", 0.0):
        stage.now_ms += STILL_MS
        [first, *_] = stage.report(view)[0]["breakdowns"]["field.user"]
    assert (first["value"], first["posts"]) == ("often", 6)


def test_a_filter_with_too_many_values_does_not_change_every_second() -> None:
    stage = Stage()
    posts = [post(number, START_MS, fields={"user": f"u{number:03}"}) for number in range(MOST_OPTIONS + 30)]
    stage.add(*posts)
    first = stage.report(View(300))[0]["fields"]["field.user"]
    assert first == sorted(first)
    assert len(first) == MOST_OPTIONS
    last = f"u{MOST_OPTIONS + 29}"
    assert last not in first
    stage.now_ms += 1_000
    stage.add(*(post(1_000 + number, stage.now_ms, fields={"user": last}) for number in range(2)))
    assert stage.report(View(300))[0]["fields"]["field.user"] == first
    stage.now_ms += RANK_MS
    assert last in stage.report(View(300))[0]["fields"]["field.user"]
