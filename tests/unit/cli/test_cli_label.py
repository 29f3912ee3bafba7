"""`moodstream label`: what is written, what is said, and how it ends."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def messages(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_file_gives_a_json_line_a_row_and_nothing_else(moodstream: Any) -> None:
    Path("posts.jsonl").write_text('{"text":"I love it"}\n{"text":"I hate it"}\n')
    ended = moodstream("label", "posts.jsonl")
    assert (ended.code, ended.err) == (0, "")
    found = messages(ended.out)
    assert [fields["text"] for fields in found] == ["I love it", "I hate it"]
    assert [fields["event_id"] for fields in found] == ["posts.jsonl:0:0", "posts.jsonl:0:1"]
    for fields in found:
        assert fields["sentiment_label"] in {"negative", "neutral", "positive"}
        # 28 labels, label, score, labels, 7 groups and the strongest of them
        assert len([name for name in fields if name.startswith("emotion_")]) == 28 + 3 + 7 + 1
        assert fields["toxic_spans"] == []


def test_several_inputs_into_one_output(moodstream: Any) -> None:
    Path("a.txt").write_text("one\ntwo\n")
    Path("b.csv").write_text("id,body\n1,three\n")
    Path("c.txt").write_text("")
    assert moodstream("label", "a.txt", "c.txt", "-o", "out.jsonl").code == 0
    assert [fields["text"] for fields in messages(Path("out.jsonl").read_text())] == ["one", "two"]
    ended = moodstream("label", "b.csv", "--text-field", "body", "--no-include-text")
    (fields,) = messages(ended.out)
    assert "text" not in fields
    assert fields["source_topic"] == "b.csv"


def test_the_text_field_of_the_settings_counts(moodstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.jsonl").write_text('{"review":{"body":"so good"}}\n')
    monkeypatch.setenv("MOODSTREAM_SOURCE__TEXT_FIELD", "review.body")
    assert messages(moodstream("label", "a.jsonl").out)[0]["text"] == "so good"


def test_standard_input_takes_json_and_bare_lines(process: Any) -> None:
    ended = process("label", "-", text='so good\n{"text":"never again 😡"}\n'.encode())
    assert (ended.code, ended.err) == (0, "")
    assert [fields["text"] for fields in messages(ended.out)] == ["so good", "never again 😡"]
    assert messages(ended.out)[1]["source_topic"] == "stdin"


def test_standard_input_as_a_table(process: Any) -> None:
    ended = process("label", "-", "--format", "csv", text=b"id;text\n1;so good\n")
    assert messages(ended.out)[0]["text"] == "so good"


def test_bad_rows_are_named_counted_and_exit_code_1(moodstream: Any) -> None:
    Path("posts.jsonl").write_text('{"text":"fine"}\n{broken\n{"txt":"hidden words"}\n')
    ended = moodstream("label", "posts.jsonl")
    assert ended.code == 1
    assert [fields["text"] for fields in messages(ended.out)] == ["fine"]
    assert ended.lines[0].startswith("posts.jsonl:2: the value is not JSON: ")
    assert ended.lines[1].startswith("posts.jsonl:3: no field `text`")
    assert re.fullmatch(r"1 labelled, 2 could not be labelled, \d+\.\d s, \d+ a second", ended.lines[2])
    assert "hidden words" not in ended.err


def test_skip_bad_ends_well(moodstream: Any) -> None:
    Path("posts.jsonl").write_text('{"text":"fine"}\n{broken\n')
    ended = moodstream("label", "posts.jsonl", "--skip-bad")
    assert ended.code == 0
    assert len(ended.lines) == 2


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["no.txt"], 2, "moodstream: no.txt: No such file or directory"),
        (["good.txt", "."], 2, "moodstream: .: is a folder with more in it than parts of one format"),
        (["/dev/zero", "--format", "txt"], 2, "moodstream: /dev/zero: is a device or a socket, not a file"),
        (
            ["wide.csv"],
            2,
            "moodstream: wide.csv: the line of column names (line 1) cannot be read: the line is",
        ),
        (["twice.csv"], 2, "moodstream: twice.csv: the column 'text' occurs twice"),
        (["utf16.csv"], 2, "moodstream: utf16.csv: is UTF-16, not UTF-8"),
        (["good.txt", "--encoding", "utf-17"], 2, "moodstream: no encoding 'utf-17' is known"),
        (["bad\x1b[31m.csv"], 2, r"moodstream: bad\x1b[31m.csv: is empty"),
        (["esc.csv"], 2, r"moodstream: esc.csv: no column `text`; there are: a\x1b]0;b, n (choose with"),
        (["good.txt", "-o", "\x1b/x.csv"], 2, r"moodstream: --output \x1b/x.csv: No such file"),
        (
            ["good.txt", "-o", "\x1b/x"],
            2,
            r"moodstream: --output \x1b/x: the name must end with one of .jsonl",
        ),
        (["good.txt", "-o", "x.parquet.gz"], 2, "moodstream: --output x.parquet.gz: the name must end with"),
        (["good.xml"], 2, "moodstream: good.xml: the name does not tell the format"),
        (["empty.csv"], 2, "moodstream: empty.csv: is empty; a table begins with a line of column names"),
        (["good.txt", "--model", "no-pack"], 7, "moodstream: there is no model pack at no-pack"),
        (["good.txt", "-o", "no/folder/x.csv"], 2, "moodstream: --output no/folder/x.csv: No such file"),
        (["good.txt", "-o", "good.txt/x.csv"], 2, "moodstream: --output good.txt/x.csv: Not a directory"),
        (["good.txt", "-o", "l" * 300 + ".csv"], 2, f"moodstream: --output {'l' * 300}.csv: File name too"),
        (["l" * 300 + ".csv"], 2, f"moodstream: {'l' * 300}.csv: File name too long"),
        (["good.txt", "-o", "./good.txt"], 2, "moodstream: --output ./good.txt is an input too"),
    ],
)
def test_what_cannot_be_done_is_one_line(moodstream: Any, args: list[str], code: int, line: str) -> None:
    for name in ("good.txt", "good.xml"):
        Path(name).write_text("so good\n")
    Path("empty.csv").write_text("")
    Path("bad\x1b[31m.csv").write_text("")
    Path("wide.csv").write_text("x" * 17_000_000 + "\na\n")
    Path("twice.csv").write_text("text,text\na,b\n")
    Path("utf16.csv").write_text("text\na\n", encoding="utf-16")
    Path("esc.csv").write_text("a\x1b]0;b,n\nx,1\n")
    ended = moodstream("label", *args)
    assert ended.code == code
    assert ended.lines[-1].startswith(line)
    assert ended.out == ""
    assert "\x1b" not in ended.err
    assert Path("good.txt").read_text() == "so good\n"


def on_a_terminal(*args: str) -> tuple[int, str]:
    """Run with standard error on a terminal and standard output in a file."""
    ours, theirs = pty.openpty()
    with Path("out.jsonl").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *args],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"},
            stdout=output,
            stderr=theirs,
        )
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    return process.wait(timeout=20), seen.decode()


def test_a_terminal_gets_a_bar_and_a_summary_and_the_output_stays_clean() -> None:
    Path("[red]posts.jsonl").write_text('{"text":"fine"}\n' * 300 + "{broken\n")
    code, seen = on_a_terminal("label", "[red]posts.jsonl")
    assert code == 1
    assert "[red]posts.jsonl" in seen
    assert "━" in seen
    assert "300 labelled" in seen
    assert "[red]posts.jsonl:301: the value is not JSON" in seen
    assert re.search(r"300 labelled, 1 could not be labelled, [\d.]+ s, \d+ a second\r\n$", seen)
    assert len(messages(Path("out.jsonl").read_text())) == 300


def test_the_language_settings_count(moodstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.txt").write_text("where is my parcel?\nnon mi piace per niente\n")
    monkeypatch.setenv("MOODSTREAM_LANGUAGE__DETECT", "true")
    monkeypatch.setenv("MOODSTREAM_LANGUAGE__CANDIDATES", "en,it")
    assert [fields["lang"] for fields in messages(moodstream("label", "a.txt").out)] == ["en", "it"]
    monkeypatch.setenv("MOODSTREAM_LANGUAGE__CANDIDATES", "en,cu")
    ended = moodstream("label", "a.txt")
    assert ended.code == 2
    (line,) = ended.err.strip().splitlines()
    assert "language.candidates: the identifier does not know cu" in line
