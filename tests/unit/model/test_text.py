"""What a pack's text handling does to posts, and that every character can be traced back."""
# ruff: noqa: RUF001 - letters that look like others are what it is about

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import TextError
from worker.model.text.normaliser import RAW, Normaliser, normaliser

SOCIAL = normaliser("social", 1)
SOCIAL_2 = normaliser("social", 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@maria_99 look", "@user look"),
        ("mail me at a.b@example.org", "mail me at a.b@example.org"),
        ("see https://example.org/a?b=1#c now", "see http now"),
        ("(www.example.org)", "(http"),
        ("it\\u2019s fine", "it\u2019s fine"),
        ("so \\ud83d\\ude02", "so  laughing "),
        ("one\\ntwo", "one\\ntwo"),
        ("one\\n two", "one  two"),
        ("fish &amp; chips &lt;3", "fish & chips <3"),
        ("&nosuchname; stays", "&nosuchname; stays"),
        ("sooooo goooood", "soo good"),
        ("World War III", "World War III"),
        ("#GoodMorning #BBCNews #1 #so_it_goes", "#Good Morning #BBC News #1 #so_ it_ goes"),
        ("😂😂 😂", " laughing "),
        ("👍🏽 and ❤️", " thumbs up  and  love "),
        ("👨‍👩‍👧", " man "),
        ("🇮🇹🇪🇸", " flag  flag "),
        ("🦥", " sloth "),
        ("", ""),
    ],
)
def test_posts_become_readable(text: str, expected: str) -> None:
    assert SOCIAL.apply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sooooo goooood", "soo good"),
        ("greaaaat, thank youuuu", "great, thank you"),
        ("I haaaaate it, UGHHHH", "I hate it, UGH"),
        ("ＩＴ ｉｓ ｆｉｎｅ！", "IT is fine!"),
        ("𝓵𝓸𝓿𝓮 𝔦𝔱 ⓐⓛⓛ, ℒ𝑜𝓋ℯ 𝟐", "love it all, Love 2"),
        ("ｇｒｅａａａａｔ ｈｔｔｐｓ：／／ａ．ｂ", "great http"),
        ("₂ ² ™ ℃ ℵ 東京", "₂ ² ™ ℃ ℵ 東京"),
        ("@maria_99 &amp; 😂😂", "@user &  laughing "),
    ],
)
def test_version_2_cuts_to_one_and_knows_letters_of_other_shapes(text: str, expected: str) -> None:
    assert SOCIAL_2.apply(text) == expected


def test_version_1_stays_as_the_packs_know_it() -> None:
    assert SOCIAL.apply("greaaaat ｉｔ") == "greaat ｉｔ"


@pytest.mark.parametrize("handling", [SOCIAL, SOCIAL_2], ids=["1", "2"])
@given(text=st.text(st.characters() | st.sampled_from("@#\\u&;😂❤️👍🏽oo http://w.aaａ𝓪ℯ")))
def test_every_character_leads_back_into_the_original(handling: Normaliser, text: str) -> None:
    new, spans = handling.with_offsets(text)
    assert new == handling.apply(text)
    assert len(new) == len(spans)
    for char, (start, end) in zip(new, spans, strict=True):
        assert 0 <= start <= end <= len(text)
        if end - start == 1 and text[start] == char:
            continue
        assert text[start:end] != char
    assert spans == sorted(spans)
    # What no piece replaced covers the rest: nothing of the text falls out unseen.
    covered = {place for start, end in spans for place in range(start, end)}
    assert covered == set(range(len(text))) or new == ""


def test_offsets_of_a_cut_word() -> None:
    new, spans = SOCIAL.with_offsets("you fooool!")
    at = new.index("fool")
    assert (spans[at][0], spans[at + 3][1]) == (4, 10)


def test_raw_changes_nothing() -> None:
    assert RAW.apply("@a \\u2019 😂") == "@a \\u2019 😂"
    assert RAW.with_offsets("é😂") == ("é😂", [(0, 1), (1, 2)])


def test_an_unknown_handling_is_named() -> None:
    with pytest.raises(TextError, match="'social' version 7 is unknown"):
        normaliser("social", 7)
