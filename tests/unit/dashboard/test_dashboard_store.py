"""What the page keeps and what it shows of it, without a browser and without Kafka."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from worker.dashboard.app import Page, read_view
from worker.dashboard.messages import Unreadable, read_dead_letter, read_post
from worker.dashboard.reader import State
from worker.dashboard.store import Store
from worker.dashboard.view import Reporter, View
from worker.errors import DashboardError
from worker.types import Record, TopicPartition

NOW_MS = time.time_ns() // 1_000_000


def record(body: object, offset: int = 0, **more: Any) -> Record:
    """A record of the output topic."""
    value = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return Record("moods", 0, offset, NOW_MS, b"k", value, **more)


def mood(number: int, sentiment: str = "positive", **more: object) -> dict[str, object]:
    """An output message as the worker writes it, in short."""
    scores = {name: 0.8 if name == sentiment else 0.1 for name in ("positive", "neutral", "negative")}
    return {
        "event_id": f"posts:0:{number}",
        "event_time_ms": NOW_MS - 1_000 * number,
        "sentiment_label": sentiment,
        "sentiment_score": 0.8,
        **{f"sentiment_{name}": score for name, score in scores.items()},
        "emotion_label": "joy",
        "emotion_score": 0.5,
        "emotion_labels": ["joy"],
        "emotion_joy": 0.5,
        "toxicity_label": "not_toxic",
        "toxicity_score": 0.9,
        "toxicity_toxic": 0.1,
        "toxic_spans": [],
        "token_count": 3,
        "truncated": False,
        "model": "compact@1",
        "schema_version": 1,
        **more,
    }


def post(*arguments: Any, **more: Any) -> dict[str, Any]:
    """A row, from a message that must be readable."""
    found = read_post(record(mood(*arguments, **more)))
    assert isinstance(found, dict)
    return found


def shown(store: Store, view: View) -> dict[str, Any]:
    """What a view shows at the time of these messages."""
    return Reporter(store).report(view, NOW_MS)


@pytest.fixture
def store() -> Store:
    return Store(None, 3_600)


def test_fields_of_the_sender_are_told_from_columns_of_the_heads() -> None:
    fields = post(1, product="kettle", stars=4, tags=["a"], emotional="yes", lang="en")["fields"]
    assert fields == {"product": "kettle", "stars": "4", "emotional": "yes"}


def test_a_post_that_comes_again_counts_once_and_the_later_labels_hold(store: Store) -> None:
    store.add([post(1), post(2)], [], {})
    store.add([post(1, "negative"), post(1, "negative")], [], {})
    totals = shown(store, View(300))["totals"]
    assert (totals["posts"], totals["positive"], totals["negative"]) == (2, 1, 1)


def test_what_is_older_than_the_limit_is_not_kept(store: Store) -> None:
    store.add([post(1), post(2, event_time_ms=NOW_MS - 3_700_000)], [], {})
    assert shown(store, View(86_400))["totals"]["posts"] == 1


def test_a_store_in_a_file_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "moods.duckdb"
    first = Store(path, 3_600)
    first.add([post(1)], [], {TopicPartition("moods", 0): 7})
    first.close()
    second = Store(path, 3_600)
    assert second.positions() == {TopicPartition("moods", 0): 7}
    assert shown(second, View(300))["totals"]["posts"] == 1
    second.close()


def test_a_file_that_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello" * 1000)
    with pytest.raises(DashboardError, match=r"--store .*notes\.txt: .+") as caught:
        Store(path, 60)
    assert "\n" not in str(caught.value)


def test_filters_breakdowns_and_lines_agree_with_the_messages(store: Store) -> None:
    rows = [
        post(number, ("positive", "negative", "neutral")[number % 3], product=("a", "b")[number % 2])
        for number in range(60)
    ]
    store.add(rows, [], {})
    report = shown(store, View(300, filters={"product": "a"}))
    assert report["totals"]["posts"] == 30
    assert sum(row["posts"] for row in report["series"]) == 30
    assert sum(row["positive"] for row in report["series"]) == report["totals"]["positive"] == 10
    assert [(row["value"], row["posts"]) for row in report["breakdowns"]["product"]] == [("a", 30)]
    whole = shown(store, View(300))
    assert [(row["value"], row["posts"]) for row in whole["breakdowns"]["product"]] == [("a", 30), ("b", 30)]
    assert whole["fields"] == {"product": ["a", "b"], "model": ["compact@1"]}
    assert whole["totals"]["mood"] == pytest.approx(0.0, abs=1e-9)


def test_outputs_of_two_packs_can_be_told_apart(store: Store) -> None:
    store.add([post(1), post(2, model="other@2")], [], {})
    report = shown(store, View(300))
    assert {row["value"] for row in report["breakdowns"]["model"]} == {"compact@1", "other@2"}


def test_a_clock_that_is_ahead_is_told(store: Store) -> None:
    store.add([post(1), post(2, event_time_ms=NOW_MS + 3_600_000)], [], {})
    report = shown(store, View(300))
    assert (report["totals"]["posts"], report["ahead"]) == (1, 1)


def test_what_rises_is_seen_against_the_first_half(store: Store) -> None:
    early = [post(number, emotion_label="joy") for number in range(200, 210)]
    late = [post(number, emotion_label="anger") for number in range(10)]
    store.add(early + late, [], {})
    changes = {row["emotion"]: row["change"] for row in shown(store, View(300))["emotions"]}
    assert changes == {"joy": -1.0, "anger": 1.0}


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=30), value=st.text(max_size=30))
def test_no_field_name_becomes_part_of_a_query(name: str, value: str) -> None:
    store = Store(None, 3_600)
    store.add([post(1, product="a")], [], {})
    report = shown(store, View(300, filters={name: value}))
    assert report["totals"]["posts"] == int((name, value) in {("product", "a"), ("model", "compact@1")})
    store.close()


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_no_record_stops_the_reader(body: object) -> None:
    found = read_post(record(body))
    assert found is None or isinstance(found, Unreadable)


@settings(max_examples=40, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from([*mood(1), "product", "x\ud800"]),
        st.none() | st.integers(-(2**70), 2**70) | st.text() | st.floats() | st.lists(st.integers()),
        max_size=4,
    )
)
def test_no_message_of_another_shape_stops_the_store(changes: dict[str, object]) -> None:
    found = read_post(record({**mood(1), **changes}))
    if isinstance(found, dict):
        store = Store(None, 1e12)
        store.add([found], [], {})
        shown(store, View(300))
        assert store.rows("SELECT count(*) AS posts FROM posts") == [{"posts": 1}]
        store.close()


def test_a_message_of_another_version_is_counted_as_such() -> None:
    assert read_post(record({**mood(1), "schema_version": 2})) == Unreadable("2")
    assert read_post(record(b"\xff")) == Unreadable("unknown")
    assert read_post(record(None)) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=20)), max_size=5))
def test_any_dead_letter_has_a_reason(headers: list[tuple[str, bytes | None]]) -> None:
    row = read_dead_letter(record(b"", headers=tuple(headers)))
    store = Store(None, 3_600)
    store.add([], [row], {})
    assert shown(store, View(300))["dead_letters"] == [{"reason": "unknown", "messages": 1}]
    store.close()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("span=1y", "span is one of 5m, 30m, 2h, 6h, 24h"),
        ("to=yesterday", "to is a Unix time in milliseconds"),
        ("to=-1", "to is a Unix time in milliseconds"),
    ],
)
def test_a_wrong_link_gets_a_clear_line(store: Store, query: str, reason: str) -> None:
    client = TestClient(Page(store, State(), "moods").app)
    answer = client.get(f"/api/view?{query}")
    assert (answer.status_code, answer.text) == (400, reason)


def test_a_link_holds_the_view() -> None:
    view = read_view({"span": "2h", "to": "1700000000000", "product": "kettle"})
    assert view == View(7_200, 1_700_000_000_000, {"product": "kettle"})


def test_nothing_from_elsewhere_may_be_loaded(store: Store) -> None:
    client = TestClient(Page(store, State(), "moods").app)
    for path in ("/", "/api/view", "/charts.js"):
        assert "default-src 'none'" in client.get(path).headers["content-security-policy"]


def test_buckets_are_round_and_never_too_many() -> None:
    for span in (60, 300, 1_800, 7_200, 86_400):
        assert 1 <= math.ceil(span / View(span).step_s) <= 120
