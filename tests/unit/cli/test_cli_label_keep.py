"""`moodstream label`: the input's columns beside the labels, in every format, and runs that are resumed."""

import csv
import datetime
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.cli.main import main

ROOT = Path(__file__).parents[3]
ROWS = "id,text,model,n\n007,so good,X-1,1.50\n2,never again,,\n"
RUNS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8, deadline=None)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def rows(path: str) -> list[dict[str, Any]]:
    """The rows of an output in any format."""
    if Path(path).is_dir():
        return [row for part in sorted(Path(path).iterdir()) for row in rows(str(part))]
    if path.endswith(".parquet"):
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return found
    content = Path(path).read_bytes()
    text = (gzip.decompress(content) if path.endswith(".gz") else content).decode()
    if ".jsonl" in path:
        return [json.loads(line) for line in text.split("\n")[:-1]]
    delimiter = "\t" if ".tsv" in path else ","
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.mark.parametrize(
    "output",
    ["o.jsonl", "o.jsonl.gz", "o.csv", "o.csv.gz", "o.tsv", "o.parquet", "o/", "o.csv/", "o.jsonl.gz/"],
)
def test_columns_stay_in_every_format(moodstream: Any, output: str) -> None:
    Path("posts.csv").write_text(ROWS)
    ended = moodstream("label", "posts.csv", "-o", output)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    found = rows(output.rstrip("/"))
    assert [(row["id"], row["input_model"], row["n"], row["text"]) for row in found] == [
        ("007", "X-1", "1.50", "so good"),
        ("2", "", "", "never again"),
    ]
    assert [row["sentiment_label"] for row in found] == ["positive", "negative"]
    assert all(row["model"].startswith("compact@") for row in found)
    assert sorted(path.name for path in Path().iterdir()) == sorted([output.rstrip("/"), "posts.csv"])


def test_parquet_keeps_types_and_rows_that_fail_are_left_out(moodstream: Any) -> None:
    table = arrow.table(
        {
            "id": arrow.array([1, 2, 3], arrow.int16()),
            "text": ["so good", "", "never again"],
            "at": arrow.array([1_700_000_000_123_456_789, 2, None], arrow.timestamp("ns", "Europe/Berlin")),
            "price": arrow.array([Decimal("1.50"), None, Decimal("2.00")]),
            "day": arrow.array([datetime.date(2024, 1, 1)] * 3),
            "tags": arrow.array([["a"], [], None], arrow.list_(arrow.string())),
            "user": arrow.array([{"name": "ann", "n": 1}] * 3),
            "": [True, False, None],
            "lang": arrow.array(["en", "en", "de"]).dictionary_encode(),
        }
    )
    Path("in").mkdir()
    parquet.write_table(table.slice(0, 2), "in/part-0.parquet")
    parquet.write_table(table.slice(2), "in/part-1.parquet")
    ended = moodstream("label", "in", "-o", "out.parquet", "--skip-bad")
    assert ended.code == 0
    found = parquet.read_table("out.parquet")
    kept = found.select(["id", "at", "price", "day", "tags", "user", "column_8", "input_lang"])
    wanted = table.select(["id", "at", "price", "day", "tags", "user", "", "lang"]).take([0, 2])
    assert kept.to_pylist() == wanted.rename_columns(kept.column_names).to_pylist()
    for name in ("id", "at", "price", "day", "tags", "user"):
        assert found.schema.field(name).type == table.schema.field(name).type, name
    assert found.column("text").to_pylist() == ["so good", "never again"]
    assert found.schema.field("sentiment_score").type == arrow.float64()
    assert found.schema.field("emotion_labels").type.value_type == arrow.string()
    # Elsewhere times are written in ISO 8601, objects and lists as JSON.
    assert moodstream("label", "in", "-o", "out.csv", "--skip-bad").code == 0
    (first, _) = rows("out.csv")
    assert (first["at"], first["day"], first["price"]) == (
        "2023-11-14T22:13:20.123456789Z",
        "2024-01-01",
        "1.50",
    )
    assert (json.loads(first["tags"]), json.loads(first["user"])) == (["a"], {"name": "ann", "n": 1})


def test_json_lines_keep_objects_and_columns_of_mixed_types_become_text(moodstream: Any) -> None:
    lines: list[dict[str, Any]] = [
        {"text": "so good", "n": 1, "user": {"name": "é"}, "mixed": 1, "f": 1, "ok": True},
        {"text": "never", "n": None, "big": 2**70 + 1, "mixed": "1", "f": 0.5, "nan": None},
    ]
    Path("a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert moodstream("label", "a.jsonl", "-o", "o.jsonl").code == 0
    for line, row in zip(lines, rows("o.jsonl"), strict=True):
        assert {name: row[name] for name in line} == line
    assert moodstream("label", "a.jsonl", "-o", "o.parquet").code == 0
    found = rows("o.parquet")
    assert [(row["n"], row["mixed"], row["f"], row["ok"]) for row in found] == [
        (1, "1", 1.0, True),
        (None, "1", 0.5, None),
    ]
    assert found[0]["user"] == '{"name":"é"}'
    assert found[1]["big"] == str(2**70 + 1)


def test_what_is_kept_can_be_chosen_and_renamed(moodstream: Any) -> None:
    Path("a.jsonl").write_text('{"text": "so good", "id": 7, "user": {"name": "ann"}, "model": "x"}\n')

    def kept(*args: str) -> dict[str, Any]:
        ended = moodstream("label", "a.jsonl", *args)
        assert ended.code == 0, ended.err
        row = json.loads(ended.out)
        plain = json.loads(moodstream("label", "a.jsonl", "--no-keep").out)
        return {name: value for name, value in row.items() if name not in plain}

    assert kept() == {"id": 7, "user": {"name": "ann"}, "input_model": "x"}
    assert kept("--no-keep") == {}
    assert kept("--keep", "id, user.name") == {"id": 7, "name": "ann"}
    assert kept("--keep", "model as version", "--keep", "user.name as by") == {"version": "x", "by": "ann"}
    ended = moodstream("label", "a.jsonl", "--keep", "idd")
    assert ended.err == (
        "moodstream: sink.keep `idd` matches no row; there are: text, id, user, user.name, model\n"
    )


def test_without_the_text_no_column_that_contains_it_is_kept(moodstream: Any) -> None:
    Path("a.jsonl").write_text(
        '{"body": {"text": "so secret"}, "id": 1}\n'
        '{"specversion": "1.0", "id": "x", "source": "s", "type": "t", '
        '"data": {"body": {"text": "so secret"}}}\n'
    )
    ended = moodstream("label", "a.jsonl", "--text-field", "body.text", "--no-include-text")
    assert len(ended.out.splitlines()) == 2
    assert "secret" not in ended.out
    parquet.write_table(arrow.table({"body": [{"text": "so secret", "n": 1}], "id": [1]}), "a.parquet")
    for output in ("o.parquet", "o.csv"):
        assert (
            moodstream(
                "label", "a.parquet", "--text-field", "body.text", "--no-include-text", "-o", output
            ).code
            == 0
        )
        assert "secret" not in str(rows(output))
        assert str(rows(output)[0]["id"]) == "1"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_a_text_of_two_columns_leaves_both_in_place(moodstream: Any, name: str) -> None:
    row = {"title": "so good", "body": "and cheap", "id": "1"}
    if name == "a.parquet":
        parquet.write_table(arrow.Table.from_pylist([row]), name)
    else:
        content = json.dumps(row) if name == "a.jsonl" else ",".join(row) + "\n" + ",".join(row.values())
        Path(name).write_text(content + "\n")
    ended = moodstream("label", name, "--text-field", "title, body")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["text"] == "so good\nand cheap"
    assert {column: found[column] for column in row} == row
    hidden = json.loads(moodstream("label", name, "--text-field", "title, body", "--no-include-text").out)
    assert hidden["id"] == "1"
    assert not {"title", "body", "text"} & set(hidden)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["both.csv"], "moodstream: both.csv: the column 'input_model' cannot be called 'input_model'"),
        (
            ["a.csv", "--keep", "idd"],
            "moodstream: a.csv: no column 'idd' to keep; there are: id, text, model",
        ),
        (
            ["a.csv", "--keep", "id as text"],
            "moodstream: sink.keep: `id as text` gives a column `text`, which is also the name of the column",
        ),
        (
            ["a.csv", "--keep", "model"],
            "moodstream: sink.keep: `model` gives a column `model`, which is also the name of the column",
        ),
        (
            ["a.csv", "--keep", "id as x,n as x"],
            "moodstream: sink.keep: `n as x` gives a column `x`, which is also the name of the column of `id",
        ),
        (["a.csv", "--keep", ","], "Error: --keep names no field"),
        (["a.csv", "--keep", "id", "--sink.keep", "n"], "Error: --keep and --sink.keep are the same setting"),
        (["a.csv", "--keep", "id", "--no-keep"], "Error: --keep and --no-keep exclude each other"),
        (["a.csv", "--resume"], "Error: --resume needs the --output"),
        (["-", "--resume", "-o", "o.csv"], "Error: --resume needs files as inputs"),
        (["a.csv", "-o", "full/"], "moodstream: --output "),
    ],
)
def test_columns_and_options_that_do_not_go_together_are_one_line(
    moodstream: Any, args: list[str], line: str
) -> None:
    Path("a.csv").write_text(ROWS)
    Path("both.csv").write_text("text,model,input_model\nso good,a,b\n")
    Path("full").mkdir()
    Path("full/x").touch()
    ended = moodstream("label", *args)
    assert ended.code == 2
    assert ended.lines[-1].startswith(line)
    assert ended.out == ""
    assert not list(Path().glob("*.partial*"))


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(str.strip)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    columns = draw(
        st.lists(
            names.filter(
                lambda name: name not in {"", "text", "lang"} and "." not in name and " as " not in name
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    width = len(columns)
    return columns, draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=4))


@RUNS
@given(tables())
def test_columns_come_back_from_csv_json_lines_and_parquet(
    tmp_path: Path, table: tuple[list[str], list[list[str]]]
) -> None:
    """Each output is the input of the next run: JSON lines, CSV, Parquet, CSV, JSON lines."""
    columns, content = table
    start = tmp_path / "0.jsonl"
    start.write_text(
        "".join(
            json.dumps({**dict(zip(columns, row, strict=True)), "text": "so good"}) + "\n" for row in content
        )
    )
    keep = ",".join(f"{json.dumps(name, ensure_ascii=False)} as c{n}" for n, name in enumerate(columns))
    was = str(start)
    for number, suffix in enumerate(["jsonl", "csv", "parquet", "parquet", "csv", "jsonl"], 1):
        new = str(tmp_path / f"{number}.{suffix}")
        if suffix != "jsonl":
            assert main(["label", str(start), "-o", new]) == 0
            assert [[row[name] for name in columns] for row in rows(new)] == content, suffix
        assert main(["label", was, "-o", new, "--keep", keep]) == 0
        short = [f"c{n}" for n in range(len(columns))]
        assert [[row[name] for name in short] for row in rows(new)] == content, suffix
        was, keep = new, ",".join(short)
    for path in tmp_path.iterdir():
        path.unlink()


# Interrupted runs


def test_an_interrupted_run_goes_on_where_it_stopped() -> None:
    count = 3_000
    Path("a.csv").write_text("id,text\n" + "".join(f"{number},so good {number}\n" for number in range(count)))
    Path("b.csv").write_text("id,text\n-1,the last one\n")
    command = [sys.executable, "-m", "worker", "label", "a.csv", "b.csv", "-o", "o.csv"]
    for sent in (signal.SIGKILL, signal.SIGINT):
        resume = ["--resume"] if Path("o.csv.partial").exists() else []
        before = len(Path("o.csv.partial").read_bytes()) if resume else 0
        process = subprocess.Popen([*command, *resume], env=ENVIRONMENT, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not (state := _state()) or state["bytes"] <= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(sent)
        process.communicate(timeout=20)
        assert not Path("o.csv").exists()
    done = _state()
    assert done is not None
    assert 512 <= done["rows"] < count
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith(
        "o.csv.partial is left from a run that was interrupted: go on with --resume, or remove it"
    )
    other = subprocess.run(
        [*command, "--resume", "--no-include-text"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == 2
    assert "--resume: the interrupted run had another --include-text" in other.stderr
    ended = subprocess.run(
        [*command, "--resume"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [row["id"] for row in rows("o.csv")] == [*map(str, range(count)), "-1"]
    assert sorted(path.name for path in Path().iterdir()) == ["a.csv", "b.csv", "o.csv"]


def _state() -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(Path("o.csv.partial.state").read_bytes())
    except FileNotFoundError:
        return None
    return found


def test_inputs_that_have_changed_are_not_resumed(moodstream: Any) -> None:
    Path("a.csv").write_text("id,text\n1,so good\n")
    whole = gzip.compress(b"text\n" + b"never again\n" * 600, mtime=0)
    Path("b.csv.gz").write_bytes(whole[:-9])
    args = ("label", "a.csv", "b.csv.gz", "-o", "o.parquet")
    assert moodstream(*args).code == 2
    partial = Path("o.parquet.partial").read_bytes()
    Path("b.csv.gz").write_bytes(whole)
    ended = moodstream(*args, "--resume")
    assert ended.code == 2
    assert "--resume: the interrupted run had another input: run as before, or remove " in ended.err
    assert Path("o.parquet.partial").read_bytes() == partial
    Path("o.parquet.partial").unlink()
    assert moodstream(*args, "--resume").code == 0
    assert len(rows("o.parquet")) == 601


@pytest.mark.parametrize(
    ("flag", "value", "named"),
    [
        ("--model.marks", "gate", "model.marks"),
        ("--model.long-text", "truncate", "model.long_text"),
        ("--language.detect", "false", "group of settings [language]"),
        ("--sink.columns", "labels", "sink.columns"),
    ],
)
def test_a_run_with_other_labels_is_not_resumed(moodstream: Any, flag: str, value: str, named: str) -> None:
    whole = gzip.compress(b"text\n" + b"never again\n" * 600, mtime=0)
    Path("b.csv.gz").write_bytes(whole[:-9])
    args = ("label", "b.csv.gz", "-o", "o.jsonl")
    assert moodstream(*args).code == 2
    ended = moodstream(*args, "--resume", flag, value)
    assert ended.code == 2
    assert f"--resume: the interrupted run had another {named}" in ended.err


def test_two_runs_do_not_write_one_file(moodstream: Any) -> None:
    Path("a.txt").write_text("so good\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "label", "-", "-o", "o.jsonl"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"so good\n")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not Path("o.jsonl.partial").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = moodstream("label", "a.txt", "-o", "o.jsonl", "--resume")
    assert ended.code == 2
    assert ended.lines[-1].endswith("o.jsonl.partial is being written by another run")
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    assert len(rows("o.jsonl")) == 1


def test_a_row_that_is_nested_too_deeply_costs_no_other(moodstream: Any, tmp_path: Path) -> None:
    deep = '{"text": "so good", "thread": ' + "[" * 500 + "]" * 500 + "}"
    (tmp_path / "rows.jsonl").write_text(
        f'{{"text": "so bad"}}\n{deep}\n{{"text": "fine"}}\n', encoding="utf-8"
    )
    ended = moodstream("label", "rows.jsonl")
    assert len(ended.out.splitlines()) == 2
    (line,) = (line for line in ended.lines if ":2:" in line)
    assert "nested too deeply" in line
    assert ended.code == 1
