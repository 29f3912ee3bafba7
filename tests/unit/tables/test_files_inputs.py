"""Rows from each kind of file, good and bad."""

from pathlib import Path

import orjson
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from worker.errors import InputError
from worker.tables.open import Format, Input, check_inputs, open_input
from worker.tables.rows import BadRow, Row


def write(path: Path, content: bytes | str) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows(name: str, text_field: str = "text", form: Format = "auto") -> list[Row | BadRow]:
    source: Input = open_input(name, text_field, form)
    try:
        found = [item for item in source if isinstance(item, Row | BadRow)]
    finally:
        source.close()
    assert [row.number for row in found] == list(range(len(found)))
    return found


def texts(found: list[Row | BadRow]) -> list[object]:
    return [orjson.loads(row.value)["text"] if isinstance(row, Row) else row.reason for row in found]


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


def test_a_json_array_says_how_to_make_lines_of_it(tmp_path: Path) -> None:
    name = write(tmp_path / "a.json", '\n[{"text":"a"}]')
    with pytest.raises(InputError, match=r"one JSON document.*jq -c"):
        rows(name)


def test_text_lines_are_texts_even_if_they_look_like_json(tmp_path: Path) -> None:
    found = rows(write(tmp_path / "a.txt", 'so good\n\n{"text":"a"}\n'))
    assert found == [Row(0, 1, b"so good", "text/plain"), Row(1, 3, b'{"text":"a"}', "text/plain")]


def test_a_table(tmp_path: Path) -> None:
    content = 'id,text,lang\n1,"hello, ""you""",en\n\n2,"two\nlines",\n3,last,de\n'
    found = rows(write(tmp_path / "a.csv", content))
    assert texts(found) == ['hello, "you"', "two\nlines", "last"]
    assert [row.place for row in found] == [2, 4, 6]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_follows_from_the_header(tmp_path: Path, delimiter: str) -> None:
    content = f"id{delimiter}text\n1{delimiter}hello\n"
    assert texts(rows(write(tmp_path / "a.csv", "\ufeff" + content))) == ["hello"]


def test_bad_rows_of_a_table_cost_no_other_row(tmp_path: Path) -> None:
    content = b'id,text\n1,a\n2,b,c\n3,"d"e\n4,\xff\n5\n6,f\n'
    found = rows(write(tmp_path / "a.csv", content))
    assert texts(found) == [
        "a",
        "the row has 3 fields, the header 2",
        "the row is no CSV: ',' expected after '\"'",
        "the row is not UTF-8",
        "the row has 1 fields, the header 2",
        "f",
    ]
    assert [row.place for row in found] == [2, 3, 4, 5, 6, 7]


def test_a_quote_that_never_closes_is_a_bad_row(tmp_path: Path) -> None:
    found = rows(write(tmp_path / "a.csv", 'id,text\n1,a\n2,"b\n3,c\n'))
    assert texts(found) == ["a", "the row is no CSV: unexpected end of data"]


def test_a_field_of_a_megabyte(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    assert texts(rows(write(tmp_path / "a.csv", f"text\n{long}\n"))) == [long]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty; a table begins with a line of column names"),
        ("id,body\n", "no column `text`; there are: id, body (choose with --text-field)"),
    ],
)
def test_a_table_without_the_column_says_which_there_are(tmp_path: Path, content: str, reason: str) -> None:
    name = write(tmp_path / "a.csv", content)
    with pytest.raises(InputError) as caught:
        rows(name)
    assert str(caught.value) == f"{name}: {reason}"


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = arrow.table({"id": [1, 2, 3], "text": ["a", None, "c"], "lang": ["en", None, "de"]})
    parquet.write_table(table, path)
    found = rows(str(path))
    assert [orjson.loads(row.value) for row in found if isinstance(row, Row)] == [
        {"text": "a", "lang": "en"},
        {"text": None, "lang": None},
        {"text": "c", "lang": "de"},
    ]
    assert [row.place for row in found] == [1, 2, 3]


def test_parquet_nested_and_binary_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"review": [{"body": "a"}], "raw": [b"b"], "bad": [b"\xff"]}), path)
    assert [row.value for row in rows(str(path), "review.body") if isinstance(row, Row)] == [
        b'{"review":{"body":"a"}}'
    ]
    assert [row.value for row in rows(str(path), "raw") if isinstance(row, Row)] == [b'{"raw":"b"}']
    assert rows(str(path), "bad") == [BadRow(0, 1, "the row cannot be read as JSON")]


def test_parquet_text_that_is_no_utf8_costs_no_other_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = arrow.array([b"a", b"\xff", b"c"]).cast(arrow.string(), safe=False)
    parquet.write_table(arrow.table({"text": broken}), path)
    assert texts(rows(str(path))) == ["a", "the row is not UTF-8", "c"]


def test_parquet_position_reaches_the_end_in_several_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": [str(number) for number in range(1_500)]}), path)
    source = open_input(str(path), "text")
    seen = []
    for count, _ in enumerate(source, 1):
        if count in {1, 600, 1_500}:
            seen.append(source.position)
    assert seen == sorted(set(seen)), "it grows"
    assert source.position == source.size


def test_parquet_without_the_column_and_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"body": ["a"]}), path)
    with pytest.raises(InputError, match="no column `text`; there are: body"):
        rows(str(path))
    with pytest.raises(InputError, match="is no Parquet file"):
        rows(write(tmp_path / "b.parquet", "text\n"))
    with pytest.raises(InputError, match="cannot come from a pipe"):
        rows("-", form="parquet")


def test_a_damaged_parquet_file_says_after_which_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = arrow.table({"text": [f"{number:0100d}" for number in range(2_000)]})
    parquet.write_table(table, path, compression="zstd", use_dictionary=False, row_group_size=1_000)
    group = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = group.data_page_offset + group.total_compressed_size // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged after row \d+: "):
        rows(str(path))


def test_the_format_can_be_said(tmp_path: Path) -> None:
    name = write(tmp_path / "posts", "text\nhello\n")
    assert texts(rows(name, form="csv")) == ["hello"]
    assert len(rows(name, form="txt")) == 2
    with pytest.raises(InputError, match="does not tell the format"):
        rows(name)


def test_inputs_are_checked_before_the_first_is_read(tmp_path: Path) -> None:
    good = write(tmp_path / "a.txt", "a")
    check_inputs([good, "-"])
    with pytest.raises(InputError, match=r"b\.txt: No such file or directory"):
        check_inputs([good, str(tmp_path / "b.txt")])
    with pytest.raises(InputError, match="is a folder"):
        check_inputs([str(tmp_path)])
    with pytest.raises(InputError, match="does not tell the format"):
        check_inputs([write(tmp_path / "a.xml", "a")])
    check_inputs([str(tmp_path / "a.xml")], "txt")
