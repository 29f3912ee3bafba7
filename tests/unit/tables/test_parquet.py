"""Parquet: any column within any other, damaged files, and files made to fill the memory."""

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import InputError
from worker.tables.lines import MAX_LINE_BYTES
from worker.tables.open import Table, check_inputs, open_input
from worker.tables.parquet import ParquetReader
from worker.tables.rows import ALL, BadRow, Cells, Row, text_column


def write(path: Path, columns: "dict[str, Any] | arrow.Table", **options: Any) -> str:
    table = columns if isinstance(columns, arrow.Table) else arrow.table(columns)
    parquet.write_table(table, path, **options)
    return str(path)


def texts(name: str, field: str = "text") -> list[Any]:
    source = open_input(name, text_column(field))
    try:
        return [
            orjson.loads(row.value)[field] if isinstance(row, Row) else row.reason
            for row in source
            if isinstance(row, Row | BadRow)
        ]
    finally:
        source.close()


def test_text_and_language(tmp_path: Path) -> None:
    name = write(tmp_path / "a.parquet", {"id": [1, 2], "text": ["a", None], "lang": ["en", None]})
    found = list(open_input(name, text_column("text")))
    assert found == [
        Row(0, 1, b'{"text":"a","lang":"en"}', "application/json"),
        Row(1, 2, b'{"text":null,"lang":null}', "application/json"),
    ]


BESIDE = arrow.struct(
    [
        ("price", arrow.decimal128(10, 2)),
        ("raw", arrow.binary()),
        ("took", arrow.duration("ns")),
        ("tags", arrow.map_(arrow.string(), arrow.binary())),
        ("when", arrow.timestamp("ns")),
        ("deep", arrow.struct([("body", arrow.string()), ("raw", arrow.list_(arrow.binary()))])),
    ]
)


def test_of_a_struct_only_the_text_is_read(tmp_path: Path) -> None:
    values = [
        {
            "price": Decimal("1.50"),
            "raw": b"\xff\x00",
            "took": 5,
            "tags": [("a", b"\xfe")],
            "when": 10**18 + 1,
            "deep": {"body": "so good", "raw": [b"\xff"]},
        },
        None,
        {"deep": None},
        {"deep": {"body": None}},
    ]
    name = write(tmp_path / "a.parquet", {"post": arrow.array(values, BESIDE), "n": [1, 2, 3, 4]})
    assert texts(name, "post.deep.body") == ["so good", None, None, None]
    table = Table(tmp_path / "a.parquet")
    assert {"post.deep.body", "post.price", "n"} <= set(table.columns)
    found = [row.values for row in table.rows(["post.deep.body", "n"]) if isinstance(row, Cells)]
    assert found == [("so good", 1), (None, 2), (None, 3), (None, 4)]


@pytest.mark.parametrize(
    "column",
    [
        arrow.array(["a", "b"]),
        arrow.array(["a", "b"], arrow.large_string()),
        arrow.array([b"a", b"b"]),
        arrow.array([b"a", b"b"], arrow.large_binary()),
        arrow.array(["a", "b"]).dictionary_encode(),
    ],
)
def test_every_type_of_text(tmp_path: Path, column: Any) -> None:
    assert texts(write(tmp_path / "a.parquet", {"text": column})) == ["a", "b"]


def test_texts_in_lists_and_columns_with_dots(tmp_path: Path) -> None:
    lists = arrow.array([["a", "b"], [], None, ["c"]])
    structs = arrow.array([[{"body": "x", "n": Decimal(1)}], [], None, [{"body": "y", "n": Decimal(2)}]])
    columns = {"posts": lists, "replies": structs, "raw.text": ["p", "q", "r", "s"], "raw": [1, 2, 3, 4]}
    name = write(tmp_path / "a.parquet", columns)
    assert texts(name, "posts.0") == ["a", None, None, "c"]
    assert texts(name, "replies.0.body") == ["x", None, None, "y"]
    assert texts(name, "raw.text") == ["p", "q", "r", "s"]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([1], "int64"),
        ([Decimal("1.5")], "decimal128(2, 1)"),
        ([["a"]], "list<"),
        ([{"a": "b"}], "struct<"),
        ([datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)], "timestamp"),
        ([True], "bool"),
    ],
)
def test_a_column_of_something_else_is_one_line(tmp_path: Path, column: list[Any], kind: str) -> None:
    name = write(tmp_path / "a.parquet", {"text": column})
    with pytest.raises(InputError) as caught:
        open_input(name, text_column("text"))
    assert str(caught.value).startswith(f"{name}: the column 'text' holds {kind}")


def test_labels_of_any_type_are_handed_on(tmp_path: Path) -> None:
    columns = {
        "text": ["a", "b"],
        "topics": [["x"], ["y", "z"]],
        "n": arrow.array(["p", "q"]).dictionary_encode(),
        "share": [1.0, None],
    }
    write(tmp_path / "a.parquet", columns)
    rows = list(Table(tmp_path / "a.parquet").rows(["text", "topics", "n", "share"]))
    assert rows == [Cells(0, 1, ("a", ["x"], "p", 1.0)), Cells(1, 2, ("b", ["y", "z"], "q", None))]


@pytest.mark.parametrize("kind", [arrow.string(), arrow.binary()])
def test_text_that_is_not_utf8_costs_no_other_row(tmp_path: Path, kind: Any) -> None:
    broken = arrow.array([b"a", b"\xff", b"c"]).cast(kind, safe=False)
    assert texts(write(tmp_path / "a.parquet", {"text": broken})) == ["a", "the row is not UTF-8", "c"]


def test_bytes_beside_the_text_cost_no_row(tmp_path: Path) -> None:
    """A hash or a picture in a kept column."""
    columns = {"text": ["so good", "never again"], "digest": [b"\xff\x00", b"ok"], "id": [1, 2]}
    name = write(tmp_path / "a.parquet", columns)
    source = open_input(name, ALL)
    found = [orjson.loads(row.value) for row in source if isinstance(row, Row)]
    source.close()
    assert [row["text"] for row in found] == ["so good", "never again"]
    assert [row["digest"] for row in found] == ["\\xff\x00", "ok"]


def test_position_reaches_the_end_in_several_batches(tmp_path: Path) -> None:
    name = write(tmp_path / "a.parquet", {"text": [str(number) for number in range(1_500)]})
    source = open_input(name, text_column("text"))
    seen = []
    for count, _ in enumerate(source, 1):
        if count in {1, 600, 1_500}:
            seen.append(source.position)
    assert seen == sorted(set(seen)), "it grows"
    assert source.position == source.size
    source.close()


def test_many_row_groups_are_one_table(tmp_path: Path) -> None:
    name = write(tmp_path / "a.parquet", {"text": [f"t{n}" for n in range(2_000)]}, row_group_size=300)
    assert texts(name) == [f"t{n}" for n in range(2_000)]
    write(tmp_path / "empty.parquet", {"text": arrow.array([], arrow.string())})
    assert texts(str(tmp_path / "empty.parquet")) == []


def test_a_folder_as_spark_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "posts.parquet"
    folder.mkdir()
    for number in range(3):
        write(folder / f"part-0000{number}.snappy.parquet", {"text": [f"a{number}", f"b{number}"]})
        (folder / f".part-0000{number}.snappy.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / "_metadata").write_bytes(b"PAR1")
    found = [text for part in check_inputs([str(folder)]) for text in texts(part)]
    assert found == ["a0", "b0", "a1", "b1", "a2", "b2"]
    table = Table(folder)
    assert [row.values[0] for row in table.rows(["text"]) if isinstance(row, Cells)] == found


def test_a_missing_column_a_column_twice_and_no_parquet(tmp_path: Path) -> None:
    name = write(tmp_path / "a.parquet", {"body": ["a"], "s": [{"x": "y"}]})
    for field in ("text", "s.text", "body.text", "s.x.y"):
        with pytest.raises(InputError, match=rf"no column `{field}`; there are: body, s\.x \(choose"):
            open_input(name, text_column(field))
    twice = arrow.table([["a"], ["b"]], names=["text", "text"])
    with pytest.raises(InputError, match="the column 'text' occurs twice"):
        open_input(write(tmp_path / "b.parquet", twice), text_column("text"))
    for content in (b"text\n", b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        (tmp_path / "c.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"c\.parquet: is not a Parquet file: "):
            open_input(str(tmp_path / "c.parquet"), text_column("text"))


def test_a_damaged_file_says_after_which_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"text": [f"{number:0100d}" for number in range(2_000)]}
    write(path, columns, compression="zstd", use_dictionary=False, row_group_size=1_000)
    group = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = group.data_page_offset + group.total_compressed_size // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged after row 1000: "):
        texts(str(path))


def test_a_text_beyond_all_measure_is_a_bad_row(tmp_path: Path) -> None:
    name = write(tmp_path / "a.parquet", {"text": ["a", "x" * (MAX_LINE_BYTES + 1), "b"]}, compression="none")
    assert texts(name) == ["a", f"the row has a text of more than {MAX_LINE_BYTES} bytes", "b"]


READ = r"""
import re, sys
from pathlib import Path
from worker.errors import MoodstreamError
from worker.tables.open import open_input
from worker.tables.rows import text_column
try:
    count = sum(1 for _ in open_input(sys.argv[1], text_column("text")))
except MoodstreamError as error:
    count = str(error)
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024, count)
"""


def memory(name: str) -> tuple[int, str]:
    """Read a file in a process of its own: the most memory it took in MiB, and how many rows it has."""
    done = subprocess.run([sys.executable, "-c", READ, name], capture_output=True, text=True, check=True)
    most, _, count = done.stdout.strip().partition(" ")
    return int(most), count


def test_a_small_file_takes_little_memory_however_often_it_repeats_a_text(tmp_path: Path) -> None:
    long = os.urandom(1_000_000).hex()
    most, count = memory(write(tmp_path / "a.parquet", {"text": [long] * 512}))
    assert count == "512"
    assert most < 200  # 3,400 before


def test_long_texts_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    long = [os.urandom(500_000).hex() for _ in range(200)]
    most, count = memory(write(tmp_path / "a.parquet", {"text": long}, row_group_size=20))
    assert count == "200"
    assert most < 300


def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    columns = {"text": ["y" * 5_000_000] * 60}
    name = write(tmp_path / "a.parquet", columns, use_dictionary=False, compression="zstd")
    assert Path(name).stat().st_size < 1_000_000
    most, told = memory(name)
    assert told.startswith(f"{name}: row group 1 of the column 'text' unpacks from ")
    assert most < 200


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def test_sizes_that_the_footer_states_too_small_are_taken_from_the_pages(tmp_path: Path) -> None:
    name = write(
        tmp_path / "a.parquet", {"text": ["y" * 5_000_000] * 60}, use_dictionary=False, compression="zstd"
    )
    chunk = parquet.ParquetFile(name).metadata.row_group(0).column(0)
    honest, lie = (varint(size << 1) for size in (chunk.total_uncompressed_size, 200_000_000))
    data = Path(name).read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert honest in data[footer:]
    assert len(honest) == len(lie)
    Path(name).write_bytes(data[:footer] + data[footer:].replace(honest, lie))
    assert parquet.ParquetFile(name).metadata.row_group(0).column(0).total_uncompressed_size == 200_000_000
    most, told = memory(name)
    assert told.startswith(f"{name}: row group 1 of the column 'text' unpacks from ")
    assert most < 200


def test_a_column_that_pyarrow_cannot_describe_is_one_line(tmp_path: Path) -> None:
    """Asked for it, pyarrow ends the process. In a process of its own, so that a fault is one failed test."""
    name = write(tmp_path / "a.parquet", {"text": ["one", "two", None] * 20, "n": list(range(60))})
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from worker.errors import InputError\n"
        "from worker.tables.parquet import ParquetReader\n"
        "path = Path(sys.argv[1])\n"
        "whole = path.read_bytes()\n"
        "for place in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], 'little'), len(whole) - 8):\n"
        "    for bits in (1, 7, 64):\n"
        "        changed = bytearray(whole)\n"
        "        changed[place] ^= bits\n"
        "        path.write_bytes(changed)\n"
        "        try:\n"
        "            list(ParquetReader(path).cells(['text']))\n"
        "        except InputError:\n"
        "            pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.parametrize("wrap", [lambda each: each, lambda each: [each], lambda each: {"a": each}])
def test_an_entry_that_the_dictionary_lacks_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Any], Any]
) -> None:
    """pyarrow would read outside of the dictionary, and the process would end."""
    name = write(tmp_path / "a.parquet", {"text": ["one", "two"], "n": [1, 2]})
    broken = arrow.DictionaryArray.from_arrays(arrow.array([0, 7]), arrow.array(["one"]), safe=False)
    if isinstance(wrap(None), list):
        broken = arrow.ListArray.from_arrays(arrow.array([0, 1, 2]), broken)
    elif isinstance(wrap(None), dict):
        broken = arrow.StructArray.from_arrays([broken], ["a"])
    batch = arrow.RecordBatch.from_arrays([broken, arrow.array([1, 2])], ["text", "n"])
    monkeypatch.setattr(ParquetReader, "_batches", lambda _self, _leaves: iter([batch]))
    with pytest.raises(InputError, match=r"damaged: a value is not in the dictionary of its column"):
        texts(name)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_footer_or_a_page_with_other_bytes_is_rows_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    name = write(tmp_path / "a.parquet", {"text": ["one", "two", None] * 20, "n": list(range(60))})
    content = bytearray(Path(name).read_bytes())
    for place in data.draw(st.lists(st.integers(4, len(content) - 5), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    Path(name).write_bytes(content)
    told = ""
    try:
        texts(name)
    except InputError as error:
        told = str(error)
    assert told.startswith(name) or not told
    assert "\n" not in told
