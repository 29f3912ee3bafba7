"""Looking only where a match may begin finds the same matches as trying everywhere."""

from hypothesis import example, given
from hypothesis import strategies as st

from worker.model.text import social

PARTS = st.sampled_from(
    [
        *(
            "@",
            "@bob",
            "a@b",
            "/@x",
            "#",
            "#1",
            "#TagName",
            "##x",
            "&",
            "&amp;",
            "&#39;",
            "&nope",
            "\\",
            "\\n",
        ),
        *("\\nope", "\\ud83d", "\\u00e9", "http", "https://x.y", "hhttp://", "www.", "wwww.a", "sooo", "XXX"),
        *(
            "IIII",
            "ßßß",
            "ééé",
            "___",
            "111",
            "😡",
            "😡 😡",
            "👩‍👩‍👧",
            "👍🏽",
            "🇩",
            "🇩🇪",
            "☹️",
            "\u200d",
            " ",
            "x",
        ),
    ]
)


@given(text=st.lists(PARTS | st.text(max_size=3)).map("".join))
@example("aaaa@a http:/ https:// #")
def test_every_match_begins_at_a_candidate(text: str) -> None:
    everywhere = [match.span() for match in social._PATTERN.finditer(text)]
    assert [match.span() for match in social._matches(text)] == everywhere
