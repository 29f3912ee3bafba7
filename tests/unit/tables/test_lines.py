"""Cutting bytes into lines, whatever the chunks they come in and however they are packed or encoded."""

import gzip
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import InputError
from worker.tables.lines import Line, LineReader, bad_bytes, without_end
from worker.tables.source import check_encoding


def read_file(path: Path, max_bytes: int = 1_000, encoding: str = "utf-8") -> list[Line]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        reader = LineReader(descriptor, max_bytes, name=path.name, encoding=encoding)
        lines = [line for line in reader if line is not None]
        assert reader.position == path.stat().st_size
        return lines
    finally:
        os.close(descriptor)


def read_pipe(chunks: list[bytes], max_bytes: int = 1_000, encoding: str = "utf-8") -> list[Line | None]:
    """Write chunks into a pipe, each when the one before has been taken."""
    ours, theirs = os.pipe()

    def write() -> None:
        for chunk in chunks:
            os.write(theirs, chunk)
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return list(LineReader(ours, max_bytes, encoding=encoding))
    finally:
        writer.join()
        os.close(ours)


def expected_lines(whole: bytes) -> list[bytes]:
    """LF and CRLF end lines; a lone CR does where it is the first end of all."""
    first = re.search(rb"\r\n|\r|\n", whole)
    if first is not None and first[0] == b"\r":
        return whole.splitlines(keepends=True)
    return [line + b"\n" for line in whole.split(b"\n")][:-1] + (
        [tail] if (tail := whole.split(b"\n")[-1]) else []
    )


PIECES = st.one_of(st.binary(max_size=12), st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\r\r"]))


@given(st.lists(PIECES, max_size=10))
def test_chunks_do_not_change_the_lines(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    if whole.startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"\xef\xbb\xbf")) or b"\0" in whole:
        return  # these say that the content is something else; see below
    lines = [line for line in read_pipe(chunks) if line is not None]
    assert [line.value for line in lines] == expected_lines(whole)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_ends_of_lines(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(end.join([b"one", b"two", b"", b"three"]))
    found = [without_end(line.value or b"") for line in read_file(path)]
    assert found == [b"one", b"two", b"", b"three"]
    path.write_bytes(path.read_bytes() + end)
    assert len(read_file(path)) == 4


def test_a_return_within_a_line_ends_none_where_lines_end_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one\n10 %\r20 %\nthree")
    assert [line.value for line in read_file(path)] == [b"one\n", b"10 %\r20 %\n", b"three"]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_beyond_the_bound_is_passed_over_alone(tmp_path: Path, position: int, end: bytes) -> None:
    lines = [b"a", b"b"]
    lines.insert(position, b"x" * 200_000)
    path = tmp_path / "x"
    path.write_bytes(end.join(lines))
    expected = [None if len(line) > 1_000 else line for line in lines]
    assert [line.value and without_end(line.value) for line in read_file(path)] == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_of_just_the_bound_is_kept(end: bytes) -> None:
    lines = read_pipe([b"x" * 1_000, end[:1], end[1:] + b"y" * 1_001])
    assert [line and line.value for line in lines if line is not None] == [b"x" * 1_000 + end, None]


def test_a_silent_pipe_says_so_once() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"a\nb")
    seen: list[Line | None] = []
    for line in LineReader(ours):
        seen.append(line)
        if line is None:
            os.write(theirs, b"c\n")
            os.close(theirs)
    os.close(ours)
    assert seen == [Line(1, b"a\n"), None, Line(2, b"bc\n")]


def test_position_follows_the_lines_handed_on_and_not_what_is_read_ahead(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789\n" * 100)
    with path.open("rb") as stream:
        reader = LineReader(stream.fileno())
        lines = iter(reader)
        next(lines)
        assert reader.position == 11
        next(lines)
        assert reader.position == 22


@settings(deadline=None)
@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00\ufeff"), max_size=20)),
    members=st.integers(1, 3),
    mark=st.booleans(),
)
def test_gzip_is_read_whatever_its_members(lines: list[str], members: int, mark: bool) -> None:
    whole = ("\ufeff" * mark + "".join(f"{line}\n" for line in ["begin", *lines])).encode()
    cut = len(whole) // members + 1
    packed = [gzip.compress(whole[start : start + cut], mtime=0) for start in range(0, len(whole), cut)]
    found = [line.value for line in read_pipe([b"".join(packed) + b"\0" * 7]) if line is not None]
    assert b"".join(value or b"" for value in found) == whole.removeprefix(b"\xef\xbb\xbf")
    assert len(found) == len(lines) + 1


def test_little_gzip_of_much_text_is_read_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress((b"0123456789" * 20 + b"\n") * 100_000, mtime=0))
    tracemalloc.start()
    try:
        count = len([None for line in LineReader(os.open(path, os.O_RDONLY)) if line is not None])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-12], "end too early"),
        (lambda data: data[:12] + bytes(9) + data[21:], "are damaged"),
    ],
)
def test_damaged_gzip_is_one_line(damage: "object", told: str) -> None:
    packed = gzip.compress(os.urandom(500).hex().encode(), mtime=0)
    assert callable(damage)
    with pytest.raises(InputError, match=rf"input: the gzip data {told}"):
        read_pipe([damage(packed)])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("text,label\n".encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + "text\n".encode("utf-16-be"), "UTF-16"),
        ("text,label\n".encode("utf-16-le"), "UTF-16LE"),
        ("text,label\n".encode("utf-16-be"), "UTF-16BE"),
        ("text\n".encode("utf-32"), "UTF-32"),
        (gzip.compress("text,label\n".encode("utf-16"), mtime=0), "UTF-16"),
        (b"PK\x03\x04\x14\x00", "a zip archive or an Excel workbook"),
    ],
)
def test_what_is_not_utf8_is_named(content: bytes, kind: str) -> None:
    with pytest.raises(InputError, match=rf"^input: is {kind}, not "):
        read_pipe([content])


@settings(deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\r\x00\ufeff"), max_size=60),
    encoding=st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "UTF_8"]),
    cut=st.integers(1, 7),
)
def test_a_named_encoding_is_read(text: str, encoding: str, cut: int) -> None:
    data = f"begin\n{text}".encode(encoding)
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)]
    found = [line.value or b"" for line in read_pipe(chunks, encoding=encoding) if line is not None]
    assert b"".join(found).decode() == f"begin\n{text}"


def test_windows_1252_is_read_and_what_it_does_not_have_is_told() -> None:
    (line,) = read_pipe(["café “so”\n".encode("windows-1252")], encoding="windows-1252")
    assert line == Line(1, "café “so”\n".encode())
    with pytest.raises(InputError, match="input: is not windows-1252: "):
        read_pipe([b"\x81\n"], encoding="windows-1252")
    with pytest.raises(InputError, match="input: is not utf-16: "):
        read_pipe([b"\xff\xfea\0b"], encoding="utf-16")


@pytest.mark.parametrize("name", ["latin1", "utf-16", "windows-1252", "shift_jis", "utf8"])
def test_encodings_that_are_known(name: str) -> None:
    check_encoding(name)


@pytest.mark.parametrize(
    "name", ["utf-17", "", "base64", "rot13", "a\0b", "\x1b[31m", "é" * 300, "undefined"]
)
def test_encodings_that_are_not(name: str) -> None:
    with pytest.raises(InputError, match="no encoding") as caught:
        check_encoding(name)
    assert str(caught.value).isprintable()


def test_a_byte_of_another_encoding_is_told_with_its_place_and_its_likely_letter() -> None:
    assert bad_bytes("café".encode()) is None
    reason = bad_bytes("un café".encode("latin-1"))
    assert reason is not None
    assert reason.startswith("not UTF-8: byte 0xe9 at position 6; in Latin-1 (Windows-1252) that is 'é'")
