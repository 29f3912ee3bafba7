"""Marked tokens become ranges of code points in the text as its writer wrote it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import InferenceError
from worker.model.pack import bundled_pack
from worker.model.spans import joined, whole_words
from worker.model.text.normaliser import normaliser
from worker.model.tokenizer import Tokenizer
from worker.types import Range

SOCIAL = normaliser("social", 1)
LIMIT = 64
VOCABULARY = bundled_pack() / "tokenizer.json"
RAW_READER, SOCIAL_READER = Tokenizer(VOCABULARY, LIMIT), Tokenizer(VOCABULARY, LIMIT, SOCIAL)

PIECES = [
    *("good", "Idiot", "unbelievable", "don't", "naïve", "nai\u0308ve", "e\u0301\u0302", "ÉCOLE"),
    *("हिन्दी", "电车", "한국어", "1,000", "fu\u200bdge", "x\x00y", "İstanbul", "ﷺ", "ﬁne"),
    *("😡", "👍🏽", "👩‍👩‍👧", "❤️", "🇩🇪", "\U0001f9d1\u200d\U0001f4bb", "\ud83d\ude21", "[SEP]"),
]
POSTED = ["@bob_99", "https://t.co/x?y=1", "#GoodDay", "soooo", "&amp;", "\\ud83d\\ude21", "😡😡", "b!tch"]


def laid_out(pieces: list[tuple[str, str]]) -> tuple[str, list[Range]]:
    """A text of pieces, with a word and blanks between them, and where each piece lies."""
    text, places = "", []
    for piece, blank in pieces:
        places.append((len(text), len(text) + len(piece)))
        text += f"{piece}{blank}and{blank}"
    return text, places


def blanks() -> st.SearchStrategy[str]:
    return st.sampled_from([" ", "  ", "\n", "\t ", "\u00a0", " \u200b "])


def ranges_of(reader: Tokenizer, text: str) -> list[Range]:
    (tokens,) = reader([text])
    return reader.ranges(tokens)


@pytest.mark.parametrize(("reader", "pool"), [(RAW_READER, PIECES), (SOCIAL_READER, PIECES + POSTED)])
@given(data=st.data())
def test_the_tokens_of_a_word_cover_it_and_nothing_else(
    reader: Tokenizer, pool: list[str], data: st.DataObject
) -> None:
    pieces = data.draw(st.lists(st.tuples(st.sampled_from(pool), blanks()), min_size=1, max_size=5))
    text, places = laid_out(pieces)
    found = ranges_of(reader, text)
    for place in places:
        own = [one for one in found if one[0] < place[1] and place[0] < one[1]]
        assert joined(text, own) == (place,), text[slice(*place)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("what absolute numpties", "numpties"),
        ("#shitheads everywhere", "shitheads"),
        ("they'd say tosspottery, loudly", "tosspottery"),
        ("oh it\\u2019s tosspottery", "tosspottery"),
        ("gros Idiøtæn her", "Idiøtæn"),
    ],
)
def test_one_token_marks_its_whole_word_and_no_other(text: str, word: str) -> None:
    start = text.index(word)
    place = (start, start + len(word))
    own = [one for one in ranges_of(SOCIAL_READER, text) if one[0] < place[1] and place[0] < one[1]]
    assert len(own) > 1
    assert set(own) == {place}


@pytest.mark.parametrize("text", ["คนโง่มาก", "ばかもの", "ငမိုက်သား"])
def test_scripts_without_spaces_are_marked_token_by_token(text: str) -> None:
    """Between two spaces there stands a whole sentence, and the tokenizer takes it for one word."""
    ranges = [(0, 0), (0, 2), (2, 3), (3, len(text)), (0, 0)]
    assert whole_words(text, ranges, [None, 0, 0, 0, None]) == ranges
    assert whole_words("fathead", ranges, [None, 0, 0, 1, None])[1:4] == [(0, 3), (0, 3), (3, len(text))]


@given(text=st.text(st.characters(codec=None), max_size=60))
@pytest.mark.parametrize("reader", [RAW_READER, SOCIAL_READER])
def test_any_text_has_a_range_for_each_token_in_order(reader: Tokenizer, text: str) -> None:
    (tokens,) = reader([text])
    found = reader.ranges(tokens)
    assert len(found) == len(tokens.ids)
    assert (found[0], found[-1]) == ((0, 0), (0, 0))
    inner = [one for one in found if one[0] < one[1]]
    assert all(0 <= start < end <= len(text) for start, end in inner)
    assert inner == sorted(inner)
    once = joined(text, inner)
    assert all(before[1] < after[0] for before, after in pairwise(once))
    assert joined(text, once) == once


@given(count=st.integers(1, 200))
def test_a_text_that_was_cut_has_the_ranges_of_what_was_read(count: int) -> None:
    text = "rude " * count
    found = ranges_of(RAW_READER, text)
    read = min(count, LIMIT - 2)
    assert found[1:-1] == [(5 * number, 5 * number + 4) for number in range(read)]


def test_a_text_cut_by_its_characters_has_ranges_too() -> None:
    text = "z" * 90 + " " * (LIMIT * 64) + "rude"
    found = [one for one in ranges_of(RAW_READER, text) if one != (0, 0)]
    assert joined(text, found) == ((0, 90),)


def test_tokens_cut_shorter_than_the_reader_cuts_keep_their_ranges() -> None:
    (tokens,) = RAW_READER(["one two three four"])
    cut = tokens._replace(ids=[*tokens.ids[:3], tokens.ids[-1]], truncated=True)
    assert RAW_READER.ranges(cut) == [(0, 0), (0, 3), (4, 7), (0, 0)]


@pytest.mark.parametrize("text", ["", "another text", "one two"])
def test_a_text_that_is_not_the_tokens_own_is_an_error(text: str) -> None:
    (tokens,) = RAW_READER(["one two three"])
    with pytest.raises(InferenceError):
        RAW_READER.ranges(tokens._replace(text=text))


@pytest.mark.parametrize(
    ("text", "marked", "expected"),
    [
        ("you rude fool", [(4, 8), (9, 13)], ((4, 13),)),
        ("rude, fool", [(0, 4), (6, 10)], ((0, 4), (6, 10))),
        ("rude nice fool", [(0, 4), (10, 14)], ((0, 4), (10, 14))),
        ("fool", [(0, 2), (2, 4)], ((0, 4),)),
        ("fool", [(0, 3), (1, 4)], ((0, 4),)),
        ("fool", [(0, 0), (2, 2)], ()),
        ("rude \u200b\n fool", [(0, 4), (8, 12)], ((0, 12),)),
        ("fo\u0308ol", [(0, 2)], ((0, 3),)),
        ("fo\u0308ol", [(2, 4)], ((1, 4),)),
        ("ok 👍🏽 ok", [(3, 4)], ((3, 5),)),
        ("👩‍👧 ok", [(2, 3)], ((0, 3),)),
        ("", [], ()),
    ],
)
def test_ranges_are_joined_and_whole(text: str, marked: list[Range], expected: tuple[Range, ...]) -> None:
    assert joined(text, marked) == expected


def test_handling_is_applied_before_a_text_is_tokenised() -> None:
    (prepared,) = RAW_READER([SOCIAL.apply("@bob 😡 soooo #GoodDay")])
    (whole,) = SOCIAL_READER(["@bob 😡 soooo #GoodDay"])
    assert whole.ids == prepared.ids
    assert whole.ids != RAW_READER(["@bob 😡 soooo #GoodDay"])[0].ids


def test_a_surrogate_pair_in_company_of_others_is_prepared_as_alone() -> None:
    odd = "\ud83d\ude21 and \ud83d alone"
    rows = SOCIAL_READER(["good", odd])
    assert [row.ids for row in rows] == [SOCIAL_READER([text])[0].ids for text in ("good", odd)]
    assert rows[1].ids == SOCIAL_READER(["😡 and \ufffd alone"])[0].ids
