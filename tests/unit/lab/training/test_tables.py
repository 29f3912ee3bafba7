"""A user's table as a task: heads, label indices, held-out rows, and mistakes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from worker.errors import InputError, TrainingError
from worker.lab.data.table import TableReader, TableRows, head_name
from worker.lab.data.table_rows import TableOptions
from worker.model.text.normaliser import RAW

TOKENIZER = Path(__file__).parents[4] / "worker" / "packs" / "compact" / "tokenizer.json"


def _read(tables: Sequence[TableOptions], seed: int = 1, lines: list[str] | None = None) -> list[TableRows]:
    say = (lines if lines is not None else []).append
    return TableReader(TOKENIZER, RAW, seed, say).read(tables, [16] * len(tables))


def _write(path: Path, rows: Sequence[tuple[str, Any]], label: str = "topic") -> Path:
    lines = [json.dumps({"text": text, label: value}) for text, value in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _rows(labels: Sequence[Any], each: int, word: str = "row") -> list[tuple[str, Any]]:
    return [(f"{word} {number} of {label}", label) for label in labels for number in range(each)]


def test_a_table_becomes_ids_and_held_out_texts(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.jsonl", _rows(["strike", "protest", "10", "9"], 20))
    (own,) = _read([TableOptions(path)])
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
    first = _read([TableOptions(_write(tmp_path / "a.jsonl", rows))])[0]
    other_way = _read([TableOptions(_write(tmp_path / "b.jsonl", rows[::-1] + rows[:5]))])[0]
    other_seed = _read([TableOptions(tmp_path / "a.jsonl")], seed=2)[0]
    assert first.held == other_way.held
    assert first.labels == other_way.labels
    assert set(first.held.texts) != set(other_seed.held.texts)


def test_several_labels_a_row_make_a_head_of_many(tmp_path: Path) -> None:
    rows = [*_rows(["a;b", "b"], 10), *_rows(["c"], 8), ("none of them", [])]
    (own,) = _read([TableOptions(_write(tmp_path / "a.jsonl", rows))])
    assert own.head.multi_label
    assert own.head.labels == ("a", "b", "c")
    assert {(0, 1), (1,), (2,)} <= set(own.labels) | set(own.held.labels)


def test_tables_of_one_head_share_their_labels_and_others_do_not(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.jsonl", _rows(["a", "c"], 5))
    two = _write(tmp_path / "two.jsonl", _rows(["b", "c"], 5, "line"))
    three = _write(tmp_path / "three.jsonl", _rows(["x", "y"], 5), label="tone")
    read = _read([TableOptions(one), TableOptions(two), TableOptions(three, label_column="tone")])
    assert [own.head.name for own in read] == ["topic", "topic", "tone"]
    assert read[0].head == read[1].head
    assert read[0].head.labels == ("a", "b", "c")
    assert {label for row in read[1].labels for label in row} == {1, 2}
    assert read[2].head.labels == ("x", "y")


def test_a_known_head_keeps_its_labels(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", _rows(["positive", "negative"], 6))
    (own,) = _read([TableOptions(path, head="sentiment")])
    assert own.head.labels == ("negative", "neutral", "positive")
    assert own.binary
    assert {label for row in own.labels for label in row} == {0, 2}


def test_a_file_to_judge_by_is_not_learnt_from(tmp_path: Path) -> None:
    rows = _rows(["a", "b"], 10)
    lines: list[str] = []
    train, dev = _write(tmp_path / "train.jsonl", rows), _write(tmp_path / "dev.jsonl", rows[8:11])
    (own,) = _read([TableOptions(train, dev=dev)], lines=lines)
    assert (len(own.ids), len(own.labels), len(own.held.texts)) == (17, 17, 3)
    assert set(own.held.texts) == {text for text, _ in rows[8:11]}
    assert lines[-1] == f"{train}: 3 rows stand in {dev} too and are not learnt from"


def test_a_bound_on_rows_draws_them(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", _rows(["a", "b"], 200))
    lines: list[str] = []
    (own,) = _read([TableOptions(path, rows=100)], lines=lines)
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
        _read([TableOptions(_write(tmp_path / "a.jsonl", rows), **wish)])
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.jsonl"))
    assert len(str(caught.value).splitlines()) == 1


def test_labels_to_judge_by_that_nothing_teaches(tmp_path: Path) -> None:
    train = _write(tmp_path / "train.jsonl", _rows(["a", "b"], 6))
    dev = _write(tmp_path / "dev.jsonl", [("new", "c")])
    with pytest.raises(TrainingError, match=r"dev\.jsonl: the label 'c' is in no row that .*which has a, b"):
        _read([TableOptions(train, dev=dev)])
    with pytest.raises(TrainingError, match=r"one\.jsonl: all rows have the same label: there is nothing"):
        _read([TableOptions(train, dev=_write(tmp_path / "one.jsonl", _rows(["a"], 3, "new")))])
    with pytest.raises(InputError, match=r"gone\.csv: No such file"):
        _read([TableOptions(train, dev=tmp_path / "gone.csv")])
    with pytest.raises(TrainingError, match="no row has both a text and a label"):
        _read([TableOptions(train, dev=_write(tmp_path / "empty.jsonl", [("", "a")]))])


@pytest.mark.parametrize(
    ("column", "name"), [("Topic", "topic"), ("news topic", "news_topic"), ("a.b", "a_b"), ("темы", "label")]
)
def test_heads_are_named_by_their_column(column: str, name: str) -> None:
    assert head_name(column) == name


def test_labels_that_differ_in_case_or_as_numbers_are_one(tmp_path: Path) -> None:
    rows = [
        *_rows(["love", "hate"], 8),
        ("more love", "Love"),
        ("loud love", " LOVE "),
        ("loud hate", "Hate"),
    ]
    lines: list[str] = []
    (own,) = _read([TableOptions(_write(tmp_path / "a.jsonl", rows))], lines=lines)
    assert own.head.labels == ("hate", "love")
    said = [line.partition(": ")[2] for line in lines[1:]]
    assert sorted(said) == [
        "the label 'Hate' (1 rows) is taken as 'hate'",
        "the label 'LOVE' (1 rows) is taken as 'love'",
        "the label 'Love' (1 rows) is taken as 'love'",
    ]
    stars = [*_rows(["1", "2"], 5), *_rows([1, 2.0], 5, "number"), *_rows(["1.0", "2.0"], 5, "text")]
    (own,) = _read([TableOptions(_write(tmp_path / "b.jsonl", stars, "stars"), "text", "stars")])
    assert own.head.labels == ("1", "2")


def test_tables_of_one_head_and_a_known_head_agree_on_the_spelling(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.jsonl", _rows(["Love", "hate"], 5))
    two = _write(tmp_path / "two.jsonl", _rows(["love", "hate"], 6, "line"))
    read = _read([TableOptions(one), TableOptions(two)])
    assert read[0].head.labels == read[1].head.labels == ("hate", "love")
    dev = _write(tmp_path / "dev.jsonl", _rows(["LOVE", "Hate"], 2, "new"))
    (own,) = _read([TableOptions(one, dev=dev)])
    assert own.head.labels == ("Love", "hate")
    known = _write(tmp_path / "known.jsonl", _rows(["Positive", "NEGATIVE"], 6))
    (own,) = _read([TableOptions(known, head="sentiment")])
    assert own.head.labels == ("negative", "neutral", "positive")


def test_words_for_a_missing_label_are_no_class_and_are_told(tmp_path: Path) -> None:
    rows = [
        *_rows(["love", "hate"], 8),
        *[(f"x {n}", word) for n, word in enumerate(["N/A", "nan", "NULL", "nan"])],
    ]
    lines: list[str] = []
    (own,) = _read([TableOptions(_write(tmp_path / "a.jsonl", rows))], lines=lines)
    assert own.head.labels == ("hate", "love")
    assert lines[0].endswith("16 kept; 4 without a label (also written 'nan' 2, 'N/A' 1, 'NULL' 1)")


def test_a_word_that_may_be_a_class_or_a_missing_label_is_asked_about(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", [*_rows(["+"], 8), *_rows(["-"], 8, "line")])
    with pytest.raises(
        TrainingError, match=r"a\.jsonl, line 9: the column 'topic' holds '-', a class or a missing"
    ):
        _read([TableOptions(path)])
    (own,) = _read([TableOptions(path, labels="one")])
    assert own.head.labels == ("+", "-")


def test_lists_as_pandas_writes_them_are_several_labels(tmp_path: Path) -> None:
    lines = [f"text {n},\"['joy', 'love']\"\nword {n},\"['anger']\"\n" for n in range(6)]
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    (own,) = _read([TableOptions(path)])
    assert own.head.multi_label
    assert own.head.labels == ("anger", "joy", "love")


def test_a_dev_file_that_holds_all_rows_leaves_none_to_learn_from(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.jsonl", _rows(["a", "b"], 10))
    with pytest.raises(TrainingError, match=r"all of its rows stand in .*mine\.jsonl too: none is left"):
        _read([TableOptions(path, dev=path)])


def test_a_dev_file_that_holds_all_rows_of_a_label_leaves_it_untaught(tmp_path: Path) -> None:
    rows = _rows(["a", "b", "c"], 10)
    path = _write(tmp_path / "mine.jsonl", rows)
    dev = _write(tmp_path / "dev.jsonl", [row for row in rows if row[1] == "c"] + _rows(["a"], 3, "new"))
    with pytest.raises(TrainingError, match=r"the label 'c' is in no row that .* teaches, which has a, b"):
        _read([TableOptions(path, dev=dev)])
