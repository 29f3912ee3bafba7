"""CSV in any dialect: what was written is what is read, and a broken row costs no other row."""

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.errors import InputError
from worker.tables.csv import MAX_RECORD_LINES, CsvReader
from worker.tables.lines import MAX_LINE_BYTES, Line
from worker.tables.open import Table
from worker.tables.rows import BadRow, Cells, Pause

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
ROWS = st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12)
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)


def table_rows(path: Path, *names: str) -> list[tuple[Any, ...]]:
    found = []
    for row in Table(path, names).rows(names):
        assert isinstance(row, Cells), row
        found.append(row.values)
    return found


def read(text: str | bytes, *names: str) -> list[Cells | BadRow]:
    """Read a table from memory."""
    data = text.encode() if isinstance(text, str) else text
    lines = [Line(number, line) for number, line in enumerate(io.BytesIO(data), 1)]
    names = names or ("text",)
    found = [row for row in CsvReader("a.csv", lines, names).cells(names) if not isinstance(row, Pause)]
    assert [row.number for row in found] == list(range(len(found)))
    return found


def outline(rows: Iterable[Cells | BadRow]) -> list[tuple[int, str]]:
    """Where each row stands, and its text or what is wrong with it."""
    return [(row.place, row.values[0] if isinstance(row, Cells) else row.reason) for row in rows]


@FILES
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "\ufeff"]),
    before=st.sampled_from(["", "\n", "  \n\n"]),
    zipped=st.booleans(),
)
def test_what_python_writes_in_any_dialect_is_read(
    tmp_path: Path,
    rows: list[tuple[str, str]],
    delimiter: str,
    quoting: Any,
    end: str,
    mark: str,
    before: str,
    zipped: bool,
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["body", "id", "topic"])
    if quoting == csv.QUOTE_MINIMAL:  # Python quotes only those ends of lines that it writes itself
        other = str.maketrans(dict.fromkeys({"\r", "\n"} - set(end), " "))
        rows = [(text.translate(other), label.translate(other)) for text, label in rows]
    writer.writerows([text, number, label] for number, (text, label) in enumerate(rows))
    data = (mark + before.replace("\n", end) + out.getvalue()).encode()
    path = tmp_path / ("mine.csv.gz" if zipped else "mine.csv")
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    assert table_rows(path, "body", "topic") == rows


@FILES
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"))
def test_backslashes_before_quotes_are_read(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str
) -> None:
    rows = [*rows, ('he said "wow"', "x"), ('"', "y")]

    def quoted(field: str) -> str:
        return '"' + field.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [f"text{delimiter}label", *(f"{quoted(text)}{delimiter}{quoted(label)}" for text, label in rows)]
    (tmp_path / "spark.csv").write_bytes("\n".join(lines).encode())
    assert table_rows(tmp_path / "spark.csv", "text", "label") == rows


@FILES
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"))
def test_backslashes_in_fields_without_quotes_are_backslashes(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str
) -> None:
    """As Spark writes: only a field that needs it is quoted, and only there a backslash is doubled."""
    one_line = str.maketrans(dict.fromkeys("\r\n", " "))
    rows = [(text.translate(one_line), label.translate(one_line)) for text, label in rows]
    rows = [
        *rows,
        ('he said "wow", \\o/', "C:\\temp\\new"),
        ("plain \\o/", "D:\\"),
        ("first\nsecond \\", "E:\\"),
    ]

    def written(field: str) -> str:
        if not {'"', delimiter, "\n"}.isdisjoint(field) or field != field.strip() or not field:
            return '"' + field.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return field

    lines = [
        f"text{delimiter}label",
        *(f"{written(text)}{delimiter}{written(label)}" for text, label in rows),
    ]
    (tmp_path / "spark.csv").write_bytes("\n".join(lines).encode())
    assert table_rows(tmp_path / "spark.csv", "text", "label") == rows


def test_two_quotes_that_were_never_meant_do_not_make_one_text_of_the_rows_between() -> None:
    rows = [f"{number}\ta fine day {number}" for number in range(1, 121)]
    rows[79], rows[99] = '80\t"I told him', '100\tmy TV is 55"'
    found = read("\n".join(["id\ttext", *rows]), "id", "text")
    assert [row.values[0] for row in found if isinstance(row, Cells)] == [
        str(number) for number in range(1, 121) if number != 80
    ]
    [bad] = [row for row in found if isinstance(row, BadRow)]
    assert (bad.place, "the quote that opens in line 81 closes in line 101" in bad.reason) == (81, True)
    # A text of several lines stays one: its lines are no rows.
    letter = 'id\ttext\n1\t"Dear John,\nthank you\nAnn"\n2\tb\n'
    assert [row.values for row in read(letter, "id", "text") if isinstance(row, Cells)] == [
        ("1", "Dear John,\nthank you\nAnn"),
        ("2", "b"),
    ]


def test_a_quote_that_closes_in_the_next_row_costs_one_row() -> None:
    found = read('id,tag,text\n1,"x,so good\n2",y,never again\n3,z,fine\n')
    assert outline(found)[1:] == [(3, "never again"), (4, "fine")]
    assert isinstance(found[0], BadRow)


@pytest.mark.parametrize("name", ["one.tsv", "one.TAB", "one.tsv.gz"])
def test_a_single_column_with_commas_is_read_as_its_name_says(tmp_path: Path, name: str) -> None:
    data = b"text\nI love it, really\nbad, awful, never again\nfine\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert table_rows(tmp_path / name, "text") == [
        ("I love it, really",),
        ("bad, awful, never again",),
        ("fine",),
    ]
    # What is inside counts more than the name.
    (tmp_path / "commas.tsv").write_text("text,id\ngood,1\nbad,2\n")
    assert table_rows(tmp_path / "commas.tsv", "id") == [("1",), ("2",)]


@settings(deadline=None)
@given(
    st.text(st.sampled_from('ab",;\t|\\\n\r é'), max_size=80),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([b"\xff", b'"', b"\r", b"\0"])), max_size=4),
)
def test_whatever_a_table_holds_each_row_is_read_or_bad(text: str, damage: list[tuple[int, bytes]]) -> None:
    data = ("text,label\n" + "fine,a\n" * 20 + text + "\nlast,b\n").encode()
    for place, byte in damage:
        data = data[: 11 + place] + byte + data[11 + place :]
    places = [row.place for row in read(data)]
    assert places == sorted(set(places))
    assert places[0] == 2


def test_tabs_with_quotes_that_are_just_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.tab").write_text('text\tlabel\n"Quoted" start\ta\nsize 5" pipe\tb\n', encoding="utf-8")
    found = table_rows(tmp_path / "a.tab", "text", "label")
    assert found == [('"Quoted" start', "a"), ('size 5" pipe', "b")]


def test_commas_within_texts_do_not_win_over_the_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;label\none, two, three;a\nfour, five, six;b\n", encoding="utf-8")
    found = table_rows(tmp_path / "a.csv", "text", "label")
    assert found == [("one, two, three", "a"), ("four, five, six", "b")]


def test_bad_rows_cost_no_other_row() -> None:
    found = read(b'id,text\n1,a\n2,b,c\n3,"d"e\n4,caf\xe9\n5\n6,f\n7,g\rh\n  \n8,i\n')
    assert [row.place for row in found] == [2, 3, 4, 5, 6, 7, 8, 10]
    reasons = [row.values[0] if isinstance(row, Cells) else row.reason.partition(";")[0] for row in found]
    assert reasons == [
        "a",
        "the row has 3 fields, the header 2 fields",
        "not CSV: ',' expected after '\"'",
        "not UTF-8: byte 0xe9 at position 5",
        "the row has 1 field, the header 2 fields",
        "f",
        "not CSV: a carriage return in a field without quotes",
        "i",
    ]


@pytest.mark.parametrize("rows", [1, 30, 20_000])
def test_a_quote_that_never_closes_costs_one_row_and_is_told_with_its_line(rows: int) -> None:
    text = 'id,text\n1,a\n2,"b\n' + "".join(f"{number},c\n" for number in range(rows))
    first, bad, *rest = outline(read(text))
    assert first == (2, "a")
    until = "in 1001 lines" if rows > MAX_RECORD_LINES else ""
    assert bad == (
        3,
        f"the quote that opens in line 3 is {'not closed ' + until if until else 'never closed'}",
    )
    assert rest == [(number + 4, "c") for number in range(rows)]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        # It closes by the next quote, which is the beginning of another field.
        ('text,n\na,1\n"b,2\nc,3\n"d",4\ne,5\n', [2, 4, 5, 6]),
        # It opens in a later line than its row.
        ('text,n\n"two\nlines","b\nc,3\nd,4\n', [4, 5]),
        # It is the last line's.
        ('text,n\na,1\n"b,2', [2]),
        ('text,n\na,1\nb,"2\n', [2]),
    ],
)
def test_wherever_a_quote_stays_open_the_rows_behind_it_are_read(text: str, places: list[int]) -> None:
    found = read(text)
    assert [row.place for row in found if isinstance(row, Cells)] == places
    assert all("quote" in row.reason for row in found if isinstance(row, BadRow))


def test_rows_that_a_quote_has_swallowed_are_read_and_a_long_text_is_not_cut_into_rows() -> None:
    rows = "".join(f"{number},c\n" for number in range(20))
    first, bad, *rest, last = outline(read(f'id,text\n1,a\n"2,b\n{rows}3"\n4,d\n'))
    assert bad == (3, "the quote that opens in line 3 closes in line 24 within a field")
    assert [place for place, _ in rest] == list(range(4, 25))
    assert (first, last) == ((2, "a"), (25, "d"))
    found = outline(read('text,id\n"Dear all,\nplease find below\nmy list\nof things", too,1\nb,2\n'))
    assert found == [(2, "the row has 3 fields, the header 2 fields"), (6, "b")]


def test_the_line_of_an_open_quote_is_the_line_where_it_opens() -> None:
    bad = read('text,n\n"two\nlines","b\nc,3\n')[0]
    assert isinstance(bad, BadRow)
    assert bad.reason == "the quote that opens in line 3 is never closed"
    bad = read('text,n\na,1\n"b,2\nc,3\n"d",4\n')[1]
    assert isinstance(bad, BadRow)
    assert bad.reason == "the quote that opens in line 3 closes in line 5 within a field"


def test_a_field_of_many_lines_is_one_row() -> None:
    long = "\n".join(f"line {number}" for number in range(MAX_RECORD_LINES - 1))
    assert outline(read(f'text\n"{long}"\nb\n')) == [(2, long), (1 + MAX_RECORD_LINES, "b")]


def test_a_field_of_a_megabyte() -> None:
    long = "x" * 1_000_000
    assert outline(read(f"text\n{long}\n")) == [(2, long)]


def test_a_line_that_was_too_long_to_keep_is_a_bad_row() -> None:
    lines = [Line(1, b"text,n\n"), Line(2, b"a,1\n"), Line(3, None), Line(4, b"b,2\n")]
    found = [row for row in CsvReader("a.csv", lines).cells(["text"]) if not isinstance(row, Pause)]
    assert outline(found) == [(2, "a"), (3, f"the line is longer than {MAX_LINE_BYTES} bytes"), (4, "b")]


def test_a_pause_between_rows_is_handed_on_and_one_within_a_row_is_waited_through() -> None:
    lines = [Line(1, b"text,n\n"), None, Line(2, b'"two\n'), None, Line(3, b'lines",1\n'), None]
    found = list(CsvReader("a.csv", lines).cells(["text"]))
    assert found == [Pause(), Cells(0, 2, ("two\nlines",)), Pause()]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; a table begins with a line of column names"),
        (b"\n \r\n", "is empty; a table begins with a line of column names"),
        (b"text,id,text\na,1,b\n", "the column 'text' occurs twice"),
        (b"text, text \na,b\n", "the column 'text' occurs twice"),
        (b'"text,n\na,1\n', "(line 1) cannot be read: the quote that opens in line 1 is never closed"),
        (b"text,caf\xe9\n", "the line of column names is not UTF-8: byte 0xe9 at position 8"),
        (b"body,n\na,1\n", "no column 'text'; there are: body, n"),
        (b"b\x1b[2Jdy,n\na,1\n", r"no column 'text'; there are: b\x1b[2Jdy, n"),
        (("x" * 5_000 + ",n\n").encode(), "no column 'text'; there are: " + "x" * 60 + "…, n"),
    ],
)
def test_headers_that_cannot_be_used(content: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(content)
    assert told in str(caught.value)
    assert str(caught.value).startswith("a.csv: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_header_too_long_to_keep_is_one_line() -> None:
    with pytest.raises(
        InputError, match=r"a\.csv: the line of column names \(line 1\).* longer than \d+ bytes"
    ):
        CsvReader("a.csv", [Line(1, None), Line(2, b"a,b\n")])


def test_columns_without_a_name_may_be_several() -> None:
    assert outline(read("text,,\na,,\n")) == [(2, "a")]
