"""Batches as they lie in Kafka, whole and damaged, read leniently."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import decode_varint

from worker.kafka.records import HeaderName, LenientRecordBatch, Unreadable, header_name

BASE = 1_000

names = st.one_of(st.binary(max_size=12), st.text(max_size=6).map(lambda text: text.encode()))
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=12)), max_size=4)
records = st.tuples(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=40), headers)
codecs = st.sampled_from([0, 1, 2, 3, 4])


def build(rows: list[tuple[Any, ...]], codec: int = 0) -> bytearray:
    """A batch of (key, value, headers) from offset BASE on, as the client's producer writes it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 21)
    for offset, (key, value, row_headers) in enumerate(rows):
        written = [(header_name(name), header) for name, header in row_headers]
        assert builder.append(offset, timestamp=offset, key=key, value=value, headers=written) is not None
    data = bytearray(builder.build())
    data[:8] = BASE.to_bytes(8, "big")
    return data


def read(data: bytearray) -> list[Any]:
    return list(LenientRecordBatch(data))


def spans(data: bytearray) -> list[tuple[int, int]]:
    """Where the fields of each record of an uncompressed batch begin and end."""
    found, pos = [], DefaultRecordBatch.HEADER_STRUCT.size
    while pos < len(data):
        length, start = decode_varint(data, pos)
        pos = start + length
        found.append((start, pos))
    return found


@given(st.lists(records, min_size=1, max_size=12), codecs)
@example([(b"k", b"v", [(b"caf\xe9", b"1")]), (None, None, [])], 0)
def test_every_record_comes_as_it_was_written(rows: list[tuple[Any, ...]], codec: int) -> None:
    found = read(build(rows, codec))
    assert [record.offset for record in found] == list(range(BASE, BASE + len(rows)))
    for record, (key, value, row_headers) in zip(found, rows, strict=True):
        assert (record.key, record.value) == (key, value)
        assert [(name.encode("utf-8"), header) for name, header in record.headers] == row_headers


@given(st.binary(max_size=30))
def test_a_name_is_the_same_bytes_again(name: bytes) -> None:
    assert header_name(name).encode("utf-8") == name
    assert header_name(str(header_name(name))).encode("utf-8") == name


def test_a_name_that_is_utf_8_is_plain_text() -> None:
    assert type(header_name("café".encode())) is str
    assert type(header_name("café")) is str
    assert type(header_name(b"caf\xe9")) is HeaderName


@given(st.integers(1, 8), st.data())
def test_a_record_that_cannot_be_parsed_leaves_its_neighbours_alone(count: int, data: st.DataObject) -> None:
    rows = [(b"key %d" % number, b"value", [(b"name", b"header")]) for number in range(count)]
    batch = build(rows)
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    for number in bad:
        start, end = spans(batch)[number]
        batch[start:end] = b"\x00" + b"\xff" * (end - start - 1)  # a number that never ends
    found = read(batch)
    assert [record.offset - BASE for record in found] == list(range(count))
    whole = build(rows)
    for number, record in enumerate(found):
        start, end = spans(whole)[number]  # a damaged record has the length that it had
        raw = bytes(batch[start:end]) if number in bad else b"value"
        assert (isinstance(record.headers, Unreadable), record.value) == (number in bad, raw)


@given(st.lists(records, min_size=1, max_size=8), codecs, st.data())
def test_whatever_is_damaged_reading_ends_and_offsets_rise(
    rows: list[tuple[Any, ...]], codec: int, data: st.DataObject
) -> None:
    """The checksum is looked at elsewhere; here damage is as if it had passed."""
    batch = build(rows, codec)
    begin = DefaultRecordBatch.HEADER_STRUCT.size
    for place in data.draw(st.lists(st.integers(begin, len(batch) - 1), min_size=1, max_size=4)):
        batch[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del batch[data.draw(st.integers(begin, len(batch))) :]
    found = read(batch)
    assert len(found) <= len(rows) + 1
    last = BASE + len(rows) - 1
    for record in found:
        assert BASE <= record.offset <= last
        if isinstance(record.headers, Unreadable):
            assert BASE <= record.headers.first <= record.offset


def test_what_cannot_be_parsed_behind_the_last_offset_ends_nothing() -> None:
    """The first of three takes the last offset, and no length leads to what follows."""
    batch = build([(b"k", b"v", [])] * 3)
    start, end = spans(batch)[0]
    batch[start + 2 : start + 3] = b"\x04"
    batch[end:] = b"\xff" * (len(batch) - end)
    found = read(batch)
    assert [isinstance(record.headers, Unreadable) for record in found] == [False, True]
    assert [record.offset for record in found] == [BASE + 2, BASE + 2]
    assert found[1].value == b"\xff" * (len(batch) - end)


@pytest.mark.parametrize("delta", [b"\x01", b"\x7f", b"\x7e", b"\x00"])
def test_an_offset_outside_the_batch_or_behind_the_last_one_is_unreadable(delta: bytes) -> None:
    """Where a parsed record says -1, -64, 63 or 0 for the second of three."""
    batch = build([(b"k", b"v", [])] * 3)
    start, end = spans(batch)[1]
    batch[start + 2 : start + 3] = delta
    found = read(batch)
    assert [record.offset for record in found] == [BASE, BASE + 1, BASE + 2]
    assert [isinstance(record.headers, Unreadable) for record in found] == [False, True, False]
    assert found[1].value == bytes(batch[start:end])


def test_a_batch_that_cannot_be_decompressed_is_one_gap() -> None:
    batch = build([(None, b"value", [])] * 5, 4)
    batch[DefaultRecordBatch.HEADER_STRUCT.size :] = b"no zstd frame"
    [only] = read(batch)
    assert isinstance(only.headers, Unreadable)
    assert (only.headers.first, only.offset, only.value) == (BASE, BASE + 4, b"no zstd frame")


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_batch_that_grows_too_large_is_one_gap_that_holds_its_compressed_bytes(
    monkeypatch: pytest.MonkeyPatch, codec: int
) -> None:
    monkeypatch.setattr("worker.kafka.records.LARGEST_BATCH", 1 << 20)
    rows: list[tuple[Any, ...]] = [(None, bytes(300_000), [])] * 4
    batch = build(rows, codec)
    tracemalloc.start()
    [only] = read(batch)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(only.headers, Unreadable)
    assert (only.headers.first, only.offset) == (BASE, BASE + 3)
    assert only.headers.reason == "cannot be decompressed (more than 1 MiB)"
    assert only.value == bytes(batch[DefaultRecordBatch.HEADER_STRUCT.size :])
    assert most < 3 << 20
    assert len(read(build(rows[:3], codec))) == 3  # just below the limit


def test_a_wrong_length_makes_one_gap_of_all_that_follows() -> None:
    batch = build([(None, b"value %d" % number, []) for number in range(6)])
    start, _ = spans(batch)[3]
    batch[start - 1] = 0x7F  # negative
    found = read(batch)
    assert [record.offset - BASE for record in found] == [0, 1, 2, 5]
    assert found[-1].headers.first == BASE + 3
    assert b"value 3" in found[-1].value
    assert b"value 5" in found[-1].value
