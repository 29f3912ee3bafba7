"""A user's labelled file: reading it, and one-line errors."""

import json
from pathlib import Path

import pytest

from worker.errors import InputError, MoodstreamError, TrainingError
from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.lab.evaluate.table import table_examples

HEADS = {
    "mood": Head("mood", SINGLE, ("bad", "so-so", "good")),
    "topics": Head("topics", MULTI, ("war", "peace", "food, drink"), (0.5, 0.5, 0.5)),
    "words": Head("words", TOKENS, ("rude",), (0.5,)),
}


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _csv(tmp_path: Path, *rows: str) -> Path:
    return _write(tmp_path / "mine.csv", "\n".join(("text,label", *rows)) + "\n")


def test_a_csv_for_a_head_of_one_label(tmp_path: Path) -> None:
    path = _csv(tmp_path, '"so, so good",Good', "meh,so-so", "", "no,bad")
    found = table_examples(path, HEADS, "text", "label")
    assert (found.head, found.texts, found.labels) == (
        "mood",
        ["so, so good", "meh", "no"],
        HEADS["mood"].labels,
    )
    assert found.classes is not None
    assert found.classes.tolist() == [2, 1, 0]
    assert found.title == "mine.csv"


def test_a_file_that_knows_two_of_three_labels(tmp_path: Path) -> None:
    found = table_examples(_csv(tmp_path, "a,good", "b,bad"), HEADS, "text", "label")
    assert found.labels == ("bad", "good")
    assert found.classes is not None
    assert found.classes.tolist() == [1, 0]
    assert found.title == "mine.csv, between bad and good"


@pytest.mark.parametrize(
    ("value", "labels"),
    [('"war|peace"', [0, 1]), ("war; peace", [0, 1]), ('"food, drink"', [2]), ('"[""war""]"', [0]), ("", [])],
)
def test_several_labels_in_a_field(tmp_path: Path, value: str, labels: list[int]) -> None:
    found = table_examples(_csv(tmp_path, f"a,{value}"), HEADS, "text", "label", head="topics")
    assert found.table is not None
    assert found.table[0].nonzero()[0].tolist() == labels


def test_json_lines_with_lists_and_other_columns(tmp_path: Path) -> None:
    rows = [{"body": "a", "topic": ["war", "peace"]}, {"body": "b", "topic": "peace"}]
    path = _write(tmp_path / "mine.jsonl", "\n\n".join(map(json.dumps, rows)))
    found = table_examples(path, HEADS, "body", "topic")
    assert found.head == "topics"
    assert found.table is not None
    assert found.table.tolist() == [[True, True, False], [False, True, False]]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = tmp_path / "mine.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": ["good", "bad"], "x": [1, 2]}), path)
    assert table_examples(path, HEADS, "text", "label").texts == ["a", "b"]
    with pytest.raises(TrainingError, match="no column 'topic'; there are: text, label, x"):
        table_examples(path, HEADS, "text", "topic")


def test_marked_characters_as_offsets_or_pairs(tmp_path: Path) -> None:
    path = _csv(tmp_path, '👍 fool,"[2, 3, 4, 5]"', 'you fool,"[[4, 8]]"', "fine,[]")
    found = table_examples(path, HEADS, "text", "label", head="words")
    assert found.marked == [frozenset({2, 3, 4, 5}), frozenset({4, 5, 6, 7}), frozenset()]


def test_only_so_many_rows(tmp_path: Path) -> None:
    path = _csv(tmp_path, "a,good", "b,bad", "c,nonsense")
    assert len(table_examples(path, HEADS, "text", "label", rows=2)) == 2


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            "text,label\na,good\nb,great\n",
            "no head has its labels (good, great): mood has bad, so-so",
        ),
        ("text,label\na,good\nb,good\n", "all its rows are labelled good: nothing to tell apart"),
        ("text,label\n", "has no rows"),
        ("", "is empty; a table begins with a line of column names"),
        ("body,label\na,good\n", "no column 'text'; there are: body, label"),
        ("text,label\na,good\n ,bad\n", "line 3: no text in the column text"),
        ("text,label\na,good\nb, \nc,bad\n", "line 3: no label in the column label"),
        ("text,label\na,b,good\n", "line 2: the row has 3 fields, the header 2"),
        ('text,label\n"a,good\n', "line 2: "),
    ],
)
def test_a_bad_table_gives_one_line(tmp_path: Path, content: str, line: str) -> None:
    path = _write(tmp_path / "mine.csv", content)
    with pytest.raises(MoodstreamError) as caught:
        table_examples(path, HEADS, "text", "label")
    assert str(caught.value).startswith(str(path))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", b"[1]\n", "is one JSON document, not one object a line"),
        ("a.jsonl", b'{"text": "a", "label": "good"}\n{\n', "line 2: "),
        ("a.jsonl", b'{"text": "a"}\n', "no column 'label'.*; there are: text"),
        ("a.csv", b"text,label\n\xff,good\n", "not UTF-8"),
        ("a.xlsx", b"x", "the name does not tell the format"),
        ("a.parquet", b"PAR1nonsense", "is not a Parquet file"),
    ],
)
def test_other_formats_that_are_none(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MoodstreamError, match=line):
        table_examples(tmp_path / name, HEADS, "text", "label")


def test_places_outside_of_the_text_and_unknown_heads(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="line 2: an offset is outside its text of 4 characters"):
        table_examples(_csv(tmp_path, 'fool,"[4]"'), HEADS, "text", "label", head="words")
    with pytest.raises(TrainingError, match="line 2: neither a list"):
        table_examples(_csv(tmp_path, "fool,rude"), HEADS, "text", "label", head="words")
    with pytest.raises(TrainingError, match="no head 'moods': the model has mood, topics, words"):
        table_examples(_csv(tmp_path, "a,good"), HEADS, "text", "label", head="moods")
    with pytest.raises(InputError, match="No such file"):
        table_examples(tmp_path / "none.csv", HEADS, "text", "label")
    with pytest.raises(TrainingError, match="line 2: 'great' is no label of the head mood, which has bad"):
        table_examples(_csv(tmp_path, "a,great"), HEADS, "text", "label", head="mood")


def test_labels_are_known_however_they_are_spelt_and_words_for_none_are_not(tmp_path: Path) -> None:
    found = table_examples(_csv(tmp_path, "a,GOOD", "b, Bad ", 'c,"SO-SO"'), HEADS, "text", "label")
    assert found.classes is not None
    assert found.classes.tolist() == [2, 0, 1]
    for word in ("N/A", "nan", "None", "-"):
        for head, label in (("mood", "good"), ("topics", "war")):
            path = _csv(tmp_path, f"a,{label}", f"b,{word}")
            with pytest.raises(TrainingError, match="line 3: "):
                table_examples(path, HEADS, "text", "label", head=head)
