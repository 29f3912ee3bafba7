"""Files of behaviour cases: reading them, and errors that name the file in one line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import CasesError
from worker.lab.evaluate.cases import load_families, load_family, read_marked

GOOD = """
family = "negation"
about = "A negated word turns its meaning round."
head = "sentiment"
check = "label"
rate = 0.8
[cases]
positive = ["Not bad at all!"]
"neutral|negative" = ["Not good."]
"""


def written(folder: Path, text: str, name: str = "negation.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_of_labels_becomes_a_case_a_text(tmp_path: Path) -> None:
    family = load_family(written(tmp_path, GOOD))
    assert [(case.texts, case.wanted) for case in family.cases] == [
        (("Not bad at all!",), ("positive",)),
        (("Not good.",), ("neutral", "negative")),
    ]
    assert family.labels == {"positive", "neutral", "negative"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("rate = 0.8", "rate = 80"), "`rate` must be a number from 0 to 1"),
        (("rate = 0.8", "rate = true"), "`rate` must be a number from 0 to 1"),
        (('check = "label"', 'check = "labels"'), "`check` 'labels' is not one of label, holds"),
        (('check = "label"', "check = []"), "`check` [] is not one of label, holds"),
        (('about = "A', 'abuot = "A'), "`abuot` is not one of about, cases"),
        (('head = "sentiment"\n', ""), "head is missing; `label` needs it"),
        (('family = "negation"\n', ""), "family is missing"),
        (('["Not good."]', '"Not good."'), "is not a list"),
        (('["Not good."]', "[7]"), "7 is not a text"),
        (("[cases]", "[cases"), "cannot be read"),
        (('positive = ["Not bad at all!"]\n"neutral|negative" = ["Not good."]\n', ""), "has no cases"),
    ],
)
def test_a_mistake_is_named_with_its_file(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(CasesError) as caught:
        load_family(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("check", "rest", "complaint"),
    [
        ("swap", 'cases = ["{} is here."]\nfills = ["Ann"]\nwithin = 0.05', "at least two fills"),
        ("swap", 'cases = ["Ann is here."]\nfills = ["Ann", "Bo"]\nwithin = 0.05', "a {} in each case"),
        ("swap", 'cases = ["{} is here."]\nfills = ["Ann", "Bo"]', "within is missing"),
        ("same", 'cases = [["one"]]', "at least two texts"),
        ("order", 'cases = [["a", "b"]]\nhead = "sentiment"', "up is missing"),
        ("pair", 'cases = [["a", "b", "c"]]\nlabels = ["x", "y"]\nhead = "h"', "needs 2 texts"),
    ],
)
def test_a_check_says_what_it_needs(check: str, rest: str, complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path, f'family = "f"\nabout = "a"\nrate = 1\ncheck = "{check}"\n{rest}\n')
    with pytest.raises(CasesError, match=complaint):
        load_family(path)


def test_an_empty_folder_and_a_family_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CasesError, match="no behaviour cases"):
        load_families(tmp_path)
    written(tmp_path, GOOD)
    written(tmp_path, GOOD, "again.toml")
    with pytest.raises(CasesError, match="two files are about the family 'negation'"):
        load_families(tmp_path)


def test_swaps_put_every_word_in_every_sentence(tmp_path: Path) -> None:
    text = 'family = "f"\nabout = "a"\nrate = 1\ncheck = "swap"\nwithin = 0.05\n'
    text += 'cases = ["{} is here.", "I saw {}."]\nfills = ["Ann", "Bo"]\n'
    family = load_family(written(tmp_path, text))
    assert [case.texts for case in family.cases] == [
        ("Ann is here.", "Bo is here."),
        ("I saw Ann.", "I saw Bo."),
    ]


words = st.text(st.characters(blacklist_characters="[]", blacklist_categories=["Cs"]), min_size=1, max_size=9)


@given(st.lists(st.tuples(words, st.booleans()), min_size=1, max_size=8))
def test_brackets_come_off_and_their_places_are_those_of_the_words(parts: list[tuple[str, bool]]) -> None:
    case = read_marked("".join(f"[{word}]" if marked else word for word, marked in parts))
    (text,) = case.texts
    assert text == "".join(word for word, _ in parts)
    assert [text[start:end] for start, end in case.spans] == [word for word, marked in parts if marked]
