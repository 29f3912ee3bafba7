"""`moodstream label` with awkward files, pipes and streams: one clear line, and nothing destroyed."""

import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

ROOT = Path(__file__).parents[3]
GOOD = "text,id\nso good,1\nnever again,2\n"


def texts(lines: "str | Path") -> list[str]:
    content = lines.read_text() if isinstance(lines, Path) else lines
    return [json.loads(line)["text"] for line in content.splitlines()]


def names() -> list[str]:
    """What is in the folder of the test."""
    return sorted(path.name for path in Path().iterdir())


def shell(command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command line in which `label` is `moodstream label`."""
    label = f"{shlex.quote(sys.executable)} -m worker label"
    return subprocess.run(
        ["bash", "-c", f'label() {{ {label} "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", GOOD.encode()),
        ("a.csv", GOOD.replace("\n", "\r").encode()),
        ("a.tab", GOOD.replace(",", "\t").encode()),
        ("a.csv.gz", gzip.compress(GOOD.encode(), mtime=0)),
        ("a.csv", b"\n" + GOOD.replace(",", "|").encode()),
        ("a.txt", b"so good\rnever again"),
        ("a.jsonl", b'{"text":"so good"}\r{"text":"never again"}\r'),
        ("caf\udce9 \x1b[1m.csv", GOOD.encode()),
    ],
)
def test_files_as_they_come(moodstream: Any, name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    ended = moodstream("label", name)
    assert (ended.code, ended.err) == (0, "")
    assert texts(ended.out) == ["so good", "never again"]


def test_a_name_that_is_not_utf8_is_written_so_that_it_can_be_read(moodstream: Any) -> None:
    Path("caf\udce9.txt").write_text("so good\n\xff")
    Path("caf\udce9.txt").write_bytes(b"so good\n\xff\n")
    ended = moodstream("label", "caf\udce9.txt")
    assert ended.code == 1
    assert json.loads(ended.out)["source_topic"] == "caf\\xe9.txt"
    assert ended.lines[0].startswith("caf\\xe9.txt:2: not UTF-8: byte 0xff at position 0")


def test_an_encoding_that_is_named(moodstream: Any) -> None:
    Path("a.csv").write_text("text\ncafé “so”\n", encoding="windows-1252")
    ended = moodstream("label", "a.csv")
    assert ended.code == 1
    assert "Latin-1 (Windows-1252) that is 'é'" in ended.lines[0]
    assert "--encoding windows-1252" in ended.lines[0]
    assert texts(moodstream("label", "a.csv", "--encoding", "windows-1252").out) == ["café “so”"]
    Path("b.csv").write_text("text\ncafé\n", encoding="utf-16")
    assert texts(moodstream("label", "b.csv", "--encoding", "utf-16").out) == ["café"]


def test_an_unclosed_quote_costs_one_row(moodstream: Any) -> None:
    Path("a.csv").write_text('text,id\nfirst,0\n"open,1\n' + "row,2\n" * 2_000)
    ended = moodstream("label", "a.csv", "--no-include-text")
    assert ended.code == 1
    assert len(ended.out.splitlines()) == 2_001
    assert ended.lines[0] == "a.csv:3: the quote that opens in line 3 is not closed in 1001 lines"
    assert ended.lines[1].startswith("2001 labelled, 1 could not be labelled")


def test_a_folder_of_parts(moodstream: Any) -> None:
    Path("out").mkdir()
    for number in (1, 0):
        Path(f"out/part-{number}.csv").write_text(f"text\npart {number}\n")
    Path("out/_SUCCESS").write_text("")
    ended = moodstream("label", "out", "-o", "labelled.jsonl")
    assert (ended.code, ended.err) == (0, "")
    assert texts(Path("labelled.jsonl")) == ["part 0", "part 1"]
    ids = [json.loads(line)["event_id"] for line in Path("labelled.jsonl").read_text().splitlines()]
    assert ids == ["out/part-0.csv:0:0", "out/part-1.csv:0:0"]


def test_a_reason_with_escapes_in_it_does_not_reach_the_terminal(moodstream: Any) -> None:
    Path("a.jsonl").write_text('{"\\u001b[2J\\u001b]0;x\\u0007": 1}\n')
    ended = moodstream("label", "a.jsonl")
    assert ended.code == 2
    assert "\x1b" not in ended.err
    assert "\x07" not in ended.err


def test_a_table_on_standard_input_is_told_how_to_be_read() -> None:
    Path("a.csv").write_text(GOOD)
    ended = shell("cat a.csv | label -")
    assert ended.returncode == 0
    assert texts(ended.stdout) == GOOD.splitlines()
    assert ended.stderr == (
        "moodstream: stdin: is read as lines of text, but begins like a table with the columns text, id: "
        "--format csv reads it as one\n"
    )
    ended = shell("cat a.csv | label - --format csv")
    assert (texts(ended.stdout), ended.stderr) == (["so good", "never again"], "")
    assert shell("printf 'text, please\\nso good\\n' | label -").stderr == ""


@pytest.mark.parametrize(
    ("content", "made"), [('[{"text": "a"}]\n', "'.[]'"), ('{\n  "text": "a"\n}\n', ".")]
)
def test_a_file_that_is_one_json_document_is_told_apart(moodstream: Any, content: str, made: str) -> None:
    Path("a.json").write_text(content)
    ended = moodstream("label", "a.json")
    assert ended.code == 2
    assert ended.err == (
        "moodstream: a.json: is one JSON document, not one object a line; "
        f"`jq -c {made} a.json` makes lines of it\n"
    )


@pytest.mark.parametrize(("output", "header"), [("o.csv", "id,product"), ("o.parquet", "")])
def test_a_table_without_rows_gives_its_columns(moodstream: Any, output: str, header: str) -> None:
    Path("a.csv").write_text("\ufefftext;id;product\r\n")
    ended = moodstream("label", "a.csv", "-o", output)
    assert (ended.code, ended.err) == (0, "")
    if header:
        assert Path(output).read_text().startswith(header + ",event_id")
    else:
        names = parquet.read_schema(output).names
        assert names[:3] == ["id", "product", "event_id"]
        assert "sentiment_label" in names


def test_columns_called_like_ours_stay_beside_them(moodstream: Any) -> None:
    Path("a.csv").write_text("text,sentiment,sentiment_label,event_id\nso good,5,x,e1\n")
    (row,) = map(json.loads, moodstream("label", "a.csv").out.splitlines())
    own = {"sentiment": "5", "input_sentiment_label": "x", "input_event_id": "e1"}
    assert {name: row[name] for name in own} == own
    assert (row["sentiment_label"], row["event_id"]) == ("positive", "a.csv:0:0")


# Where the output is also an input


@pytest.mark.parametrize(
    "command",
    [
        "label - -o a.txt < a.txt",
        "label - -o link.txt < a.txt",
        "label - -o hard.txt < a.txt",
        "label a.txt -o link.txt",
        "label link.txt -o a.txt",
        "label hard.txt -o a.txt",
        "label a.txt >> a.txt",
        "label - < a.txt >> a.txt",
        "label - - -o a.txt < link.txt",
    ],
)
def test_a_file_that_is_read_is_not_written(command: str) -> None:
    Path("a.txt").write_text("so good\n")
    Path("link.txt").symlink_to("a.txt")
    Path("hard.txt").hardlink_to("a.txt")
    ended = shell(command)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith(" is an input too")
    assert Path("a.txt").read_text() == "so good\n"


# Outputs that cannot be written, and those that break off


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("label a.txt > /dev/full", "moodstream: standard output: No space left on device"),
        ("label a.txt -o /dev/full", "moodstream: /dev/full: No space left on device"),
        ("label a.txt >&-", "moodstream: standard output is closed: name a file with --output"),
        ("label - <&-", "moodstream: stdin: is closed"),
        ("label a.txt -o .", "moodstream: --output .: Is a directory; end the name with / to fill it"),
    ],
)
def test_streams_that_cannot_be_used_are_one_line(command: str, line: str) -> None:
    Path("a.txt").write_text("so good\n")
    ended = shell(command)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == line
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert ended.stdout == ""
    assert names() == ["a.txt"]  # nothing left behind


def test_closed_streams_that_are_not_needed_do_no_harm() -> None:
    Path("a.txt").write_text("so good\n")
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        ended = shell(f"label a.txt -o out.jsonl {closed}")
        assert (ended.returncode, ended.stderr) == (0, ""), closed
        assert texts(Path("out.jsonl")) == ["so good"]
        assert Path("a.txt").read_text() == "so good\n"
    assert texts(shell("label a.txt 2>&-").stdout) == ["so good"]


def test_a_disk_without_space_leaves_what_was_there() -> None:
    Path("out.jsonl").write_text("from yesterday\n")
    Path("a.txt").write_text("so good\n" * 300)
    ended = shell("ulimit -f 64; label a.txt -o out.jsonl")  # KiB: as if there were no more
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "moodstream: out.jsonl: File too large"
    assert Path("out.jsonl").read_text() == "from yesterday\n"
    assert names() == ["a.txt", "out.jsonl"]


def test_the_output_is_replaced_when_all_is_done_and_keeps_its_link_and_mode(moodstream: Any) -> None:
    Path("real.jsonl").write_text("from yesterday\n")
    Path("real.jsonl").chmod(0o640)
    Path("out.jsonl").symlink_to("real.jsonl")
    Path("a.txt").write_text("so good\n")
    assert moodstream("label", "a.txt", "-o", "out.jsonl").code == 0
    assert Path("out.jsonl").is_symlink()
    assert texts(Path("real.jsonl")) == ["so good"]
    assert Path("real.jsonl").stat().st_mode & 0o777 == 0o640
    assert names() == ["a.txt", "out.jsonl", "real.jsonl"]
    old = os.umask(0o027)
    try:
        assert moodstream("label", "a.txt", "-o", "new.jsonl").code == 0
    finally:
        os.umask(old)
    assert Path("new.jsonl").stat().st_mode & 0o777 == 0o640


def test_an_input_that_breaks_off_leaves_the_old_output_and_keeps_what_was_labelled(moodstream: Any) -> None:
    Path("out.jsonl").write_text("from yesterday\n")
    Path("a.txt").write_text("so good\n")
    whole = gzip.compress(b"".join(b"row %d\n" % number for number in range(600)), mtime=0)
    Path("b.txt.gz").write_bytes(whole[:-9])
    ended = moodstream("label", "a.txt", "b.txt.gz", "-o", "out.jsonl")
    assert ended.code == 2
    assert ended.lines[-1] == "moodstream: b.txt.gz: the gzip data end too early"
    assert Path("out.jsonl").read_text() == "from yesterday\n"
    (part,) = Path().glob("out.jsonl.partial")
    assert (
        f"moodstream: what was labelled so far is in {Path.cwd() / part}; --resume goes on with it"
        in ended.lines
    )
    assert texts(part)[0] == "so good"


def test_an_interrupted_run_keeps_what_was_labelled() -> None:
    Path("out.jsonl").write_text("from yesterday\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "label", "-", "-o", "out.jsonl"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"so good\n")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not any(part.stat().st_size for part in Path().glob("*.partial")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"what was labelled so far is in " in err
    (part,) = Path().glob("*.partial")
    assert texts(part) == ["so good"]
    assert Path("out.jsonl").read_text() == "from yesterday\n"


# Pipes


def test_named_pipes_as_input_and_as_output() -> None:
    for name in ("in.csv", "out.jsonl", "alone.csv"):
        os.mkfifo(name)
    ended = shell("printf 'text,n\\nso good,1\\n' > in.csv & cat out.jsonl & label in.csv -o out.jsonl; wait")
    assert texts(ended.stdout) == ["so good"]
    started = time.monotonic()
    ended = shell("label alone.csv")
    assert ended.returncode == 2
    assert ended.stderr == (
        "moodstream: alone.csv: is a named pipe that nobody has opened for writing in 5 s\n"
    )
    assert time.monotonic() - started < 20


def test_rows_of_a_table_are_answered_as_they_come() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "label", "-", "--format", "csv"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for lines, wanted in ((b"text,n\nso good,1\n", "so good"), (b'"two\nlines",2\n', "two\nlines")):
        process.stdin.write(lines)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == wanted
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_an_empty_name_is_no_folder(moodstream: Any) -> None:
    """As from a variable of the shell that was never set: the current folder would be labelled."""
    Path("a.csv").write_text(GOOD)
    for args in (("label", ""), ("label", "a.csv", ""), ("label", "a.csv", "-o", "")):
        ended = moodstream(*args)
        assert (ended.code, ended.out, len(ended.lines)) == (2, "", 1)
        assert "empty" in ended.err
    assert names() == ["a.csv"]


def test_a_column_that_a_later_file_lacks_is_told_before_the_work_begins(moodstream: Any) -> None:
    Path("a.csv").write_text(GOOD)
    Path("b.csv").write_text("review,id\nso good,1\n")
    ended = moodstream("label", "a.csv", "b.csv", "-o", "out.csv")
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert ended.err.startswith("moodstream: b.csv: no column `text`; there are: review, id")
    assert names() == ["a.csv", "b.csv"]
    Path("b.csv").write_text("id,text\n3,so good\n")
    assert moodstream("label", "a.csv", "b.csv", "-o", "out.csv").code == 0
    header, *rows = Path("out.csv").read_text().splitlines()
    assert (header.startswith("id,"), len(rows)) == (True, 3)


@pytest.mark.parametrize(
    "numbers", [("9007199254740993", "1.5"), ("1", "9007199254740993", "2.5"), ("1.5", "9007199254740993")]
)
def test_whole_numbers_that_no_fraction_can_hold_beside_fractions(
    moodstream: Any, numbers: tuple[str, ...]
) -> None:
    Path("n.jsonl").write_text("".join(f'{{"text": "so good", "n": {number}}}\n' for number in numbers))
    ended = moodstream("label", "n.jsonl", "-o", "n.parquet")
    assert ended.code == 0, ended.err
    assert parquet.read_table("n.parquet")["n"].to_pylist() == list(numbers)


def test_columns_of_views_and_dictionaries_are_kept(moodstream: Any) -> None:
    """As Arrow-native programs write them."""
    columns = {
        "text": ["so good", "never again"],
        "c": arrow.array(["a", "b"], arrow.string_view()),
        "d": arrow.array([b"a", b"\xff"], arrow.binary_view()),
        "stars": arrow.array([5, 1]).dictionary_encode(),
        "kind": arrow.array(["x", "y"]).dictionary_encode(),
    }
    parquet.write_table(arrow.table(columns), "v.parquet")
    ended = moodstream("label", "v.parquet", "-o", "out.parquet")
    assert ended.code == 0, ended.err
    kept = parquet.read_table("out.parquet")
    assert (kept["c"].to_pylist(), kept["d"].to_pylist()) == (["a", "b"], [b"a", b"\xff"])
    assert (kept["stars"].to_pylist(), kept["kind"].to_pylist()) == ([5, 1], ["x", "y"])
