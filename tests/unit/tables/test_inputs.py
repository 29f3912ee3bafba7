"""Rows from each kind of file, folder and pipe, good and bad, for labels and for training alike."""

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import InputError, printable
from worker.tables import open as opening
from worker.tables.lines import MAX_LINE_BYTES
from worker.tables.open import Format, Input, Table, check_inputs, open_input, parts_of
from worker.tables.rows import BadRow, Cells, Row, listed, text_column

FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def write(path: Path, content: bytes | str) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows(
    name: str, text_field: str = "text", form: Format = "auto", encoding: str = "utf-8"
) -> list[Row | BadRow]:
    source: Input = open_input(name, text_column(text_field), form, encoding)
    try:
        found = [item for item in source if isinstance(item, Row | BadRow)]
    finally:
        source.close()
    assert [row.number for row in found] == list(range(len(found)))
    return found


def texts(found: list[Row | BadRow], field: str = "text") -> list[object]:
    return [orjson.loads(row.value)[field] if isinstance(row, Row) else row.reason for row in found]


def table_rows(path: Path, *names: str) -> list[Any]:
    return [row.values if isinstance(row, Cells) else row.reason for row in Table(path, names).rows(names)]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".JSONL"])
def test_json_lines(tmp_path: Path, suffix: str) -> None:
    name = write(tmp_path / f"a{suffix}", '\ufeff{"text":"a"}\n\n  \n{broken\r\n{"text":"b"}')
    found = rows(name)
    assert [(row.place, row.value) for row in found if isinstance(row, Row)] == [
        (1, b'{"text":"a"}'),
        (4, b"{broken"),
        (5, b'{"text":"b"}'),
    ]
    assert {row.content_type for row in found if isinstance(row, Row)} == {"application/json"}


def test_text_lines_are_texts_even_if_they_look_like_json(tmp_path: Path) -> None:
    found = rows(write(tmp_path / "a.txt", 'so good\n\n{"text":"a"}\n'))
    assert found == [Row(0, 1, b"so good", "text/plain"), Row(1, 3, b'{"text":"a"}', "text/plain")]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_line_in_another_encoding_is_a_bad_row(tmp_path: Path, name: str) -> None:
    content = '{"text":"one"}\n{"text":"café"}\n{"text":"three"}\n'.encode("latin-1")
    bad = rows(write(tmp_path / name, content))[1]
    assert isinstance(bad, BadRow)
    assert bad.place == 2
    assert "Latin-1 (Windows-1252) that is 'é'" in bad.reason
    assert "--encoding windows-1252" in bad.reason
    assert all(isinstance(row, Row) for row in rows(str(tmp_path / name), encoding="latin-1"))


def test_a_table_gives_the_text_and_the_language(tmp_path: Path) -> None:
    content = 'id,text,lang\n1,"hello, ""you""",en\n\n2,"two\nlines",\n3,last,de\n'
    found = rows(write(tmp_path / "a.csv", content))
    assert [orjson.loads(row.value) for row in found if isinstance(row, Row)] == [
        {"text": 'hello, "you"', "lang": "en"},
        {"text": "two\nlines", "lang": ""},
        {"text": "last", "lang": "de"},
    ]
    assert [row.place for row in found] == [2, 4, 6]


WOW = 'id|text\n1|"he said \\"wow\\""\n2|fine\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", WOW.encode()),
        ("a.tsv", WOW.replace("|", "\t").encode()),
        ("a.tab", WOW.replace("|", "\t").encode()),
        ("a.csv.gz", gzip.compress(WOW.encode(), mtime=0)),
        ("a.csv", gzip.compress(WOW.encode(), mtime=0)),
        ("A.CSV.GZ", gzip.compress(b"\xef\xbb\xbf\n" + WOW.encode(), mtime=0)),
        ("a.csv", b"\n \r\n" + WOW.encode()),
        ("a.csv", WOW.replace("\n", "\r\n").encode()),
        ("a.csv", WOW.replace("\n", "\r").encode()),
        ("a.jsonl.gz", gzip.compress(b'\n{"text": "he said \\"wow\\""}\n{"text": "fine"}', mtime=0)),
        ("a.json", b'{"text": "he said \\"wow\\""}\r\r{"text": "fine"}\r'),
    ],
)
def test_labelling_and_training_read_the_same_files(tmp_path: Path, name: str, content: bytes) -> None:
    wanted = ['he said "wow"', "fine"]
    assert texts(rows(write(tmp_path / name, content))) == wanted
    assert table_rows(tmp_path / name, "text") == [(text,) for text in wanted]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "is empty; a table begins with a line of column names"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", b"text,text\na,b\n", "the column 'text' occurs twice"),
        (
            "a.csv",
            "text,label\n".encode("utf-16"),
            "is UTF-16, not UTF-8; `iconv -f UTF-16 -t UTF-8` recodes it",
        ),
        ("a.jsonl", '{"text":1}\n'.encode("utf-16"), "--encoding utf-16"),
        ("a.csv", b"PK\x03\x04rest of a workbook", "is a zip archive or an Excel workbook"),
        ("a.json", b'\n[{"text": "a"}]', "is one JSON document, not one object a line; `jq -c '.[]'"),
        ("a.xlsx", b"x", "the name does not tell the format (known: .jsonl .ndjson"),
        ("a", b"x", "the name does not tell the format"),
        ("a.gz", b"x", "the name does not tell the format"),
        ("a.parquet.gz", b"x", "unpack it first"),
        ("a.csv.gz", b"\x1f\x8b\x08broken", "a.csv.gz: the gzip data are damaged"),
        ("a.csv", b"x" * (MAX_LINE_BYTES + 1) + b"\na\n", "longer than 16777216 bytes"),
        ("a\x1b[31m\n.csv", b"", r"a\x1b[31m\n.csv: is empty"),
    ],
)
def test_files_that_cannot_be_read_are_one_line_for_both(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    path = write(tmp_path / name, content)
    for read in (lambda: rows(path), lambda: table_rows(Path(path), "text")):
        with pytest.raises(InputError) as caught:
            read()
        assert told in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path))
        assert str(caught.value).isprintable()


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", "id,body\n")
    with pytest.raises(InputError) as caught:
        rows(name)
    assert str(caught.value) == f"{name}: no column `text`; there are: id, body (choose with --text-field)"
    with pytest.raises(InputError, match=r"no column 'text'; there are: id, body$"):
        table_rows(tmp_path / "a.csv", "text")
    write(tmp_path / "a.jsonl", '{"id": 1, "body": {"raw": "x"}}')
    with pytest.raises(InputError, match=r"no column 'text'; there are: id, body\.raw$"):
        table_rows(tmp_path / "a.jsonl", "text")


def test_the_format_can_be_said(tmp_path: Path) -> None:
    name = write(tmp_path / "posts", "text\nhello\n")
    assert texts(rows(name, form="csv")) == ["hello"]
    assert len(rows(name, form="txt")) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "windows-1252", "utf-8-sig", "mac-roman"])
def test_another_encoding_can_be_said(tmp_path: Path, encoding: str) -> None:
    name = write(tmp_path / "a.csv", "text;n\ncafé;1\n".encode(encoding))
    assert texts(rows(name, encoding=encoding)) == ["café"]


def test_inputs_are_checked_before_the_first_is_read(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", "a")
    assert check_inputs([good, "-"]) == [good, "-"]
    with pytest.raises(InputError, match=r"b\.txt: No such file or directory"):
        check_inputs([good, str(tmp_path / "b.txt")])
    with pytest.raises(InputError, match="does not tell the format"):
        check_inputs([write(tmp_path / "a.xml", "a")])
    check_inputs([str(tmp_path / "a.xml")], "txt")
    with pytest.raises(InputError, match="no encoding 'utf-17' is known"):
        check_inputs([good], encoding="utf-17")
    with pytest.raises(InputError, match="is a device or a socket"):
        check_inputs(["/dev/zero"], "txt")
    assert rows("/dev/null", form="txt") == []
    with pytest.raises(InputError, match="cannot come from a pipe"):
        rows("-", form="parquet")


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b.csv")
    write(Path(name), "text\na\n")
    source = open_input(name, text_column("text"))
    assert [item.value for item in source if isinstance(item, Row)] == [b'{"text":"a"}']
    assert source.name == f"{tmp_path}/caf\\xe9\x1b.csv"
    source.name.encode()
    source.close()
    assert table_rows(Path(name), "text") == [("a",)]
    assert printable(name) == f"{tmp_path}/caf\\udce9\\x1b.csv"


@given(st.text(st.characters(), max_size=20))
def test_shown_names_are_printable_and_plain_ones_stay(name: str) -> None:
    assert printable(name).isprintable()
    printable(name).encode()
    assert printable(name) == name or not name.isprintable()
    assert len(listed([name * 100] * 50)) < 12 * 650


# Folders of parts


def test_a_folder_of_parts_as_spark_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "out.csv"
    folder.mkdir()
    for number in (1, 0, 2):
        write(folder / f"part-0000{number}-c0ffee.csv", f"text,label\n{number},x\n")
        write(folder / f".part-0000{number}-c0ffee.csv.crc", b"crc\x00")
    write(folder / "_SUCCESS", "")
    parts = [str(folder / f"part-0000{number}-c0ffee.csv") for number in range(3)]
    assert check_inputs([str(folder)]) == parts
    assert [text for part in parts for text in texts(rows(part))] == ["0", "1", "2"]
    table = Table(folder)
    assert table.columns == ("text", "label")
    found = [(table.place(row), row) for row in table.rows(["text"])]
    assert [row.values for _, row in found if isinstance(row, Cells)] == [("0",), ("1",), ("2",)]
    assert [place for place, _ in found] == [f"{part}, line 2" for part in parts]


def test_folders_by_column_value_are_parts_too(tmp_path: Path) -> None:
    for day in ("day=2", "day=1"):
        (tmp_path / "out" / day).mkdir(parents=True)
        write(
            tmp_path / "out" / day / "part-0.jsonl.gz",
            gzip.compress(b'{"text":"%s"}' % day.encode(), mtime=0),
        )
    assert table_rows(tmp_path / "out", "text") == [("day=1",), ("day=2",)]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "is a folder without files of rows"),
        (["_SUCCESS", ".hidden.csv"], "is a folder without files of rows"),
        (["a.csv", "b.jsonl"], "is a folder with more in it than parts of one format"),
        (["a.csv", "notes.md"], "is a folder with more in it than parts of one format"),
        (["a.csv", "sub/b.csv"], "is a folder with other folders in it"),
        (["_delta_log/0.json", "a.parquet"], "is a Delta table"),
    ],
)
def test_folders_of_other_things(tmp_path: Path, names: list[str], told: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, "text\na\n")
    for read in (lambda: check_inputs([str(tmp_path)]), lambda: Table(tmp_path)):
        with pytest.raises(InputError, match=told):
            read()
    assert parts_of(str(tmp_path / "none")) == [str(tmp_path / "none")]


# Pipes


def test_a_named_pipe_is_read_as_it_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "posts.csv"
    os.mkfifo(pipe)
    assert check_inputs([str(pipe)]) == [str(pipe)]  # without opening it

    def feed() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(b"text,n\na,1\n")
            file.write(b"b,2\n")

    writer = threading.Thread(target=feed)
    writer.start()
    assert texts(rows(str(pipe))) == ["a", "b"]
    writer.join()


def test_a_named_pipe_that_nobody_writes_to_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WRITER_WAIT_S", 0.1)
    pipe = tmp_path / "posts.csv"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"posts\.csv: is a named pipe that nobody has opened for writing"):
        rows(str(pipe))
    with pytest.raises(InputError, match="is not a file on disk"):
        Table(pipe)
    with pytest.raises(InputError, match="is not a file on disk"):
        rows(str(pipe), form="parquet")


# JSON lines as a table


@FILES
@given(
    rows=st.lists(st.tuples(st.text(max_size=30), st.none() | st.integers() | st.lists(st.text(max_size=5)))),
    zipped=st.booleans(),
)
def test_json_lines_are_a_table(tmp_path: Path, rows: list[tuple[str, Any]], zipped: bool) -> None:
    rows = [("begin", None), *rows]
    data = "".join(json.dumps({"post": {"text": text}, "topic": label}) + "\n\n" for text, label in rows)
    path = tmp_path / ("a.jsonl.gz" if zipped else "a.jsonl")
    path.write_bytes(gzip.compress(data.encode(), mtime=0) if zipped else data.encode())
    assert table_rows(path, "post.text", "topic") == rows


def test_json_fields_that_a_row_lacks_are_empty_and_lists_stay_lists(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": ["x", "y"]}', '{"text": "b"}', '{"label": 1, "text": null}']
    write(tmp_path / "a.jsonl", "\n".join(lines))
    assert table_rows(tmp_path / "a.jsonl", "text", "label") == [("a", ["x", "y"]), ("b", None), (None, 1)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "not a JSON object but a list"),
        ("7", "not a JSON object but a number"),
        ("null", "not a JSON object but null"),
        ('{"text": ', "not JSON: Expecting value at character 11"),
        ("[" * 100_000, "not JSON"),
        ('{"text": ' + "9" * 5_000 + "}", "not JSON"),
    ],
)
def test_lines_that_are_not_rows_have_a_place_and_a_reason(tmp_path: Path, line: str, reason: str) -> None:
    write(tmp_path / "a.jsonl", '{"text": "a"}\n\n' + line + '\n{"text": "b"}\n')
    table = Table(tmp_path / "a.jsonl")
    first, bad, last = table.rows(["text"])
    assert (first, last) == (Cells(0, 1, ("a",)), Cells(2, 4, ("b",)))
    assert isinstance(bad, BadRow)
    assert bad.place == 3
    assert bad.reason.startswith(reason)


def test_a_table_may_be_read_again_and_in_the_middle(tmp_path: Path) -> None:
    table = Table(Path(write(tmp_path / "a.csv", "text\n" + "a\n" * 500)))
    for row in table.rows(["text"]):
        assert row.place == 2
        break
    assert len(list(table.rows(["text"]))) == len(list(table.rows(["text"]))) == 500


def test_lines_of_text_are_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lines of text are not a table"):
        Table(Path(write(tmp_path / "a.txt", "a\n")))


@pytest.mark.parametrize("encoding", ["utf-16", "windows-1252"])
def test_a_table_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\ncafé,joy\n".encode(encoding))
    found = list(Table(path, encoding=encoding).rows(["text", "label"]))
    assert [row.values for row in found if isinstance(row, Cells)] == [("café", "joy")]
    with pytest.raises(InputError, match="no encoding 'utf-17' is known"):
        Table(path, encoding="utf-17")
