"""What the page keeps and what it shows of it, without a browser and without Kafka."""

import contextlib
import json
import math
import socket
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from worker.dashboard.app import Page, listen, read_view
from worker.dashboard.messages import Unreadable, read_dead_letter, read_post
from worker.dashboard.reader import State
from worker.dashboard.report import ENOUGH, Reporter
from worker.dashboard.store import AHEAD_MS, GRACE_MS, MOST_COLUMNS, Store
from worker.dashboard.view import View
from worker.errors import DashboardError, PortInUse
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


@pytest.mark.parametrize(("supported", "wanted"), [(True, 0.7), (None, 0.7), (False, None)])
def test_a_post_that_the_pack_does_not_read_has_no_mood(supported: object, wanted: float | None) -> None:
    found = post(1, supported=supported)
    assert found["mood"] == (None if wanted is None else pytest.approx(wanted))
    assert "supported" not in found["fields"]


@pytest.mark.parametrize(
    ("changes", "toxic"),
    [
        ({"toxicity_label": "toxic", "toxicity_score": 0.42, "toxicity_toxic": 0.42}, True),
        ({"toxicity_label": "not_toxic", "toxicity_score": 0.4, "toxicity_toxic": 0.6}, False),
        ({"toxicity_label": "rude"}, False),
        ({"toxicity_label": None}, None),
        ({"toxicity_label": 1}, None),
    ],
)
def test_a_post_is_toxic_where_its_label_says_so(
    store: Store, changes: dict[str, object], toxic: bool | None
) -> None:
    one = post(1, **changes)
    assert one["toxic"] is toxic
    store.add([one], [], {})
    report = shown(store, View(300))
    assert report["posts"][0]["toxic"] is toxic
    assert report["totals"]["toxic"] == (toxic is True)
    shares = {True: ["yes"], False: ["no"], None: []}
    assert report["fields"].get("toxic", []) == shares[toxic]


def test_a_topic_without_single_scores_says_what_is_toxic_too() -> None:
    """`sink.columns = labels` leaves the scores of each label out."""
    bodies = [mood(number) for number in (1, 2, 3)]
    for body in bodies:
        del body["toxicity_toxic"]
    bodies[0] |= {"toxicity_label": "toxic"}
    bodies[1] |= {"toxicity_label": "anger"}  # of another head of this name
    posts = [found for body in bodies if isinstance(found := read_post(record(body)), dict)]
    assert [one["toxic"] for one in posts] == [True, None, False]
    assert {one["toxicity"] for one in posts} == {None}


def test_fields_of_the_sender_are_told_from_columns_of_the_heads() -> None:
    fields = post(1, product="kettle", stars=4, tags=["a"], emotional="yes", lang="en")["fields"]
    assert fields == {"product": "kettle", "stars": "4", "emotional": "yes"}


def test_a_post_that_comes_again_counts_once_and_the_later_labels_hold(store: Store) -> None:
    store.add([post(1), post(2)], [], {})
    store.add([post(1, "negative"), post(1, "negative")], [], {})
    totals = shown(store, View(300))["totals"]
    assert (totals["posts"], totals["positive"], totals["negative"]) == (2, 1, 1)


def test_what_is_older_than_the_limit_is_not_kept(store: Store) -> None:
    assert store.add([post(1), post(2, event_time_ms=NOW_MS - 3_700_000)], [], {}) == 1
    assert shown(store, View(86_400))["totals"]["posts"] == 1


def test_a_post_of_the_future_is_forgotten_as_well() -> None:
    store = Store(None, 0.2)
    store.add([post(1, event_time_ms=NOW_MS + 10**12)], [], {})
    time.sleep(0.3)
    store.forget_old(time.time_ns() // 1_000_000 + GRACE_MS + AHEAD_MS)
    assert store.rows("SELECT count(*) AS posts FROM posts") == [{"posts": 0}]


def test_the_rate_is_of_what_the_workers_write_now(store: Store) -> None:
    now_ms = time.time_ns() // 1_000_000
    old, new = (
        read_post(Record("moods", 0, 0, at_ms, None, json.dumps(mood(number)).encode(), ()))
        for number, at_ms in ((1, now_ms - 60_000), (2, now_ms))
    )
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    store.add([old, new], [], {})
    assert store.rate() == pytest.approx(0.1)


def test_a_store_in_a_file_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "moods.duckdb"
    first = Store(path, 3_600)
    first.add([post(1)], [], {TopicPartition("moods", 0): 7})
    first.close()
    second = Store(path, 3_600)
    assert second.positions() == {TopicPartition("moods", 0): 7}
    assert shown(second, View(300))["totals"]["posts"] == 1
    second.close()


def test_a_file_of_another_layout_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "moods.duckdb"
    first = Store(path, 3_600)
    first.add([post(1)], [], {TopicPartition("moods", 0): 7})
    first.close()
    with duckdb.connect(str(path)) as database:
        database.execute("UPDATE moodstream_layout SET version = 1; ALTER TABLE posts DROP COLUMN mood")
    second = Store(path, 3_600)
    assert second.positions() == {}
    second.add([post(1)], [], {})
    second.close()


def test_a_database_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE posts (title VARCHAR); INSERT INTO posts VALUES ('mine')")
    with pytest.raises(DashboardError, match="tables of something else"):
        Store(path, 60)
    with duckdb.connect(str(path)) as database:
        assert database.execute("FROM posts").fetchall() == [("mine",)]


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
    report = shown(store, View(300, filters={"field.product": "a"}))
    assert report["totals"]["posts"] == 30
    assert sum(row["posts"] for row in report["series"]) == 30
    assert sum(row["positive"] for row in report["series"]) == report["totals"]["positive"] == 10
    assert [(row["value"], row["posts"]) for row in report["breakdowns"]["field.product"]] == [("a", 30)]
    whole = shown(store, View(300))
    assert [(row["value"], row["posts"]) for row in whole["breakdowns"]["field.product"]] == [
        ("a", 30),
        ("b", 30),
    ]
    assert whole["fields"] == {
        "sentiment": ["negative", "neutral", "positive"],
        "emotion": ["joy"],
        "toxic": ["no"],
        "model": ["compact@1"],
        "field.product": ["a", "b"],
    }
    assert whole["totals"]["mood"] == pytest.approx(0.0, abs=1e-9)


def test_outputs_of_two_packs_can_be_told_apart(store: Store) -> None:
    store.add([post(1), post(2), post(2, "negative", model="other@2")], [], {})
    store.add([post(3, model="other@2")], [], {})
    report = shown(store, View(300))
    assert {row["value"]: row["posts"] for row in report["breakdowns"]["model"]} == {
        "compact@1": 2,
        "other@2": 2,
    }
    assert report["totals"]["twice"] == 1
    [one] = shown(store, View(300, filters={"model": "other@2", "sentiment": "negative"}))["posts"]
    assert (one["event_id"], one["model"]) == ("posts:0:2", "other@2")


def test_a_head_that_the_page_does_not_know_is_a_filter(store: Store) -> None:
    other = {"event_id": "x", "event_time_ms": NOW_MS - 1_000, "schema_version": 1, "model": "news@1"}
    strike = read_post(record(other | {"topic_label": "strike", "topic_score": 0.9, "topic_strike": 0.9}))
    assert isinstance(strike, dict)
    store.add([strike, post(1)], [], {})
    report = shown(store, View(300, filters={"field.topic": "strike"}))
    assert report["posts"][0]["fields"] == {"topic": "strike"}
    # What has no sentiment is not neutral: shares are of the posts that have one.
    totals = shown(store, View(300))["totals"]
    assert (totals["posts"], totals["judged"], totals["measured"]) == (2, 1, 1)


def test_a_field_with_the_name_of_a_filter_is_another_filter(store: Store) -> None:
    names = {"emotion": "calm", "toxic": "maybe", "span": "wide", "to": "you"}
    store.add([post(1, **names), post(2)], [], {})
    for name, value in names.items():
        assert shown(store, View(300, filters={f"field.{name}": value}))["totals"]["posts"] == 1
    assert shown(store, View(300, filters={"emotion": "joy", "toxic": "no"}))["totals"]["posts"] == 2


def test_a_pick_narrows_what_is_counted_and_leaves_the_lines(store: Store) -> None:
    store.add([post(number) for number in range(100)], [], {})
    report = shown(store, View(300, pick=(NOW_MS - 20_000, NOW_MS - 10_000)))
    assert (report["totals"]["posts"], len(report["posts"])) == (10, 10)
    assert sum(row["posts"] for row in report["series"]) == 100
    assert report["live"] is False


def test_fields_beyond_the_limit_are_left_out(store: Store) -> None:
    for number in range(MOST_COLUMNS + 5):
        store.add([post(number, **{f"name{number}": "x"})], [], {})
    assert len(store.columns) == MOST_COLUMNS
    assert shown(store, View(300))["totals"]["posts"] == MOST_COLUMNS + 5


def test_a_clock_that_is_ahead_is_told(store: Store) -> None:
    store.add([post(1), post(2, event_time_ms=NOW_MS + 3_600_000)], [], {})
    report = shown(store, View(300))
    assert (report["totals"]["posts"], report["ahead"]) == (1, 1)


def test_what_rises_is_seen_against_the_first_half(store: Store) -> None:
    early = [post(number, emotion_label="joy") for number in range(200, 200 + ENOUGH)]
    late = [post(number, emotion_label="anger") for number in range(ENOUGH)]
    store.add(early + late[1:], [], {})
    assert {row["change"] for row in shown(store, View(300))["emotions"]} == {None}  # one too few
    store.add(late, [], {})
    changes = {row["emotion"]: row["change"] for row in shown(store, View(300))["emotions"]}
    assert changes == {"joy": -1.0, "anger": 1.0}


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=30), value=st.text(max_size=30))
def test_no_field_name_becomes_part_of_a_query(name: str, value: str) -> None:
    store = Store(None, 3_600)
    store.add([post(1, product="a"), post(2, **{name: "b"})], [], {})
    report = shown(store, View(300, filters={f"field.{name}": value}))
    assert report["totals"]["posts"] == int((name, value) == ("product", "a"))
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
@example(changes={"event_time_ms": -998204254900226})
def test_no_message_of_another_shape_stops_the_store(changes: dict[str, object]) -> None:
    found = read_post(record({**mood(1), **changes}))
    if isinstance(found, dict):
        keep_s = 1e12
        store = Store(None, keep_s)
        store.add([found], [], {})
        shown(store, View(300))
        kept = found["time_ms"] >= time.time() * 1000 - keep_s * 1000
        assert store.rows("SELECT count(*) AS posts FROM posts") == [{"posts": int(kept)}]
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
    [letter] = shown(store, View(300))["dead_letters"]
    assert (letter["reason"], letter["messages"], letter["message"]) == ("unknown", 1, "")
    store.close()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("span=1y", "span is one of 5m, 30m, 2h, 6h, 24h, 7d"),
        ("to=yesterday", "to is a Unix time in milliseconds"),
        ("to=-1", "to is a Unix time in milliseconds"),
        ("pick=7", "pick is two Unix times in milliseconds, as in 1700000000000-1700000060000"),
    ],
)
def test_a_wrong_link_gets_a_clear_line(store: Store, query: str, reason: str) -> None:
    client = TestClient(Page(store, State(), "moods").app)
    answer = client.get(f"/api/view?{query}")
    assert (answer.status_code, answer.text) == (400, reason)


def test_a_link_holds_the_view() -> None:
    query = {"span": "2h", "to": "1700000000000", "pick": "1-2", "field.product": "kettle", "lang": "de"}
    view = read_view(query | {"utm_source": "mail"})  # what somebody hung on it does no harm
    assert view == View(7_200, 1_700_000_000_000, {"field.product": "kettle", "lang": "de"}, (1, 2))


def test_nothing_from_elsewhere_may_be_loaded(store: Store) -> None:
    client = TestClient(Page(store, State(), "moods").app)
    for path in ("/", "/api/view", "/charts.js"):
        assert "default-src 'none'" in client.get(path).headers["content-security-policy"]


def test_buckets_are_round_and_never_too_many() -> None:
    for span in (60, 300, 1_800, 7_200, 86_400):
        assert 1 <= math.ceil(span / View(span).step_s) <= 120


def test_a_browser_that_comes_before_the_server_is_not_refused() -> None:
    """The address is shown when the socket is there, and a busy machine takes its time to serve."""
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        socket.create_connection(address, timeout=5).close()
        with pytest.raises(PortInUse, match="Address already in use"):
            listen(*address)


@pytest.mark.parametrize("name", ["posts.csv", "posts.parquet"])
def test_a_table_is_no_store(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT 1 AS a, 2 AS b) TO '{path}'")
    before = path.read_bytes()
    with pytest.raises(DashboardError, match=rf"--store .*{name}: "):
        Store(path, 60)
    assert path.read_bytes() == before
