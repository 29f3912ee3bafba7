"""No case of the behaviour tests stands in the rows of our own that training reads."""

import re
import tomllib
from pathlib import Path

from worker.lab.data import own_posts, written
from worker.lab.evaluate.cases import load_families

CASES = Path(__file__).parent / "cases"
OTHER_WORDS = Path(__file__).parent / "other_words"
UNAVOIDABLE = {"emoji": 19, "identity_feeling": 2, "identity_toxicity": 9}
"""Families of single symbols and bare words, and how many of their texts training has seen: see README.md."""


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip() or text


def training_rows() -> list[str]:
    """Every text that training makes up, and every post of our own that it reads."""
    labelled = (written.sentiment, written.toxicity, written.emotion, written.spans)
    rows = [text for rows in labelled for text, _ in rows()]
    rows += [text for groups in (written.swaps, written.slips) for group in groups() for text in group]
    return rows + [post.text for post in own_posts.read_posts() if not post.held_out]


def test_no_case_is_a_training_row() -> None:
    rows = set(map(plain, training_rows()))
    assert len(rows) > 1_000
    found: dict[str, list[str]] = {}
    for family in load_families(CASES):
        texts = [text for case in family.cases for text in case.texts]
        if seen := [text for text in texts if plain(text) in rows]:
            found[family.name] = seen
    assert {name: len(seen) for name, seen in found.items()} == UNAVOIDABLE, found


def test_other_words_stand_in_no_training_row_and_their_sentences_are_those_of_the_cases() -> None:
    known = f" {plain(' '.join(training_rows()))} "
    files = sorted(OTHER_WORDS.glob("*.toml"))
    assert [path.stem for path in files] == ["names", "nationalities", "people", "places", "religions"]
    for path in files:
        other, asked = (
            tomllib.loads((folder / path.name).read_text(encoding="utf-8")) for folder in (OTHER_WORDS, CASES)
        )
        assert [word for word in other.pop("fills") if f" {plain(word)} " in known] == []
        assert other == {key: value for key, value in asked.items() if key != "fills"}
