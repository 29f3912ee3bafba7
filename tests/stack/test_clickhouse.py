"""What the tables of `deploy/clickhouse/` make of labelled posts: doubled, late and labelled again."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.stack.conftest import PRODUCTS, ClickHouse

pytestmark = pytest.mark.stack

Moods = list[dict[str, object]]
BY_SENDER = {"product", "source", "lang", "supported", "text"}
"""Fields that an output message may lack."""


def _sums(clickhouse: ClickHouse, table: str) -> dict[str, object]:
    [row] = clickhouse.rows(
        "SELECT toInt64(sum(messages)) AS messages, toInt64(sum(positive)) AS positive, "
        "toInt64(sum(negative)) AS negative, round(sum(mood_sum), 6) AS mood, "
        f"toInt64(sum(arraySum(mapValues(emotions)))) AS emotions FROM moodstream.{table}"
    )
    return {name: int(value) if name != "mood" else value for name, value in row.items()}  # type: ignore[call-overload]


def _expected(moods: Sequence[dict[str, object]]) -> dict[str, object]:
    moods = [mood for mood in moods if mood.get("supported", True)]
    labels = [mood["sentiment_label"] for mood in moods]
    return {
        "messages": len(moods),
        "positive": labels.count("positive"),
        "negative": labels.count("negative"),
        "mood": pytest.approx(
            sum(
                float(str(mood["sentiment_positive"])) - float(str(mood["sentiment_negative"]))
                for mood in moods
            ),
            abs=1e-3,
        ),
        "emotions": len(moods),
    }


@pytest.mark.parametrize("table", ["minutes", "hours"])
def test_no_sum_doubles_when_every_message_comes_twice(
    clickhouse: ClickHouse, moods: Moods, table: str
) -> None:
    clickhouse.receive(moods)
    clickhouse.refresh()
    clickhouse.receive(moods)
    clickhouse.refresh()
    clickhouse.receive([*moods, *moods])
    clickhouse.refresh()
    clickhouse.refresh()
    assert _sums(clickhouse, table) == _expected(moods)
    assert clickhouse.query("SELECT count() FROM moodstream.posts") == str(len(moods))


def test_a_late_message_is_added_to_its_window(clickhouse: ClickHouse, moods: Moods) -> None:
    clickhouse.receive(moods[1:])
    clickhouse.refresh()
    before = _sums(clickhouse, "minutes")
    clickhouse.receive(moods[:1])  # the oldest one of all
    clickhouse.refresh()
    assert before == _expected(moods[1:])
    assert _sums(clickhouse, "minutes") == _expected(moods)


def test_labels_of_another_model_replace_those_of_the_first(clickhouse: ClickHouse, moods: Moods) -> None:
    """A topic that is read again with another pack has the same event ids, and other emotions."""
    clickhouse.receive(moods)
    clickhouse.refresh()
    again = [
        {
            **mood,
            "emotion_group": "surprise",
            "model": "other@1",
            "processed_time_ms": int(str(mood["processed_time_ms"])) + 60_000,
        }
        for mood in moods
    ]
    clickhouse.receive(again)
    clickhouse.refresh()
    assert _sums(clickhouse, "minutes") == _expected(again)
    answer = clickhouse.query("SELECT DISTINCT mapKeys(emotions) FROM moodstream.minutes WHERE messages > 0")
    assert answer == "['surprise']"


def test_means_by_a_field_of_the_sender(clickhouse: ClickHouse, moods: Moods) -> None:
    clickhouse.receive(moods)
    clickhouse.receive(moods)
    clickhouse.refresh()
    rows = clickhouse.rows(
        "SELECT product, sum(mood_sum) / sum(messages) AS mood FROM moodstream.minutes GROUP BY product"
    )
    found = {row["product"]: row["mood"] for row in rows}
    assert set(found) == set(PRODUCTS)
    for product, mean in found.items():
        scores = [
            float(str(mood["sentiment_positive"])) - float(str(mood["sentiment_negative"]))
            for mood in moods
            if mood["product"] == product and mood.get("supported", True)
        ]
        assert mean == pytest.approx(sum(scores) / len(scores), abs=1e-4)


def test_marked_words_are_those_of_the_text(clickhouse: ClickHouse, moods: Moods) -> None:
    """Ranges count code points, also after an emoji."""
    text = "\U0001f600\U0001f600 you utter moron, go away"
    mood = {**moods[0], "event_id": "x", "text": text, "toxic_spans": [[13, 18]]}
    assert text[13:18] == "moron"
    clickhouse.receive([mood, {**mood, "event_id": "y", "text": ""}])
    rows = clickhouse.rows("SELECT event_id, toxic_words FROM moodstream.posts ORDER BY event_id")
    assert [row["toxic_words"] for row in rows] == [["moron"], []]


def test_a_post_is_toxic_where_its_label_says_so(clickhouse: ClickHouse, moods: Moods) -> None:
    """A pack may call a post toxic below a score of 0.5, or not above it."""
    said = [("toxic", 0.42), ("not_toxic", 0.42), ("toxic", 0.9), ("not_toxic", 0.55)]
    clickhouse.receive(
        [
            {**moods[0], "event_id": str(n), "toxicity_label": label, "toxicity_toxic": score}
            for n, (label, score) in enumerate(said)
        ]
    )
    clickhouse.refresh()
    rows = clickhouse.rows("SELECT event_id, toxic FROM moodstream.posts ORDER BY event_id")
    assert [row["toxic"] for row in rows] == [label == "toxic" for label, _ in said]
    [row] = clickhouse.rows("SELECT toInt64(toxic) AS toxic FROM moodstream.minutes")
    assert int(str(row["toxic"])) == 2


def test_posts_that_the_pack_does_not_read_are_counted_apart(clickhouse: ClickHouse, moods: Moods) -> None:
    """Their labels would pull every mean towards neutral."""
    mixed = [{**mood, "supported": number % 4 != 0} for number, mood in enumerate(moods)]
    clickhouse.receive(mixed)
    clickhouse.refresh()
    for table in ("minutes", "hours"):
        assert _sums(clickhouse, table) == _expected(mixed)
        apart = clickhouse.query(f"SELECT toInt64(sum(unsupported)) FROM moodstream.{table}")
        assert int(apart) == sum(not mood["supported"] for mood in mixed)
    kept = clickhouse.query("SELECT count() FROM moodstream.posts WHERE NOT supported")
    assert int(kept) == sum(not mood["supported"] for mood in mixed)


def test_a_window_of_unread_posts_alone_has_no_mean(clickhouse: ClickHouse, moods: Moods) -> None:
    clickhouse.receive([{**moods[0], "supported": False}])
    clickhouse.refresh()
    [row] = clickhouse.rows("SELECT toInt64(messages) AS messages, mood, toxicity FROM moodstream.minutes")
    assert (int(str(row["messages"])), row["mood"], row["toxicity"]) == (0, None, None)


def test_a_message_without_the_senders_fields_is_kept(clickhouse: ClickHouse, moods: Moods) -> None:
    bare = {key: value for key, value in moods[0].items() if key not in BY_SENDER}
    clickhouse.receive([{**bare, "unknown": [1, 2]}])
    clickhouse.refresh()
    assert clickhouse.rows("SELECT product, source, lang, text FROM moodstream.posts") == [
        {"product": "", "source": "", "lang": "", "text": ""}
    ]
    assert _sums(clickhouse, "minutes")["messages"] == 1


@pytest.mark.parametrize("lacking", [("toxic",), ("toxic", "supported", "unsupported")])
def test_older_tables_keep_their_posts_and_get_the_new_columns(
    clickhouse: ClickHouse, moods: Moods, lacking: tuple[str, ...]
) -> None:
    """By the SQL of the how-to page, after which the files are run again."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "analytics.md").read_text(encoding="utf-8")
    [sql] = [block for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "ALTER TABLE" in block]
    drops = "".join(line for line in sql.splitlines(keepends=True) if line.startswith("DROP"))
    clickhouse.receive([{**moods[0], "event_id": "old", "toxicity_label": "toxic", "toxicity_toxic": 0.7}])
    clickhouse.execute(drops)
    columns = [("moods", name) for name in ("toxic", "supported")]
    columns += [(table, "unsupported") for table in ("mood_by_minute", "mood_by_hour")]
    for table, name in columns:
        if name in lacking:
            clickhouse.execute(f"ALTER TABLE moodstream.{table} DROP COLUMN {name};\n")
    clickhouse.execute(sql)
    clickhouse.create()
    clickhouse.receive([{**moods[1], "event_id": "new", "toxicity_label": "toxic", "toxicity_toxic": 0.4}])
    clickhouse.refresh()
    rows = clickhouse.rows("SELECT event_id, toxic, supported FROM moodstream.posts ORDER BY event_id")
    assert rows == [{"event_id": name, "toxic": True, "supported": True} for name in ("new", "old")]
    sums = "toInt64(sum(toxic)), toInt64(sum(unsupported))"
    assert clickhouse.query(f"SELECT {sums} FROM moodstream.minutes") == "2\t0"
