"""The view at several sizes: nothing wider than the terminal, and what it says is what the books say."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from worker.demo.feeder import Sent
from worker.demo.ledger import Ledger
from worker.demo.reader import Answer, DeadLetter, Labelled, PassedThrough
from worker.demo.samples import Sample
from worker.demo.view import View, _marked, export_svg
from worker.types import TopicPartition

PART = TopicPartition("posts", 0)
JOY = (("joy", 0.81), ("love", 0.44), ("excitement", 0.4))


def _labelled(offset: int, text: str, sentiment: str = "positive") -> Labelled:
    emotions = JOY if sentiment == "positive" else ()
    return Labelled(PART, offset, text, sentiment, 0.97, "joy", emotions, "compact@0123456789ab", 0.04)


ANSWERS: list[Answer] = [
    _labelled(0, "best day ever 🎉🎉 " + "so happy " * 30),
    _labelled(1, "meh\nsecond line\x1b[31m and a bell \x07", "neutral"),
    _labelled(2, "電車が遅れている。もう三回目だ。", "negative"),
    DeadLetter(PART, 3, "not_json", "the value is not JSON: line 1, column 9", b'{"text": \xff\n', 0.1),
    PassedThrough(b"deleted-post-1", 1_004, 0.02),
    _labelled(5, "three words: warm. cheese. bread."),
]


def _view(answers: list[Answer] = ANSWERS) -> View:
    ledger = Ledger()
    view = View(ledger, source="posts", sink="moods")
    for offset, answer in enumerate(answers):
        value = None if isinstance(answer, PassedThrough) else b"x"
        ledger.sent(
            Sent(Sample(f"s{offset}", b"deleted-post-1", value, (), "labelled"), PART, offset, 1_000 + offset)
        )
        ledger.answered(answer)
        view.add(answer)
    return view


def _lines(view: View, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(view)
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (200, 60), (80, 10)])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    lines = _lines(_view(), width, height)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < max(height, 21)


def test_it_shows_messages_scores_emotions_shares_and_dead_letters() -> None:
    text = "\n".join(_lines(_view(), 120, 40))
    assert re.search(
        r"positive +97% +best day ever 🎉🎉 so happy .*… +joy 81% +love 44% +excitement 40%", text
    )
    assert re.search(r"neutral +97% +meh second line", text)
    assert re.search(r"negative +97% +電車が遅れている。", text)
    assert re.search(r"deleted +deleted-post-1", text)
    assert re.search(r"not_json +the value is not JSON", text)
    assert "dead letters: 1" in text
    assert re.search(r"positive +50% █+", text)
    assert re.search(r"joy +100% █+", text)
    assert "6 in · 6 out" in text
    assert "p50 40 ms · p95 100 ms" in text
    assert "compact@0123456789ab" in text


def test_no_text_reaches_the_terminal_as_a_command() -> None:
    text = "\n".join(_lines(_view(), 120, 40))
    assert "\x07" not in text
    assert "\x1b[31m" not in text


TOXIC = replace(
    _labelled(7, " what\n\n\x07 a  load\nof crap 😡!", "negative"), toxic=0.93, spans=((12, 24), (25, 26))
)


def test_what_is_toxic_stands_out() -> None:
    console = Console(width=120, height=40, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(_view([TOXIC]))
    text = capture.get()
    assert "what a \x1b[1;4;35mload of crap\x1b[0m \x1b[1;4;35m😡\x1b[0m!" in text
    assert "what a load of crap 😡!" in "\n".join(_lines(_view([TOXIC]), 120, 40))
    assert re.search(r"toxic 93%", "\n".join(_lines(_view([TOXIC]), 120, 40)))
    assert "1 in · 1 out · 1 toxic" in "\n".join(_lines(_view([TOXIC]), 120, 40))


@given(text=st.text(st.characters(codec=None), max_size=40), data=st.data())
def test_marks_lie_where_the_spans_do_in_a_text_of_one_line(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(text)), unique=True, max_size=6).map(sorted))
    spans = tuple(zip(ends[::2], ends[1::2], strict=False))
    row = _marked(text, spans)
    blanks = ("Cc", "Zl", "Zp")
    cleared = (" " if unicodedata.category(sign) in blanks else sign for sign in text)
    assert row.plain == " ".join("".join(cleared).split())
    inside = "".join(row.plain[span.start : span.end] for span in row.spans)
    marked = "".join(text[start:end] for start, end in spans)
    assert "".join(inside.split()) == "".join(
        sign for sign in marked if not sign.isspace() and unicodedata.category(sign) not in blanks
    )


def test_at_80_columns_emotions_are_left_out_whole() -> None:
    text = "\n".join(_lines(_view(), 80, 30))
    assert re.search(r"joy 81%  love 44% ", text)
    assert "exci" not in text


def test_the_latest_messages_stay_when_there_are_more_than_lines() -> None:
    text = "\n".join(_lines(_view([_labelled(n, f"message {n:03d}") for n in range(300)]), 80, 24))
    assert "message 299" in text
    assert "message 280" not in text


def test_before_the_first_answer_there_is_an_empty_frame() -> None:
    text = "\n".join(_lines(_view([]), 80, 24))
    assert "0 in · 0 out" in text
    assert "starting" in text


def test_the_svg_is_well_formed_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "demo.svg"
    export_svg(_view(), path)
    svg = path.read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    assert "best&#160;day&#160;ever" in svg
    assert "url(http" not in svg
    assert "@font-face" not in svg
