"""Cutting bytes into lines, whatever the chunks they come in."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.tables.lines import Line, LineReader


def read_file(path: Path, max_bytes: int = 1_000) -> list[Line]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        reader = LineReader(descriptor, max_bytes)
        lines = [line for line in reader if line is not None]
        assert reader.position == path.stat().st_size
        return lines
    finally:
        os.close(descriptor)


def read_pipe(chunks: list[bytes], max_bytes: int = 1_000) -> list[Line | None]:
    """Write chunks into a pipe, each when the one before has been taken."""
    ours, theirs = os.pipe()

    def write() -> None:
        for chunk in chunks:
            os.write(theirs, chunk)
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    lines = list(LineReader(ours, max_bytes))
    writer.join()
    os.close(ours)
    return lines


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_chunks_do_not_change_the_lines(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = [line.removesuffix(b"\r") for line in whole.split(b"\n")]
    if whole.endswith(b"\n") or not whole:
        expected.pop()
    lines = [line for line in read_pipe(chunks) if line is not None]
    assert [line.value for line in lines] == expected
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_line_beyond_the_bound_is_passed_over_alone(tmp_path: Path, position: int) -> None:
    lines = [b"a", b"b"]
    lines.insert(position, b"x" * 200_000)
    path = tmp_path / "x"
    path.write_bytes(b"\n".join(lines))
    expected = [None if len(line) > 1_000 else line for line in lines]
    assert [line.value for line in read_file(path)] == expected


def test_a_line_of_just_the_bound_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 1_000 + b"\n" + b"y" * 1_001)
    assert [line.value for line in read_file(path)] == [b"x" * 1_000, None]


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
    assert seen == [Line(1, b"a"), None, Line(2, b"bc")]


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
