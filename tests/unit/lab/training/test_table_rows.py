"""What a table's rows become: labels, a bounded draw without copies, a held-out part."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import LabelError, TrainingError
from worker.lab.data.tables.keeper import Keeper, clean, row_key
from worker.lab.data.tables.labels import LabelReader
from worker.lab.data.tables.reading import Wish, fill, open_wish, texts
from worker.lab.data.tables.split import FEWEST, check_labels, held_out

WORDS = st.text("abcxyz0123 ", min_size=1, max_size=12).filter(str.strip)


def _quiet(_line: str) -> None:
    """Lines are not looked at here."""


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
    with pytest.raises(LabelError, match="where each row has one label"):
        reader.names(["food"])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": 1}, "an object"),
        ([["a"]], "a list"),
        ([None], "null"),
        ("x" * 300, "a label of 300 characters"),
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
    keepers = []
    for order in (rows, rows[::-1], rows + rows):
        keeper: Keeper[str] = Keeper(seed, bound, _upper)
        for text in order:
            keeper.add(text, ("a",))
        keepers.append([(key, labels) for key, labels, _ in keeper.rows()])
    smallest = sorted({row_key(seed, text) for text in rows})[:bound]
    assert keepers == [[(key, ("a",)) for key in smallest]] * 3


def test_a_draw_is_even() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(400):
        keeper: Keeper[str] = Keeper(seed, 10, _upper)
        for number in range(40):
            keeper.add(f"text {number}", ("a",))
        drawn.update(kept for _, _, kept in keeper.rows())
    # 400 draws of 10 out of 40: 100 each, with a deviation of 8.7.
    assert len(drawn) == 40
    assert all(60 < count < 140 for count in drawn.values())


def test_memory_is_bounded_by_what_is_kept() -> None:
    keeper: Keeper[str] = Keeper(1, 100, _upper)
    for number in range(20_000):
        keeper.add(f"text {number}", ("a",))
    assert len(keeper) == len(keeper._largest) == 100
    assert len(keeper._waiting) < 2_048
    assert keeper.counts.left == 19_900
    assert all(kept == kept.upper() for _, _, kept in keeper.rows())


def test_copies_and_contradictions_are_counted() -> None:
    keeper: Keeper[str] = Keeper(1, 0, _upper)
    for text, label in (("It works!", "a"), ("it works", "a"), ("IT WORKS", "b"), (":-)", "a"), (":-(", "b")):
        keeper.add(text, (label,))
    assert len(keeper) == 3
    assert (keeper.counts.copies, keeper.counts.contradictions) == (1, 1)


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
    keeper: Keeper[str] = Keeper(1, 0, _upper)
    opened = open_wish(Wish(path, skip_bad=True))
    fill(opened, LabelReader(), keeper, lines.append)
    (line,) = lines
    assert line.removeprefix(f"{path}: ").split("; ") == [
        "7 rows read, 2 kept",
        "1 without a text",
        "1 without a label",
        "1 bad and skipped",
        "1 there twice",
        "1 there twice with other labels, of which the first counts",
    ]
    assert texts(opened, [key for key, _, _ in keeper.rows()], 1) in (["one", "three"], ["three", "one"])


def test_a_bad_row_ends_the_reading_unless_it_may_be_skipped(tmp_path: Path) -> None:
    path = _table(tmp_path / "a.csv", ["one,a", "x,y,z"])
    with pytest.raises(
        TrainingError, match=r"a\.csv, line 3: the row has 3 fields, the header 2 fields \(--skip-bad"
    ):
        fill(open_wish(Wish(path)), LabelReader(), Keeper(1, 0, _upper), _quiet)


def test_a_file_that_changes_between_two_readings_is_told(tmp_path: Path) -> None:
    path = _table(tmp_path / "a.csv", ["one,a", "two,b"])
    opened = open_wish(Wish(path))
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
    keeper: Keeper[int] = Keeper(1, 50, lambda texts: [len(text) for text in texts])
    tracemalloc.start()
    try:
        fill(open_wish(Wish(path)), LabelReader(), keeper, _quiet)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(keeper) == 50
    assert peak < 1_500_000
