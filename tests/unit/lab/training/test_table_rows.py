"""Rows of a table: labels, a bounded sample without duplicates, a held-out part."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import LabelError, TrainingError
from worker.lab.data.field_labels import LabelReader
from worker.lab.data.sampling import FEWEST, BottomK, check_labels, clean, held_out, row_key
from worker.lab.data.table_rows import TableOptions, choose_columns, fill, open_table, texts
from worker.tables.open import Table

WORDS = st.text("abcxyz0123 ", min_size=1, max_size=12).filter(str.strip)


def _quiet(_line: str) -> None:
    """Ignore progress lines."""


def _upper(texts: Sequence[str]) -> list[str]:
    return [text.upper() for text in texts]


@pytest.mark.parametrize(
    ("value", "names", "several"),
    [
        (" strike ", ("strike",), False),
        ("R&D [draft]", ("R&D [draft]",), False),
        ("a;b; a ", ("a", "b"), True),
        ("a|b", ("a", "b"), True),
        ('["a", "b"]', ("a", "b"), True),
        ("[a]", ("[a]",), False),
        ([1, 2.0, "x"], ("1", "2", "x"), True),
        ([], (), True),
        ("[]", (), True),
        (3, ("3",), False),
        (3.0, ("3",), False),
        (True, ("true",), False),
        ("1.0", ("1",), False),
        ("1.", ("1",), False),
        ("007", ("007",), False),
        ("1.5", ("1.5",), False),
        (Decimal("2.0"), ("2",), False),
        ("['joy', 'love']", ("joy", "love"), True),
        ("['joy' 'love']", ("joy", "love"), True),
        ("['joy'\n 'it\\'s' \"don't\"]", ("joy", "it's", "don't"), True),
        ("('joy', 'love')", ("joy", "love"), True),
        ("('joy',)", ("joy",), True),
        ("{'joy', 'love'}", ("joy", "love"), True),
        ("[1 2]", ("1", "2"), True),
        ("[1., 2.]", ("1", "2"), True),
        ("(1, 2)", ("1", "2"), True),
        ("(1)", ("(1)",), False),
        ("(R&D)", ("(R&D)",), False),
        ("[a, b]", ("[a, b]",), False),
        ("['a'] b", ("['a'] b",), False),
        ("N/A", None, False),
        ("n/a", None, False),
        ("nan", None, False),
        ("NaN", None, False),
        ("NULL", None, False),
        ("null", None, False),
        ("<NA>", None, False),
        ("none", ("none",), False),
        ("", None, False),
        ("  ", None, False),
        (";", None, True),
        (None, None, False),
        (float("nan"), None, False),
    ],
)
def test_labels_in_a_field(value: Any, names: tuple[str, ...] | None, several: bool) -> None:
    reader = LabelReader()
    assert reader.names(value) == names
    assert reader.several is several


def test_one_takes_separators_as_they_are_and_no_lists() -> None:
    reader = LabelReader("one")
    assert reader.names("food; drink") == ("food; drink",)
    assert not reader.several
    assert reader.names("None") == ("None",)
    assert reader.names("n/a") is None
    for several in (["food"], "['food', 'drink']", '["food"]'):
        with pytest.raises(LabelError, match="where each row has one label"):
            reader.names(several)


ITEMS = st.text("abé '\",;[(", min_size=1, max_size=8).filter(lambda name: name == name.strip())


@given(st.lists(ITEMS, min_size=1, max_size=4))
def test_a_list_that_python_or_numpy_prints_is_read_again(names: list[str]) -> None:
    wanted = tuple(dict.fromkeys(names))
    assert LabelReader().names(repr(names)) == wanted
    assert LabelReader().names(f"[{' '.join(map(repr, names))}]") == wanted


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": 1}, "an object"),
        ([["a"]], "a list"),
        ([None], "null"),
        ("x" * 300, "a label of 300 characters"),
        ("None", "'None', a class or a missing label"),
        ("NA", "'NA', a class or a missing label"),
        ("-", "'-', a class or a missing label"),
        ("['joy', nan]", "a list with 'nan' in it"),
        ("['joy', None]", "a list with 'None' in it"),
        (["joy", "nan"], "a list with 'nan' in it"),
        ("joy;N/A", "a list with 'N/A' in it"),
        ("['a' ... 'b']", r"a list that was cut short by '\.\.\.'"),
        ('{"a": 1}', "an object"),
        ([float("nan")], "no label but nan"),
        (float("inf"), "no label but inf"),
        (b"a", "no label but bytes"),
    ],
)
def test_what_is_no_label(value: Any, told: str) -> None:
    with pytest.raises(LabelError, match=told):
        LabelReader().names(value)


@settings(deadline=None)
@given(rows=st.lists(WORDS, max_size=60), bound=st.integers(1, 12), seed=st.integers(0, 9))
def test_a_draw_keeps_the_smallest_keys_whatever_the_order_and_the_copies(
    rows: list[str], bound: int, seed: int
) -> None:
    samples = []
    for order in (rows, rows[::-1], rows + rows):
        sample: BottomK[str] = BottomK(seed, bound, _upper)
        for text in order:
            sample.add(text, ("a",))
        samples.append([(key, labels) for key, labels, _ in sample.rows()])
    smallest = sorted({row_key(seed, text) for text in rows})[:bound]
    assert samples == [[(key, ("a",)) for key in smallest]] * 3


def test_a_draw_is_even() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(400):
        sample: BottomK[str] = BottomK(seed, 10, _upper)
        for number in range(40):
            sample.add(f"text {number}", ("a",))
        drawn.update(kept for _, _, kept in sample.rows())
    # 400 draws of 10 out of 40: 100 each, with a deviation of 8.7.
    assert len(drawn) == 40
    assert all(60 < count < 140 for count in drawn.values())


def test_memory_is_bounded_by_what_is_kept() -> None:
    sample: BottomK[str] = BottomK(1, 100, _upper)
    for number in range(20_000):
        sample.add(f"text {number}", ("a",))
    assert len(sample) == len(sample._largest) == 100
    assert len(sample._waiting) < 2_048
    assert sample.counts.left == 19_900
    assert all(kept == kept.upper() for _, _, kept in sample.rows())


def test_copies_and_contradictions_are_counted() -> None:
    sample: BottomK[str] = BottomK(1, 0, _upper)
    for text, label in (("It works!", "a"), ("it works", "a"), ("IT WORKS", "b"), (":-)", "a"), (":-(", "b")):
        sample.add(text, (label,))
    assert len(sample) == 3
    assert (sample.counts.copies, sample.counts.contradictions) == (1, 1)


@settings(deadline=None)
@given(value=st.text(st.characters(), max_size=20))
def test_clean_texts_can_be_encoded(value: str) -> None:
    text = clean(value)
    assert (text is None) == (not value.strip())
    if text is not None:
        text.encode()
    assert clean(chr(0xD83D) + chr(0xDE00)) == "\N{GRINNING FACE}"


def _table(path: Path, rows: list[str]) -> Path:
    path.write_text("text,label\n" + "".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_are_counted_and_said(tmp_path: Path) -> None:
    path = _table(tmp_path / "a.csv", ["one,a", ",a", "two,", "ONE!,a", "one,b", "x,y,z", "three,b"])
    lines: list[str] = []
    sample: BottomK[str] = BottomK(1, 0, _upper)
    opened = open_table(TableOptions(path, skip_bad=True))
    fill(opened, LabelReader(), sample, lines.append)
    (line,) = lines
    assert line.removeprefix(f"{path}: ").split("; ") == [
        "7 rows read, 2 kept",
        "1 without a text",
        "1 without a label",
        "1 bad and skipped",
        "1 there twice",
        "1 there twice with other labels, of which the first counts",
    ]
    assert texts(opened, [key for key, _, _ in sample.rows()], 1) in (["one", "three"], ["three", "one"])


def test_a_bad_row_ends_the_reading_unless_it_may_be_skipped(tmp_path: Path) -> None:
    path = _table(tmp_path / "a.csv", ["one,a", "x,y,z"])
    with pytest.raises(
        TrainingError, match=r"a\.csv, line 3: the row has 3 fields, the header 2 fields \(--skip-bad"
    ):
        fill(open_table(TableOptions(path)), LabelReader(), BottomK(1, 0, _upper), _quiet)


def test_a_file_that_changes_between_two_readings_is_told(tmp_path: Path) -> None:
    path = _table(tmp_path / "a.csv", ["one,a", "two,b"])
    opened = open_table(TableOptions(path))
    _table(path, ["one,a"])
    with pytest.raises(TrainingError, match="changed while it was being read"):
        texts(opened, [row_key(1, "one"), row_key(1, "two")], 1)


LABELLED = st.lists(st.lists(st.integers(0, 4), max_size=3, unique=True).map(tuple), min_size=1, max_size=200)


@settings(deadline=None)
@given(labels=LABELLED, share=st.floats(0.05, 0.5))
def test_every_label_with_enough_rows_is_on_both_sides(labels: list[tuple[int, ...]], share: float) -> None:
    held = held_out(labels, share)
    assert held == sorted(set(held))
    rest = set(range(len(labels))) - set(held)
    assert rest
    single = [row[:1] for row in labels]
    held = held_out(single, share)
    for label in range(5):
        rows = [number for number, row in enumerate(single) if row == (label,)]
        count = len(set(rows) & set(held))
        assert abs(count - share * len(rows)) <= 1
        if len(rows) >= FEWEST:
            assert 0 < count < len(rows)


def test_labels_from_which_nothing_can_be_learnt() -> None:
    with pytest.raises(TrainingError, match=r"a\.csv: all rows are labelled 'x'"):
        check_labels("a.csv", ["x"], [(0,)] * 9, FEWEST)
    with pytest.raises(TrainingError, match=r"4 each are needed \('z' 1, 'y' 3\)"):
        check_labels("a.csv", ["x", "y", "z"], [(0,)] * 9 + [(1,)] * 3 + [(2,)], FEWEST)
    with pytest.raises(TrainingError, match="no row has both a text and a label"):
        check_labels("a.csv", [], [], FEWEST)
    check_labels("a.csv", ["x"], [(0,)] * 5 + [()] * 5, FEWEST)  # there, or not there


def test_a_file_larger_than_what_is_kept_passes_through_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = _table(tmp_path / "a.csv", [f"{number} {'word ' * 100},{number % 2}" for number in range(8_000)])
    assert path.stat().st_size > 4_000_000
    sample: BottomK[int] = BottomK(1, 50, lambda texts: [len(text) for text in texts])
    tracemalloc.start()
    try:
        fill(open_table(TableOptions(path)), LabelReader(), sample, _quiet)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sample) == 50
    assert peak < 1_500_000


@pytest.mark.parametrize(
    ("header", "given", "chosen"),
    [
        ("id,text,label", ("", ""), ("text", "label")),
        ("Body,Topic", ("", ""), ("Body", "Topic")),
        ("title,review,stars,class", ("", ""), ("review", "class")),
        ("words,topic", ("", "topic"), ("words", "topic")),
        ("text,kind", ("text", ""), ("text", "kind")),
        ("text,title,topic", ("title", "topic"), ("title", "topic")),
        ("text,tags", ("", ""), ("text", "tags")),
    ],
)
def test_columns_are_guessed_by_name(
    tmp_path: Path, header: str, given: tuple[str, str], chosen: tuple[str, str]
) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n" + ",".join("abcdefg"[: header.count(",") + 1]) + "\n")
    assert choose_columns(Table(tmp_path / "a.csv"), *given) == chosen


@pytest.mark.parametrize(
    ("header", "given", "told"),
    [
        (
            "text,body,label",
            ("", ""),
            "several columns may hold the text (text, body): choose with --text",
        ),
        (
            "text,label,topic",
            ("", ""),
            r"several columns may hold the label (label, topic): choose with --label",
        ),
        ("a,b,c", ("", ""), "no column's name says that it holds the text; there are: a, b, c: choose with"),
        ("text,label", ("", "topic"), "no column 'topic'; there are: text, label"),
        ("text,topics", ("", "topic"), "no column 'topic' (did you mean 'topics'?); there are: text, topics"),
        ("text,label", ("text", "text"), "cannot be both the text and the label"),
    ],
)
def test_columns_that_cannot_be_chosen(
    tmp_path: Path, header: str, given: tuple[str, str], told: str
) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n" + ",".join("abc"[: header.count(",") + 1]) + "\n")
    with pytest.raises(TrainingError) as caught:
        choose_columns(Table(tmp_path / "a.csv"), *given)
    assert told in str(caught.value)
