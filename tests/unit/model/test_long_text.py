"""Texts that are longer than the model reads at once: which tokens are read, and what their windows give."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import SIZES, TWO_HEADS, write_checkpoint, write_marking_checkpoint
from worker.errors import InferenceError
from worker.heads import SINGLE, TOKENS, Gate, Head
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.pack import TOKENIZER, bundled_pack
from worker.model.several import PackSet
from worker.model.text.normaliser import normaliser
from worker.model.tokenizer import Tokenizer
from worker.model.tokens import MOST_WINDOWS, Tokens, spread, tokens_in
from worker.model.windows import mean_prediction
from worker.settings.groups import BatchSettings
from worker.types import Failure, HeadResult, LongText, Prediction, SpanResult

ROOM = 30
"""Tokens of a text in a row of the readers here."""

MODES: tuple[LongText, ...] = ("truncate", "head_tail", "windows")
PATH = bundled_pack() / TOKENIZER
READERS = {mode: Tokenizer(PATH, ROOM + 2, normaliser("social", 3), long_text=mode) for mode in MODES}
WHOLE = Tokenizer(PATH, 65_536, normaliser("social", 3))
WORDS = st.lists(
    st.sampled_from(
        ["good", "unbelievably", "@bob", "#SoGood", "😂", "é", "\uff29\uff34", "name", "<b>x</b>", "&amp;"]
    ),
    min_size=1,
    max_size=400,
).map(" ".join)


def inner(row: Tokens) -> list[int]:
    """Return a row's tokens without [CLS] and [SEP]."""
    return row.ids[1:-1]


@given(tokens=st.integers(0, 5_000), room=st.integers(1, 600))
@example(tokens=511, room=510)
def test_windows_cover_all_tokens_with_as_few_as_possible(tokens: int, room: int) -> None:
    windows = spread(tokens, room)
    assert [token for start, end in windows for token in range(start, end)] == list(range(tokens))
    assert len(windows) == -(-tokens // room)
    lengths = {end - start for start, end in windows}
    assert not lengths or (max(lengths) <= room and max(lengths) - min(lengths) <= 1)


@given(text=WORDS)
@settings(deadline=None)
def test_the_windows_hold_the_tokens_of_the_text(text: str) -> None:
    (whole,) = WHOLE([text])
    every = inner(whole)
    rows = {mode: reader([text])[0] for mode, reader in READERS.items()}
    if len(every) <= ROOM:
        assert all(row == whole for row in rows.values())
        return
    assert [inner(row) for row in rows["truncate"].windows or (rows["truncate"],)] == [every[:ROOM]]
    if len(every) <= 2 * ROOM:
        half = len(every) // 2
        assert [inner(row) for row in rows["head_tail"].windows] == [every[:half], every[half:]]
    else:
        assert [inner(row) for row in rows["head_tail"].windows] == [every[:ROOM], every[-ROOM:]]
    read = every[: MOST_WINDOWS * ROOM]
    assert [token for row in rows["windows"].windows for token in inner(row)] == read
    counts = {"truncate": ROOM, "head_tail": min(2 * ROOM, len(every)), "windows": len(read)}
    for mode, row in rows.items():
        assert row.ids == rows["truncate"].ids
        assert row.token_count == counts[mode] + 2
        assert row.truncated == (counts[mode] < len(every))


@pytest.mark.parametrize("mode", ["head_tail", "windows"])
@given(text=WORDS, before=st.sampled_from(["", "\ud83d\ude00 ", "\ud83d "]))
@settings(deadline=None)
def test_the_places_of_a_window_are_those_in_the_whole_text(mode: LongText, text: str, before: str) -> None:
    text = before + text
    (row,), (whole,) = READERS[mode]([text]), WHOLE([text])
    places = WHOLE.ranges(whole)
    for window in row.windows:
        assert window.window is not None
        start, end = (1 + place for place in window.window.place)
        if window.window.start == 0:
            assert READERS[mode].ranges(window) == [(0, 0), *places[start:end], (0, 0)]
        else:
            assert READERS[mode].ranges(window) == [(0, 0), *places[-1 - (end - start) : -1], (0, 0)]


@pytest.mark.parametrize("mode", ["head_tail", "windows"])
@pytest.mark.parametrize(
    "text",
    [
        *("so good " * 130_000, "x" * 1_000_000, "😂👍" * 300_000, " " * 999_990 + "fine at last"),
        *(
            "start" + "\n" * 500_000 + "middle" + " " * 500_000 + "end",
            "&#128512;" * 100_000,
            "<b>" * 300_000,
        ),
    ],
)
def test_a_megabyte_costs_a_few_rows(mode: LongText, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Tokenizer(PATH, 512, normaliser("social", 3), long_text=mode)
    rust, seen = reader._rust, []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(rust, name)

        def encode(self, part: str) -> Any:
            seen.append(len(part))
            return rust.encode(part)

    monkeypatch.setattr(reader, "_rust", Counted())
    (row,) = reader([text])
    assert row.truncated
    assert len(row.windows) <= MOST_WINDOWS
    assert all(len(window.ids) <= 512 for window in row.windows)
    assert row.token_count <= MOST_WINDOWS * 510 + 2
    assert sum(seen) < 900_000  # the emoji are names there


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("so good " * 30_000 + "but dreadful", ["but", "dreadful"]),
        ("😂 " * 30_000 + "in the end", ["in", "the", "end"]),
        ("fine" + " " * 100_000 + "in the end", ["in", "the", "end"]),
    ],
)
def test_the_end_of_a_very_long_text_is_read(text: str, last: list[str]) -> None:
    reader = Tokenizer(PATH, 512, normaliser("social", 2), long_text="head_tail")
    (row,) = reader([text])
    tail = row.windows[-1]
    ends = [text[start:end] for start, end in reader.ranges(tail)[1:-1]]
    assert ends[-len(last) :] == last
    assert all(place in range(len(text) + 1) for pair in reader.ranges(tail) for place in pair)


def test_more_text_without_anything_in_it_gives_one_row() -> None:
    for mode in ("head_tail", "windows"):
        (row,) = READERS[mode]([" " * 3_000 + "fine" + " " * 300_000])
        assert (row.windows, row.truncated) == ((), True)
        assert row.token_count == (3 if mode == "windows" else len(row.ids))


@pytest.mark.parametrize(
    "hidden",
    [
        "<style>" + ".kill { color: red }\n" * 2_000 + "</style>",
        "<img src='data:image/png;base64," + "iVBOR" * 8_000 + "'>",
        "<!--" + " hate " * 6_000 + "-->",
        "<SCRIPT>" + "kill(it);" * 4_000 + "</SCRIPT>",
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_what_no_reader_sees_is_not_read_wherever_a_long_text_is_cut(mode: LongText, hidden: str) -> None:
    reader = Tokenizer(PATH, 512, normaliser("social", 3), long_text=mode)
    seen = "good " * 20
    for text in (hidden + seen, seen + hidden + seen, seen + hidden):
        (row,) = reader([text])
        for window in row.windows or (row,):
            words = {text[start:end] for start, end in reader.ranges(window)}
            assert words <= {"good", ""}, words
        assert inner(row) or row.windows


def test_blanks_before_a_text_do_not_hide_it(packs: dict[str, Path]) -> None:
    text = " " * 2_000 + "great film " * 40
    for mode in ("head_tail", "windows"):
        (answer,) = Classifier.load(packs["plain"], threads=1, long_text=mode).classify([text])
        assert isinstance(answer, Prediction), mode


def test_a_text_of_which_all_is_read_is_not_truncated() -> None:
    (row,) = READERS["head_tail"](["great" + " " * 3_000 + "bad"])
    assert (row.truncated, row.token_count) == (False, 4)
    (row,) = READERS["head_tail"](["great" + " " * 3_000 + "middle" + " " * 3_000 + "bad"])
    assert row.truncated


def test_a_text_that_fits_into_two_rows_is_read_in_halves() -> None:
    (row,) = READERS["head_tail"](["good " * 40])
    assert [window.window.place for window in row.windows if window.window] == [(0, 20), (20, 40)]
    assert (tokens_in(row.windows), row.truncated) == (42, False)
    (row,) = READERS["head_tail"](["good " * 61])
    assert [window.window.place for window in row.windows if window.window] == [(0, 30), (31, 61)]
    assert (tokens_in(row.windows), row.truncated) == (62, True)
    assert tokens_in([]) == 0


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two packs that read 24 tokens at once; the token head of `marks` marks the word `awful` in any text."""
    folder = tmp_path_factory.mktemp("long")
    marking = write_marking_checkpoint(folder / "marking", "awful")
    plain = write_checkpoint(folder / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    return {
        "marks": convert_checkpoint(marking, folder / "marks", name="marks").path,
        "plain": convert_checkpoint(plain, folder / "plain", name="plain").path,
    }


LONG = "the film was great " * 9 + "awful train " * 3
TEXTS = ["great", LONG, "", "awful phone", "broken " * 30, LONG + LONG, "late " * 500]


@pytest.mark.parametrize("mode", MODES)
def test_a_text_has_the_same_scores_in_any_company(packs: dict[str, Path], mode: LongText) -> None:
    model = Classifier.load(packs["plain"], threads=1, long_text=mode)
    alone = [answer for text in TEXTS for answer in model.classify([text])]
    assert model.classify(TEXTS) == alone
    assert model.classify(TEXTS[::-1]) == alone[::-1]
    batch = BatchSettings(max_padded_tokens=10_000, max_padding_share=1.0)
    assert Classifier.load(packs["plain"], threads=3, batch=batch, long_text=mode).classify(TEXTS) == alone


def test_short_texts_are_read_the_same_in_all_ways(packs: dict[str, Path]) -> None:
    short = ["great", "", "the film is awful", "it was late " * 7]
    answers = [Classifier.load(packs["marks"], threads=1, long_text=mode).classify(short) for mode in MODES]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("mode", ["head_tail", "windows"])
def test_scores_are_the_mean_of_those_of_the_windows(packs: dict[str, Path], mode: LongText) -> None:
    model = Classifier.load(packs["plain"], threads=2, long_text=mode)
    (row,) = model.tokenize([LONG])
    parts = model.predict(row.windows)
    (answer,) = model.classify([LONG])
    assert isinstance(answer, Prediction)
    for name, result in answer.heads.items():
        for label, score in result.scores.items():
            assert score == pytest.approx(
                np.mean([part.heads[name].scores[label] for part in parts]), abs=1e-12
            )
        assert result.label == max(result.scores, key=result.scores.__getitem__)
    thresholds = dict(zip(answer.heads["emotion"].scores, TWO_HEADS["emotion"]["thresholds"], strict=True))
    passed = {label for label, score in answer.heads["emotion"].scores.items() if score >= thresholds[label]}
    assert set(answer.heads["emotion"].labels or ()) == passed
    assert (answer.token_count, answer.truncated) == (row.token_count, row.truncated)


@pytest.mark.parametrize(
    ("mode", "marked"),
    [("truncate", []), ("head_tail", ["awful", "awful", "awful"]), ("windows", ["awful", "awful", "awful"])],
)
def test_words_are_marked_where_they_are(packs: dict[str, Path], mode: LongText, marked: list[str]) -> None:
    (answer,) = Classifier.load(packs["marks"], threads=1, long_text=mode).classify([LONG])
    assert isinstance(answer, Prediction)
    ranges = answer.spans["toxic_spans"].ranges
    assert [LONG[start:end] for start, end in ranges] == marked
    assert [start for start, _ in ranges] == [
        place for place in range(len(LONG)) if LONG.startswith("awful", place)
    ][: len(marked)]


def test_marked_words_of_two_windows_that_touch_are_one_range(packs: dict[str, Path]) -> None:
    text = "awful " * 30
    (answer,) = Classifier.load(packs["marks"], threads=1, long_text="head_tail").classify([text])
    assert isinstance(answer, Prediction)
    assert answer.spans["toxic_spans"].ranges == ((0, len(text) - 1),)


SENTIMENT = Head("sentiment", SINGLE, ("bad", "good"))
SPANS = Head("spans", TOKENS, ("x",), layers=(1,), gate=Gate("sentiment", "bad", 0.5))


def window(bad: float, *ranges: tuple[int, int]) -> Prediction:
    scores = {"bad": bad, "good": 1 - bad}
    result = HeadResult(max(scores, key=scores.__getitem__), max(scores.values()), scores)
    return Prediction({"sentiment": result}, 9, False, {"spans": SpanResult(ranges, read=bad >= 0.5)})


@pytest.mark.parametrize(
    ("windows", "ranges"),
    [
        ([window(0.9, (4, 7)), window(0.2)], ((4, 7),)),
        ([window(0.6, (4, 7)), window(0.2)], ()),
        ([window(0.9, (0, 3)), window(0.8, (0, 3), (4, 7))], ((0, 7),)),
        ([window(0.1), window(0.1)], ()),
    ],
)
def test_marks_need_the_mean_to_pass_the_gate(
    windows: list[Prediction], ranges: tuple[tuple[int, int], ...]
) -> None:
    row = Tokens([1, 2], True, "one two", read=17)
    found = mean_prediction(row, [SENTIMENT], [SPANS], windows)
    assert found.spans["spans"] == SpanResult(ranges, read=bool(ranges))
    assert (found.token_count, found.truncated) == (17, True)


def test_a_window_that_fails_fails_its_text_alone(
    packs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Classifier.load(packs["plain"], threads=1, long_text="windows")
    whole = model.classify(["great", LONG, "late"])
    (row,) = model.tokenize([LONG])
    run = model._session.run

    def failing(rows: Any) -> Any:
        if any(ids == row.windows[1].ids for ids in rows):
            raise InferenceError("out of memory")
        return run(rows)

    monkeypatch.setattr(model._session, "run", failing)
    answers = model.classify(["great", LONG, "late"])
    assert isinstance(answers[1], Failure)
    assert answers[1].reason == "inference_failed"
    assert [answers[0], answers[2]] == [whole[0], whole[2]]


def test_several_packs_and_pickles_read_long_texts_alike(packs: dict[str, Path]) -> None:
    several = PackSet.load(list(packs.values()), threads=1, long_text="windows")
    (both,) = several.classify([LONG])
    alone = Classifier.load(packs["plain"], threads=1, long_text="windows")
    (mine,) = alone.classify([LONG])
    assert isinstance(both, Prediction)
    assert isinstance(mine, Prediction)
    assert both.heads["plain_sentiment"] == mine.heads["sentiment"]
    assert both.token_count == mine.token_count
    assert pickle.loads(pickle.dumps(alone)).classify([LONG]) == [mine]


def test_an_unknown_way_is_refused(packs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="long_text is one of truncate, head_tail, windows, not 'all'"):
        Classifier.load(packs["plain"], long_text="all")  # type: ignore[arg-type]
