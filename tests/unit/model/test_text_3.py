"""Version 3 of `social`: one reading for a sign however it is written, and the same on any Python."""
# ruff: noqa: RUF001 - letters that look like others are what it is about

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.errors import TextError
from worker.lab import emoji_names
from worker.model.text import markup, social_3
from worker.model.text.names import own_names, own_table, read_names
from worker.model.text.normaliser import normaliser

SOCIAL_2, SOCIAL_3 = normaliser("social", 2), normaliser("social", 3)

JOINED = [
    "😮‍💨",
    "❤️‍🔥",
    "👩‍👩‍👧",
    "👍🏽",
    "❤️",
    "🇮🇹",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🙂‍↔️",
    "1️⃣",
    "#⃣",
]
"""Emoji of several characters: joined, with skin tones and variation selectors, flags, keycaps."""

SIGNS = st.sampled_from([*own_names().names, *JOINED])
WAYS = {
    "decimal": lambda sign: "".join(f"&#{ord(char)};" for char in sign),
    "hexadecimal": lambda sign: "".join(f"&#x{ord(char):X};" for char in sign),
    "small letters": lambda sign: "".join(f"&#x{ord(char):x};" for char in sign),
    "halves": lambda sign: "".join(f"\\u{unit:04x}" for unit in units(sign)),
    "halves as entities": lambda sign: "".join(f"&#{unit};" for unit in units(sign)),
    "long": lambda sign: "".join(f"\\U{ord(char):08x}" for char in sign),
    "braces": lambda sign: "".join(f"\\u{{{ord(char):x}}}" for char in sign),
}  # fmt: skip


def units(text: str) -> list[int]:
    """Return the UTF-16 code units of a text."""
    content = text.encode("utf-16-be")
    return [int.from_bytes(content[place : place + 2], "big") for place in range(0, len(content), 2)]


@given(sign=SIGNS, way=st.sampled_from(sorted(WAYS)), before=st.sampled_from(["", "so ", "so", "#", "a&b\\"]))
def test_an_emoji_has_one_name_however_it_is_written(sign: str, way: str, before: str) -> None:
    written = WAYS[way](sign)
    plain, places = SOCIAL_3.with_offsets(f"{before}{sign}!")
    new, spans = SOCIAL_3.with_offsets(f"{before}{written}!")
    assert new == plain
    start, end = len(before), len(before) + len(written)
    for (first, last), (was_first, was_last) in zip(spans, places, strict=True):
        assert (was_first < start, was_last <= start) == (first < start, last <= start)
        if first >= start and (was_first, was_last) == (start, start + len(sign)):
            assert (first, last) == (start, end)  # nothing but the whole of it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I&#39;m &#128512;&#128512; \\U0001f600", "I'm  happy "),
        ("so \\ud83d\\ude02 \\ud83d and &#xD83D;", "so  laughing  \ufffd and \ufffd"),
        ("&#1234567; &#x110000; \\U00110000 &#0;", "\ufffd \ufffd \\U00110000 \ufffd"),
        ("&amp;#128512; &amp;lt;3", "&#128512; &lt;3"),
        ("&frac12; &CounterClockwiseContourIntegral; &nosuch; &notit; &amp", "½ ∳ &nosuch; &notit; &amp"),
        ("&#64;bob &#35;GoodMorning", "@user #Good Morning"),
        ("C:\\new \\users one\\n two", "C:\\new \\users one  two"),
        ("1️⃣0️⃣/1️⃣0️⃣ #️⃣ *⃣ 7", "10/10 # * 7"),
        ("😮‍💨 👨‍👩‍👧 🏳️‍🌈 🇮🇹", " sigh   man   rainbow flag   flag "),
        ("❤️‍🩹 ⏰ 🆗", " mending heart   alarm clock   ok "),
        ("\U0001fada \U0001f8ff \U0001faff", " ginger root  \U0001f8ff  emoji "),
        ("🅱🅰🅳 🄱🄰🄳 🅑🅐🅓 🄑🄐🄓 ⒝⒜⒟ ⒷⒶⒹ", "BAD BAD BAD BAD bad BAD"),
        ("ᴛᴇʀʀɪʙʟᴇ ᵗᵉʳʳⁱᵇˡᵉ ᴮᴬᴰ ₜₑₓₜ ❶⓪/⑨①", "terrible terrible BAD text 10/91"),
        ("10² ₂ ™ ℃ 東京 ½", "10² ₂ ™ ℃ 東京 ½"),
        ("ＩＴ 𝓵𝓸𝓿𝓮 &#x1D4F5;&#120056;ve", "IT love love"),
        ("greaaaat soooo IIII 111 哈哈哈", "great soo IIII 111 哈哈"),
        ("@maria_99 a@b.c #so_it_goes #1 https://a.b/c?d&amp;e", "@user a@b.c #so_ it_ goes #1 http"),
    ],
)  # fmt: skip
def test_signs_and_letters(text: str, expected: str) -> None:
    assert SOCIAL_3.apply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<div>worst app</div>", " worst app "),
        ("<DIV class='a b' id=c hidden>worst<br/>app<p>ever", " worst app ever"),
        ("wor<b>st</b> <em>app</em> ev<i>er</i>", "worst app ever"),
        ('<a href="https://a.b/?c=<d>" rel=x>see</a>', "see"),
        ('good <img src="x.png" alt="terrible > bad"> day', "good   day"),
        ("<p>one</p><!-- awful --><p>two</p>", " one  two "),
        ("<STYLE>p {color: red}</Style>fine<script src=x>if (a<b) bad()</script>", " fine "),
        ("<!DOCTYPE html><html><head><title>x</title></head><body>fine</body></html>", " fine"),
        ("it&nbsp;is &lt;b&gt;fine&lt;/b&gt;", "it\xa0is <b>fine</b>"),
        ("w&#111;rst<br>&#128512;", "worst  happy "),
    ],
)
def test_html_is_read_as_its_text(text: str, expected: str) -> None:
    assert SOCIAL_3.apply(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("I <3 you", "a < b > c", "a<b and c>d", "if (a <b && c> d)", "x<y>z", ">:( <- what", "<333", "</3"),
        *("List<String> of Map<A, B>", "#include <stdio.h>", "vector<int>", "Vec<u8>", "a<b>c"),
        *("dear <name>, <sarcasm>nice</sarcasm>", "<ann@example.org>", "<a, b>", "<b c>", "< b>", "<b"),
        *("<!-- no end", "<divx>", "<div=1>", "<div class=>", "<a b='c>", "<>", "</>", "</ b>", "<i'm>"),
        *("&", "\\", "&;", "&#;", "\\u12"),
    ],
)  # fmt: skip
def test_what_is_no_html_stays(text: str) -> None:
    assert SOCIAL_3.apply(text) == text


MARKUP = st.sampled_from(
    [
        *("<b>", "</b>", "<br/>", "<p class='x'>", "</p>", "<!--", "-->", "<script>", "</script>", "<", ">"),
        *("<3", "&amp;", "&lt;", "&#128512;", "&#55357;", "&#56832;", "&#xfe0f;", "&#x20e3;", "&", ";"),
        *("\\ud83d", "\\ude00", "\\n", "\\", "\\U0001F602", "\\u{1f44d}", "😂", "👍🏽", "❤️", "🇮🇹"),
        *("1️⃣", "\u200d", "\ufe0f", "@bob", "#GoodDay", "#", "@", "http://a.b", "www.", "sooo", "aaaa"),
        *("ＩＴ", "🅱", "ᴀ", "ᵃ", "①", "1", "x", " ", "\n", "\ud83d"),
    ]
)  # fmt: skip
TEXTS = st.lists(MARKUP | st.text(max_size=3), max_size=12).map("".join)


@given(text=TEXTS)
@example("a<b></b>aa")
@example("#<b>So</b>Good")
@example("&NotEqualTilde;&NotEqualTilde;x")
@example("🔥🔥🔥🔥🔥🔥")
def test_ranges_are_in_order_and_within_the_text(text: str) -> None:
    new, spans = SOCIAL_3.with_offsets(text)
    assert new == SOCIAL_3.apply(text)
    assert len(new) == len(spans)
    assert spans == sorted(spans)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    # A character that is unchanged points at itself, and only at itself.
    for char, (start, end) in zip(new, spans, strict=True):
        if end - start == 1 and len(alone := SOCIAL_3.apply(text[start])) == 1:
            assert alone == char


@given(text=TEXTS, enough=st.integers(1, 20))
@example("\\U0001F602", 1)  # as long as the name that stands for it
@example("a<b></b>", 1)
def test_the_beginning_is_that_of_the_whole(text: str, enough: int) -> None:
    whole = SOCIAL_3.apply(text)
    beginning, all_of_it = SOCIAL_3.begin(text, enough)
    assert beginning == whole[:enough]
    assert all_of_it == (beginning == whole)
    assert SOCIAL_3.with_offsets(text, enough)[1] == SOCIAL_3.with_offsets(text)[1][:enough]


@given(
    text=st.lists(
        MARKUP.filter(lambda part: not set("&\\<#") & set(part)) | st.text("ab1 ö😂ᴀ", max_size=3)
    ).map("".join)
)
def test_what_is_plain_already_stays(text: str) -> None:
    once = SOCIAL_3.apply(text)
    if not set("#&\\<") & set(once):  # a keycap may give `#`
        assert SOCIAL_3.apply(once) == once


@given(text=TEXTS)
@example("aaaa@a http:/ https:// # #️⃣ 1⃣")
def test_every_match_begins_at_a_candidate(text: str) -> None:
    everywhere = [match.span() for match in social_3._PATTERN.finditer(text)]
    assert [match.span() for match in social_3._matches(text)] == everywhere


@pytest.mark.parametrize(
    "text",
    [
        *("<!--" * 8_000, "<a b='" * 5_000, "<title>" * 4_000, "x<b>" * 8_000),
        *("<a" + " " * 30_000, "&#" * 16_000, "\\u" * 16_000),
    ],
)
def test_markup_without_an_end_is_read_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search for an end goes to the end of the text: only one for each kind may fail."""
    searches: list[str] = []

    class Counted(str):
        def find(self, *found: object) -> int:
            searches.append(str(found[0]))
            return super().find(*found)  # type: ignore[arg-type]

    monkeypatch.setattr(markup, "_lower", lambda text: Counted(text.lower()))
    SOCIAL_3.apply(text)
    assert len(searches) <= 1


@pytest.mark.parametrize(
    "text", ["a<b>" * 60_000 + "</b>", "a<b></b>" * 30_000, ("<script>" + "x<i>") * 20_000 + "</i></script>"]
)
def test_tags_within_words_take_no_longer_the_more_there_are(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    class Counted(str):
        def find(self, what: str, start: int = 0) -> int:  # type: ignore[override] # as it is called
            place = super().find(what, start)
            looked.append((place if place >= 0 else len(self)) - start)
            return place

        def rfind(self, what: str) -> int:  # type: ignore[override] # as it is called
            looked.append(len(self))
            return super().rfind(what)

    monkeypatch.setattr(markup, "_lower", lambda text: Counted(text.lower()))
    markup.read_markup(text)
    assert sum(looked) <= 4 * len(text)


UNSEEN = [
    "<img src=\"data:image/png;base64,iVBORw0KGgo\" alt='a cat'>",
    "<STYLE type='text/css'>p { margin: 0 }</STYLE>",
    "<script>if (a < b) { say('<p>hate</p>') }</script>",
    "<!-- awful, <b>never</b> again -->",
    '<a href="https://example.com/a?b=c">',
    "<br/>",
    "<title>hate</title>",
]
PAGES = st.lists(
    st.sampled_from(["so good ", "1 < 2 ", "a > b ", "<3 ", "no tag <here ", *UNSEEN]), max_size=40
)


@given(parts=PAGES, most=st.integers(1, 900))
@example(parts=["so good ", UNSEEN[1] * 60], most=30)
@example(parts=["<!-- " + "hate " * 2_000 + "-->", "so good"], most=40)
def test_a_cut_shows_nothing_that_no_reader_sees(parts: list[str], most: int) -> None:
    text = "".join(parts)
    whole = SOCIAL_3.apply(text)
    reach = SOCIAL_3.reach(text, most)
    assert whole.startswith(SOCIAL_3.apply(text[:reach]))
    rest = SOCIAL_3.apply(text[SOCIAL_3.onward(text, min(most, len(text))) :])
    assert whole.endswith(rest)


def test_what_is_passed_over_does_not_count_and_is_bounded() -> None:
    style = "<style>" + ".hate { color: red } " * 50 + "</style>"
    assert SOCIAL_3.reach(style + "so good" * 50, 100) == len(style) + 100
    long = "<style>" + ".hate { color: red } " * 5_000 + "</style>"
    assert SOCIAL_3.reach("so " + long, 100) == 3
    assert SOCIAL_3.reach("so " + style * 20, 100) in {3 + len(style) * number for number in range(1, 6)}
    assert SOCIAL_3.reach("<style> never closed" * 50, 100) == 100
    assert SOCIAL_2.reach(style, 100) == 100


def test_ordinary_posts_are_read_as_by_version_2() -> None:
    posts = [
        "@ann 😂😂 sooo good!! #GoodMorning https://a.b",
        "I <3 it & you ❤️👍🏽",
        "ＩＴ 𝓲𝓼 100% fine :)",
        "Łódź naïve 名",
    ]
    assert [SOCIAL_3.apply(post) for post in posts] == [SOCIAL_2.apply(post) for post in posts]


ON_ANY_PYTHON = "d147f0d13f1912ead3844db44d53a5d32025974d4c9689f390778690ce1f44f6"


def test_the_same_on_any_python() -> None:
    """Over all of Unicode: alone, as a user's name, in a hashtag, three in a row."""
    found = hashlib.sha256()
    for code in (*range(1, 0xD800), *range(0xE000, 0x110000)):
        char = chr(code)
        found.update(SOCIAL_3.apply(f"{char} a@{char}@b{char} #{char}c{char} _{char} {char * 3}").encode())
    assert found.hexdigest() == ON_ANY_PYTHON


def test_the_table_is_unicodes() -> None:
    ours, python = own_names(), emoji_names.table()["names"]
    assert {sign: ours.names.get(sign) for sign in python} == python
    assert len(own_table()) < 64_000
    joined = [sign for sign in ours.names if len(sign) > 1]
    assert all(social_3._PATTERN.fullmatch(sign) for sign in ours.names)
    assert len(joined) == 9


def test_names_come_from_the_table(tmp_path: Path) -> None:
    names = {"format": 1, "unicode": "1", "names": {"😀": "glad"}}
    table = read_names(json.dumps(names).encode(), tmp_path)
    mine = normaliser("social", 3, table)
    assert mine.apply("😀 😮‍💨 &#128514;") == " glad   emoji   emoji "
    assert (mine.table, SOCIAL_3.table) == (table.digest, own_names().digest)
    with pytest.raises(TextError, match="'social' version 2 takes no table of emoji names"):
        normaliser("social", 2, table)


SOUND = {"format": 1, "unicode": "16.0.0", "names": {"😀": "happy"}}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b" " * 600_000, "too large"),
        ([], "format 1"),
        ({**SOUND, "format": 2}, "format 1"),
        ({**SOUND, "unicode": 16}, "`unicode`"),
        ({**SOUND, "names": {}}, "1 to 8192 `names`"),
        ({**SOUND, "names": ["😀"]}, "`names`"),
        ({**SOUND, "names": {"a": "b"}}, "'a' is no emoji"),
        ({**SOUND, "names": {"": "b"}}, "'' is no emoji"),
        ({**SOUND, "names": {"😀" * 11: "b"}}, "is no emoji"),
        ({**SOUND, "names": {"😀": 1}}, "words of ASCII"),
        ({**SOUND, "names": {"😀": ""}}, "words of ASCII"),
        ({**SOUND, "names": {"😀": "très"}}, "words of ASCII"),
        ({**SOUND, "names": {"😀": "two  spaces"}}, "words of ASCII"),
        ({**SOUND, "names": {"😀": "a" * 101}}, "words of ASCII"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(table: object, says: str, tmp_path: Path) -> None:
    content = table if isinstance(table, bytes) else json.dumps(table).encode()
    with pytest.raises(TextError) as caught:
        read_names(content, tmp_path / "emoji.json")
    assert says in str(caught.value)
    assert "emoji.json" in str(caught.value)
    assert "\n" not in str(caught.value)
