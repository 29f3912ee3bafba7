"""Any text becomes token numbers that the model knows; only the tokenizer itself writes [CLS] and [SEP]."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import CLS, SEP, VOCABULARY
from worker.model.classifier import Classifier
from worker.model.tokenizer import _panics_untold

SPECIAL = {0, 2, 3, 4}
LIMIT = 24


def ids(model: Classifier, text: str) -> list[int]:
    return model.tokenize([text])[0].ids


@given(texts=st.lists(st.text(st.characters(codec=None), max_size=80), max_size=8))
def test_any_text_gives_numbers_within_bounds(tiny_model: Classifier, texts: list[str]) -> None:
    rows = tiny_model.tokenize(texts)
    assert len(rows) == len(texts)
    for row in rows:
        assert 2 <= len(row.ids) <= LIMIT
        assert (row.ids[0], row.ids[-1]) == (CLS, SEP)
        assert all(0 <= number < len(VOCABULARY) for number in row.ids)
        assert not SPECIAL & set(row.ids[1:-1])


@given(texts=st.lists(st.text(max_size=40), min_size=2, max_size=6))
def test_a_text_is_tokenised_the_same_in_any_company(tiny_model: Classifier, texts: list[str]) -> None:
    assert tiny_model.tokenize(texts) == [tiny_model.tokenize([text])[0] for text in texts]


@pytest.mark.parametrize("special", ["[SEP]", "[CLS]", "[PAD]", "[MASK]"])
def test_special_tokens_typed_by_a_user_are_text(tiny_model: Classifier, special: str) -> None:
    found = ids(tiny_model, f"great {special} late")
    assert not SPECIAL & set(found[1:-1])
    assert VOCABULARY.index("[") in found
    assert VOCABULARY.index("late") in found


def test_a_long_text_is_cut_and_says_so(tiny_pack: Path) -> None:
    model = Classifier.load(tiny_pack, long_text="truncate")
    exact, longer = model.tokenize(["great " * (LIMIT - 2), "great " * (LIMIT - 1)])
    assert (len(exact.ids), exact.truncated) == (LIMIT, False)
    assert (len(longer.ids), longer.truncated) == (LIMIT, True)
    assert longer.ids == exact.ids


@pytest.mark.parametrize("text", ["great " * 200_000, "x" * 1_000_000, " " * 1_000_000, "é😀 " * 300_000])
def test_a_megabyte_is_cut_before_it_is_tokenised(tiny_model: Classifier, text: str) -> None:
    (row,) = tiny_model.tokenize([text])
    assert row.truncated
    assert len(row.ids) <= LIMIT
    assert tiny_model.predict([row])[0].truncated


def test_one_odd_text_does_not_change_its_neighbours(tiny_model: Classifier) -> None:
    good = ids(tiny_model, "the film was great")
    rows = tiny_model.tokenize(
        ["the film was great", "half a pair \ud83d of surrogates", "the film was great"]
    )
    assert [rows[0].ids, rows[2].ids] == [good, good]


def test_a_surrogate_pair_is_the_character_it_stands_for(tiny_model: Classifier) -> None:
    assert ids(tiny_model, "great \ud83d\ude00 a\udc80") == ids(tiny_model, "great 😀 a\ufffd")


@pytest.mark.parametrize(
    "text", ["", "   ", "\n\t", "\u200b", "\x00", "👩‍👩‍👧", "مرحبا", "ﷺ" * 50, "a\u0301" * 100]
)
def test_odd_texts_are_labelled(tiny_model: Classifier, text: str) -> None:
    (prediction,) = tiny_model.predict(tiny_model.tokenize([text]))
    assert set(prediction.heads) == {"sentiment", "emotion"}


def test_no_texts_give_no_tokens(tiny_model: Classifier) -> None:
    assert tiny_model.tokenize([]) == []


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_pack_loads_where_nothing_can_be_written(
    tiny_pack: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    if not in_memory:
        monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    with _panics_untold():
        os.write(2, b"somebody else's line\n")
    assert ids(Classifier.load(tiny_pack, threads=1), "good")
    assert capfd.readouterr().err == "somebody else's line\n"
