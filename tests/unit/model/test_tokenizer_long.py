"""Long texts cost what the model reads of them, and training reads texts as the service does."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.lab.data.tokens import encode, encode_marked
from worker.model.pack import TOKENIZER, bundled_pack
from worker.model.text.normaliser import RAW, Normaliser, normaliser
from worker.model.tokenizer import Tokenizer

PATH = bundled_pack() / TOKENIZER
HANDLING = normaliser("social", 2)


def readers(version: int) -> tuple[Tokenizer, Tokenizer]:
    """Return two readers of up to 32 tokens; the second tokenises all of a text, as the definition is."""
    short, whole = (Tokenizer(PATH, 32, normaliser("social", version)) for _ in range(2))
    whole._at_first = 10**9
    return short, whole


READERS = {version: readers(version) for version in (2, 3)}
EMOJI = "😀😃😂🤣😉😊🥰😍😘😡😭💀👍🏽🔥❤️🇩🇪👩‍👩‍👧🧨🪁"
PIECES = st.sampled_from(
    [
        *(*EMOJI, "so good", " ", "\n", "x" * 150, "名", "é", "e\u0301", "&amp;"),
        *("@user", "#SoGood", "\\u0041", "\ud83d", "[SEP]", "<b>", "<br>", "&#128512;"),
    ]
)
LONG = st.lists(st.tuples(PIECES, st.integers(1, 60)), min_size=1, max_size=30).map(
    lambda parts: "".join(piece * count for piece, count in parts)
)


@pytest.mark.parametrize("version", READERS)
@given(text=LONG)
@settings(max_examples=300, deadline=None)
def test_the_beginning_of_a_text_gives_what_the_whole_text_gives(version: int, text: str) -> None:
    short, whole = READERS[version]
    assert short([text]) == whole([text])
    assert short.places(text) == whole.places(text)
    assert short.ranges(short([text])[0]) == whole.ranges(whole([text])[0])


@pytest.mark.parametrize("text", [EMOJI * 2_000, "😀😂" * 20_000, "😂 " * 40_000, "🇩🇪" * 20_000])
def test_long_runs_of_emoji_cost_no_more_than_other_long_texts(text: str) -> None:
    tokenizer = Tokenizer(PATH, 512, HANDLING)
    tokenizer(["warm up"])

    def seconds(text: str) -> float:
        taken = []
        for _ in range(3):
            started = time.process_time()
            (row,) = tokenizer([text])
            taken.append(time.process_time() - started)
            assert row.truncated
        return min(taken)

    assert seconds(text) < 5 * seconds("the quick brown fox " * 8_000) + 0.02  # it was thirty times as much


TEXTS = [
    *("so good [SEP] never again", "half a pair \ud83d of surrogates"),
    *("a pair \ud83d\ude00", "greaaat 😡 #SoGood", ""),
]


@pytest.mark.parametrize("handling", [RAW, HANDLING], ids=lambda handling: handling.name)
def test_training_reads_texts_as_the_service_does(handling: Normaliser) -> None:
    served = [row.ids for row in Tokenizer(PATH, 24, handling)(TEXTS)]
    assert [row.tolist() for row in encode(PATH, TEXTS, 24, handling)] == served
    ids, marks = encode_marked(PATH, TEXTS, [range(len(text)) for text in TEXTS], 24, handling)
    assert [row.tolist() for row in ids] == served
    assert [len(row) for row in marks] == [len(row) for row in served]


def test_a_special_token_that_is_typed_is_text_in_training_too() -> None:
    (row,) = encode(PATH, ["so good [SEP] never again"], 24)
    assert row.tolist() == [101, 2061, 2204, 1031, 19802, 1033, 2196, 2153, 102]


def test_marks_are_those_of_the_characters_of_the_text_as_it_came() -> None:
    text = "\ud83d\ude00 so #BadDay 😡"
    place = text.index("Day")
    (ids,), (marks,) = encode_marked(PATH, [text], [[place]], 24, HANDLING)
    marked = [Tokenizer(PATH, 24, HANDLING).places(text).ranges[index] for index in np.flatnonzero(marks)]
    assert [text[start:end] for start, end in marked] == ["Day"]
    assert len(ids) == len(marks)
