"""Counting what is in flight."""

from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.flow import Flow, fitting
from worker.types import Record


def _record(offset: int, size: int = 10, topic: str = "posts") -> Record:
    return Record(topic, 0, offset, 0, None, b"x" * size)


def test_full_at_the_bound_and_free_at_half() -> None:
    flow = Flow(max_messages=4, max_bytes=1_000_000)
    records = [_record(n) for n in range(4)]
    seen = []
    for add, settle in (([0, 1, 2], []), ([3], []), ([], [0]), ([], [1])):
        flow.add(records[n] for n in add)
        flow.release(records[n] for n in settle)
        seen.append((flow.messages, flow.full))
    assert seen == [(3, False), (4, True), (3, True), (2, False)]


def test_bytes_count_as_well() -> None:
    flow = Flow(max_messages=100, max_bytes=100)
    flow.add([_record(0, 60), _record(1, 60)])
    seen = [(flow.bytes, flow.full)]
    for offset in (0, 1):
        flow.release([_record(offset, 60)])
        seen.append((flow.bytes, flow.full))
    assert seen == [(120, True), (60, True), (0, False)]  # 60 is more than half of 100


def test_a_record_from_before_a_reset_counts_for_nothing() -> None:
    flow = Flow(10, 1_000)
    flow.add([_record(0)])
    flow.reset()
    flow.release([_record(0)])
    assert (flow.messages, flow.bytes) == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_counts_never_drift(steps: list[tuple[bool, int]]) -> None:
    """Adding and settling in any order, twice or never: the counts are those of the set in flight."""
    flow, there = Flow(1_000, 1_000_000), {}
    for add, offset in steps:
        record = _record(offset, size=offset + 1)
        if add:
            flow.add([record])
            there[offset] = record.size
        else:
            flow.release([record])
            there.pop(offset, None)
        assert (flow.messages, flow.bytes) == (len(there), sum(there.values()))


def test_what_fits_is_at_least_one() -> None:
    records = [_record(n, 50) for n in range(4)]
    assert fitting(records, 120) == 2
    assert fitting(records, 0) == 1
    assert fitting(records, 10_000) == 4
    assert fitting([], 10) == 0
