"""Tables of one's own: what was written in any of the formats is what is read."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import TrainingError
from worker.lab.data.tables.columns import choose_columns
from worker.lab.data.tables.opening import open_table
from worker.lab.data.tables.rows import BadRow, Cells

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=30)
ROWS = st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12)
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def _rows(path: Path, *names: str) -> list[tuple[Any, ...]]:
    found = []
    for row in open_table(path, names).rows(names):
        assert isinstance(row, Cells), row
        found.append(row.values)
    return found


@FILES
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    zipped=st.booleans(),
)
def test_csv_written_in_any_dialect_is_read(
    tmp_path: Path,
    rows: list[tuple[str, str]],
    delimiter: str,
    quoting: Any,
    end: str,
    mark: str,
    zipped: bool,
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["body", "id", "topic"])
    writer.writerows([text, number, label] for number, (text, label) in enumerate(rows))
    data = (mark + out.getvalue()).encode()
    path = tmp_path / ("mine.csv.gz" if zipped else "mine.csv")
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert _rows(path, "body", "topic") == rows


@FILES
@given(rows=ROWS)
def test_backslashes_before_quotes_are_read(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [*rows, ('he said "no", twice', "x"), ('"', "y")]

    def quoted(field: str) -> str:
        return '"' + field.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["text,label", *(f"{quoted(text)},{quoted(label)}" for text, label in rows)]
    (tmp_path / "spark.csv").write_bytes("\n".join(lines).encode())
    assert _rows(tmp_path / "spark.csv", "text", "label") == rows


def test_tabs_with_quotes_that_are_just_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"Quoted" start\ta\nsize 5" pipe\tb\n', encoding="utf-8")
    assert _rows(tmp_path / "a.tsv", "text", "label") == [('"Quoted" start', "a"), ('size 5" pipe', "b")]


def test_commas_within_texts_do_not_win_over_the_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;label\none, two, three;a\nfour, five, six;b\n", encoding="utf-8")
    assert _rows(tmp_path / "a.csv", "text", "label") == [("one, two, three", "a"), ("four, five, six", "b")]


@FILES
@given(rows=ROWS, zipped=st.booleans())
def test_json_lines_are_read(tmp_path: Path, rows: list[tuple[str, str]], zipped: bool) -> None:
    data = "".join(json.dumps({"post": {"text": text}, "topic": label}) + "\n\n" for text, label in rows)
    path = tmp_path / ("a.jsonl.gz" if zipped else "a.jsonl")
    path.write_bytes(gzip.compress(data.encode()) if zipped else data.encode())
    assert _rows(path, "post.text", "topic") == rows


def test_json_fields_that_a_row_lacks_are_empty_and_lists_stay_lists(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": ["x", "y"]}', '{"text": "b"}', '{"label": 1, "text": null}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert _rows(tmp_path / "a.jsonl", "text", "label") == [("a", ["x", "y"]), ("b", None), (None, 1)]


def test_parquet_is_read_batch_by_batch(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [(f"text {number}", [f"l{number % 3}"]) for number in range(1_300)]
    table = arrow.table(
        {"text": [text for text, _ in rows], "n": [0] * 1_300, "topics": [t for _, t in rows]}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    assert _rows(tmp_path / "a.parquet", "text", "topics") == rows


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "is empty; a table begins with a line of column names"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", b"text,text\na,b\n", "the column 'text' stands twice"),
        ("a.csv", "text,label\n".encode("utf-16"), "is UTF-16, not text in UTF-8"),
        ("a.csv", b"PK\x03\x04rest of a workbook", "is a zip archive (or Excel's)"),
        ("a.jsonl", b"", "is empty"),
        ("a.json", b'[{"text": "a"}]', "is one JSON document, not an object a line; `jq -c '.[]'"),
        ("a.parquet", b"text,label\na,b\n", "is no Parquet file"),
        ("a.xlsx", b"x", "the name does not tell the format (known: .csv .tsv"),
        ("a.parquet.gz", b"x", "unpack it first"),
        ("a.csv.gz", b"\x1f\x8b\x08broken", "a.csv.gz: "),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        open_table(tmp_path / name)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.csv: no such file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(TrainingError, match="is a folder; name a file in it"):
        open_table(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "place", "reason"),
    [
        ("a.csv", "text,label\nfine,a\nHello, you,b\n", "line 3", "the row has 3 fields, the header 2"),
        ("a.csv", 'text,label\n"two\nlines",a\n\nonly\n', "line 5", "the row has 1 field, the header 2"),
        ("a.csv", 'text,label\na,b\n"never closed,a\nc,d\n', "line 3", "no CSV: unexpected end of data"),
        ("a.jsonl", '{"text": "a"}\n\n[1]\n', "line 3", "no JSON object but a list"),
        ("a.jsonl", '{"text": "a"}\n7\n', "line 2", "no JSON object but a number"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2", "no JSON: Expecting value at character 11"),
        ("a.jsonl", '{"text": "a"}\n' + "[" * 100_000 + "\n", "line 2", "no JSON"),
    ],
)
def test_rows_that_are_none_have_a_place_and_a_reason(
    tmp_path: Path, name: str, content: str, place: str, reason: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    bad = [row for row in open_table(tmp_path / name).rows(["text"]) if isinstance(row, BadRow)]
    assert bad[0].place == place
    assert bad[0].reason.startswith(reason)


def test_a_byte_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    lines = [b"text,label"] + [b"good,a"] * 300 + ["caf\u00e9,b".encode("latin-1")]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(TrainingError, match=r"a\.csv, line 302: is not UTF-8 \(byte 0xe9 at place 4\)"):
        _rows(tmp_path / "a.csv", "text", "label")


def test_a_line_without_end_costs_no_more_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lab.data.tables.lines.MAX_LINE_BYTES", 1_000)
    (tmp_path / "a.jsonl").write_text('{"text": "' + "x" * 5_000 + '"}\n', encoding="utf-8")
    with pytest.raises(TrainingError, match="line 1: longer than 1,000 bytes"):
        open_table(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("header", "given", "chosen"),
    [
        ("id,text,label", ("", ""), ("text", "label")),
        ("Body,Topic", ("", ""), ("Body", "Topic")),
        ("title,review,stars,class", ("", ""), ("review", "class")),
        ("words,topic", ("", "topic"), ("words", "topic")),
        ("text,kind", ("text", ""), ("text", "kind")),
        ("text,title,topic", ("title", "topic"), ("title", "topic")),
        ("text,tags", ("", ""), ("text", "tags")),
    ],
)
def test_columns_are_guessed_by_name(
    tmp_path: Path, header: str, given: tuple[str, str], chosen: tuple[str, str]
) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n" + ",".join("abcdefg"[: header.count(",") + 1]) + "\n")
    assert choose_columns(open_table(tmp_path / "a.csv"), *given) == chosen


@pytest.mark.parametrize(
    ("header", "given", "told"),
    [
        (
            "text,body,label",
            ("", ""),
            "several columns may hold the text (text, body): choose with --text",
        ),
        (
            "text,label,topic",
            ("", ""),
            r"several columns may hold the label (label, topic): choose with --label",
        ),
        ("a,b,c", ("", ""), "no column's name says that it holds the text; there are: a, b, c: choose with"),
        ("text,label", ("", "topic"), "no column 'topic'; there are: text, label"),
        ("text,topics", ("", "topic"), "no column 'topic' (did you mean 'topics'?); there are: text, topics"),
        ("text,label", ("text", "text"), "cannot be both the text and the label"),
    ],
)
def test_columns_that_cannot_be_chosen(
    tmp_path: Path, header: str, given: tuple[str, str], told: str
) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n" + ",".join("abc"[: header.count(",") + 1]) + "\n")
    with pytest.raises(TrainingError) as caught:
        choose_columns(open_table(tmp_path / "a.csv"), *given)
    assert told in str(caught.value)
