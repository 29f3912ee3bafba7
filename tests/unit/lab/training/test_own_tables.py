"""A user's table as a task: heads, numbers, what is held out, and what is wrong with it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from worker.errors import TrainingError
from worker.lab.data.table import Own, OwnReader, OwnRows, head_name
from worker.model.text.normaliser import RAW

TOKENIZER = Path(__file__).parents[4] / "worker" / "packs" / "compact" / "tokenizer.json"


def _read(tables: Sequence[Own], seed: int = 1, lines: list[str] | None = None) -> list[OwnRows]:
    say = (lines if lines is not None else []).append
    return OwnReader(TOKENIZER, RAW, seed, say).read(tables, [16] * len(tables))


def _write(path: Path, rows: Sequence[tuple[str, Any]], label: str = "topic") -> Path:
    lines = [json.dumps({"text": text, label: value}) for text, value in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _rows(labels: Sequence[Any], each: int, word: str = "row") -> list[tuple[str, Any]]:
    return [(f"{word} {number} of {label}", label) for label in labels for number in range(each)]


def test_a_table_becomes_ids_and_held_out_texts(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.jsonl", _rows(["strike", "protest", "10", "9"], 20))
    (own,) = _read([Own(path)])
    assert (own.title, own.head.name, own.head.multi_label, own.binary) == (
        "mine.jsonl",
        "topic",
        False,
        False,
    )
    assert own.head.labels == ("9", "10", "protest", "strike")
    assert (len(own.ids), len(own.labels), len(own.held.texts), len(own.held.labels)) == (64, 64, 16, 16)
    assert own.ids[0].dtype.name == "int32"
    assert all(1 < len(ids) <= 16 for ids in own.ids)
    for text, (label,) in zip(own.held.texts, own.held.labels, strict=True):
        assert text.endswith(f"of {own.head.labels[label]}")


def test_the_split_follows_from_the_seed_and_not_from_the_order_of_the_file(tmp_path: Path) -> None:
    rows = _rows(["a", "b"], 30)
    first = _read([Own(_write(tmp_path / "a.jsonl", rows))])[0]
    other_way = _read([Own(_write(tmp_path / "b.jsonl", rows[::-1] + rows[:5]))])[0]
    other_seed = _read([Own(tmp_path / "a.jsonl")], seed=2)[0]
    assert first.held == other_way.held
    assert first.labels == other_way.labels
    assert set(first.held.texts) != set(other_seed.held.texts)


def test_several_labels_a_row_make_a_head_of_many(tmp_path: Path) -> None:
    rows = [*_rows(["a;b", "b"], 10), *_rows(["c"], 8), ("none of them", [])]
    (own,) = _read([Own(_write(tmp_path / "a.jsonl", rows))])
    assert own.head.multi_label
    assert own.head.labels == ("a", "b", "c")
    assert {(0, 1), (1,), (2,)} <= set(own.labels) | set(own.held.labels)


def test_tables_of_one_head_share_their_labels_and_others_do_not(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.jsonl", _rows(["a", "c"], 5))
    two = _write(tmp_path / "two.jsonl", _rows(["b", "c"], 5, "line"))
    three = _write(tmp_path / "three.jsonl", _rows(["x", "y"], 5), label="tone")
    read = _read([Own(one), Own(two), Own(three, label_column="tone")])
    assert [own.head.name for own in read] == ["topic", "topic", "tone"]
    assert read[0].head == read[1].head
    assert read[0].head.labels == ("a", "b", "c")
    assert {label for row in read[1].labels for label in row} == {1, 2}
    assert read[2].head.labels == ("x", "y")


def test_a_known_head_keeps_its_labels(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", _rows(["positive", "negative"], 6))
    (own,) = _read([Own(path, head="sentiment")])
    assert own.head.labels == ("negative", "neutral", "positive")
    assert own.binary
    assert {label for row in own.labels for label in row} == {0, 2}


def test_a_file_to_judge_by_is_not_learnt_from(tmp_path: Path) -> None:
    rows = _rows(["a", "b"], 10)
    lines: list[str] = []
    train, dev = _write(tmp_path / "train.jsonl", rows), _write(tmp_path / "dev.jsonl", rows[8:11])
    (own,) = _read([Own(train, dev=dev)], lines=lines)
    assert (len(own.ids), len(own.labels), len(own.held.texts)) == (17, 17, 3)
    assert set(own.held.texts) == {text for text, _ in rows[8:11]}
    assert lines[-1] == f"{train}: 3 rows stand in {dev} too and are not learnt from"


def test_a_bound_on_rows_draws_them(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", _rows(["a", "b"], 200))
    lines: list[str] = []
    (own,) = _read([Own(path, rows=100)], lines=lines)
    assert len(own.ids) + len(own.held.texts) == 100
    assert lines[0].endswith(
        "400 rows read, 100 kept; 300 left out by the bound on rows: what is kept was drawn at random"
    )


MANY = _rows(["positive", "negative"], 6)


@pytest.mark.parametrize(
    ("rows", "wish", "told"),
    [
        (_rows(["a"], 9), {}, "all rows are labelled 'a': there is nothing to tell apart"),
        ([*_rows(["a"], 9), *_rows(["b"], 3)], {}, "too few rows for some labels, 4 each are needed ('b' 3)"),
        ([("", "a"), ("text", "")], {}, "no row has both a text and a label"),
        (MANY, {"label_column": "label"}, "no column 'label'; there are: text, topic"),
        (
            MANY,
            {"head": "toxicity"},
            "'negative' is no label of the head 'toxicity', which has",
        ),
        (MANY, {"head": "toxic_spans"}, "the head 'toxic_spans' marks characters; a table has labels"),
        (
            [*MANY, ("both", "positive;negative")],
            {"head": "sentiment"},
            "some rows have several labels, the head 'sentiment' takes one",
        ),
        (
            [*MANY, ("x", {"a": 1})],
            {},
            "line 13: the column 'topic' holds no label but an object (--",
        ),
        (
            [*MANY, ("x", ["a"])],
            {"labels": "one"},
            "line 13: the column 'topic' holds a list, where",
        ),
    ],
)
def test_tables_that_teach_nothing(
    tmp_path: Path, rows: list[tuple[str, Any]], wish: dict[str, Any], told: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        _read([Own(_write(tmp_path / "a.jsonl", rows), **wish)])
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.jsonl"))
    assert len(str(caught.value).splitlines()) == 1


def test_labels_to_judge_by_that_nothing_teaches(tmp_path: Path) -> None:
    train = _write(tmp_path / "train.jsonl", _rows(["a", "b"], 6))
    dev = _write(tmp_path / "dev.jsonl", [("new", "c")])
    with pytest.raises(TrainingError, match=r"dev\.jsonl: the label 'c' is in no row that .*which has a, b"):
        _read([Own(train, dev=dev)])
    with pytest.raises(TrainingError, match=r"one\.jsonl: all rows have the same label: there is nothing"):
        _read([Own(train, dev=_write(tmp_path / "one.jsonl", _rows(["a"], 3, "new")))])
    with pytest.raises(TrainingError, match=r"gone\.csv: no such file"):
        _read([Own(train, dev=tmp_path / "gone.csv")])
    with pytest.raises(TrainingError, match="no row has both a text and a label"):
        _read([Own(train, dev=_write(tmp_path / "empty.jsonl", [("", "a")]))])


@pytest.mark.parametrize(
    ("column", "name"), [("Topic", "topic"), ("news topic", "news_topic"), ("a.b", "a_b"), ("темы", "label")]
)
def test_heads_are_named_by_their_column(column: str, name: str) -> None:
    assert head_name(column) == name
