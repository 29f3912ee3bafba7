"""When a window is complete, and how much fits into its time."""

import json

from hypothesis import given
from hypothesis import strategies as st

from worker.messages.decode import MOST_MESSAGES
from worker.stream.window import LONGEST_COST, Pace, Progress, Window, cost
from worker.types import Record


def _record(size: int) -> Record:
    return Record("posts", 0, 0, 0, None, b"x" * size)


def test_window_closes_by_number() -> None:
    window = Window(max_messages=3, max_bytes=1_000, max_wait_s=1.0)
    window.add(2, 20, now=5.0)
    assert not window.complete(5.1)
    assert window.room() == 1
    window.add(1, 10, now=5.2)
    assert window.complete(5.2)


def test_window_closes_by_time_from_its_first_message() -> None:
    window = Window(max_messages=10, max_bytes=1_000, max_wait_s=0.5)
    window.add(0, 0, now=1.0)
    assert not window.complete(100.0)
    window.add(1, 5, now=100.0)
    assert window.remaining_s(100.2) == 0.5 - (100.2 - 100.0)
    assert not window.complete(100.4)
    assert window.complete(100.5)


def test_window_closes_by_bytes() -> None:
    window = Window(max_messages=10, max_bytes=1_000, max_wait_s=9.0)
    window.add(1, 1_000_000, now=0.0)
    assert window.complete(0.0)
    assert window.room() == 9


def test_an_empty_window_is_never_complete() -> None:
    assert not Window(max_messages=2, max_bytes=100, max_wait_s=0.0).complete(10.0)


def test_a_slower_window_counts_at_once_and_a_faster_one_bit_by_bit() -> None:
    pace, records = Pace(2.0), [_record(900)] * 100  # a cost of 1,000 each
    pace.measured(records, 10.0)  # 10,000 a second
    assert pace.expected() == 20
    assert pace.fitting(records) == 20
    pace.measured(records, 1.0)  # 100,000 a second
    assert 20 < pace.expected() < 200
    for _ in range(30):
        pace.measured(records, 1.0)
    assert 190 <= pace.expected() <= 200


def _array(texts: list[str], *, objects: bool) -> Record:
    body = [{"text": text, "lang": "en"} for text in texts] if objects else texts
    return Record("posts", 0, 0, 0, None, json.dumps(body).encode())


@given(st.integers(1, 1_500), st.integers(1, 2_000), st.booleans())
def test_an_array_costs_about_what_its_messages_cost_alone(count: int, length: int, objects: bool) -> None:
    """So that a window with arrays takes no longer than it may."""
    texts = ["x" * length] * count
    alone = sum(cost(_array([text], objects=objects)) for text in texts[:MOST_MESSAGES])
    assert 0.5 * alone < cost(_array(texts, objects=objects)) <= 1.5 * alone + 200


def test_arrays_fill_a_window_with_fewer_records() -> None:
    pace = Pace(2.0)
    pace.measured([_record(27)] * 1_000, 2.0)
    few = pace.fitting([_array(["so good"] * 1_000, objects=True)] * 256)
    assert few == 1
    assert pace.fitting([_record(27)] * 2_000) >= 500


def test_a_long_text_costs_no_more_than_what_the_model_reads() -> None:
    assert cost(_record(10_000_000)) == cost(_record(LONGEST_COST))
    assert cost(_record(10_000_000), 2) == cost(_record(2 * LONGEST_COST), 2)
    assert cost(_record(LONGEST_COST), 2) < cost(_record(2 * LONGEST_COST), 2)
    records = [_record(10_000_000)] * 100
    assert 0 < Pace(2.0, rows=2).fitting(records) < Pace(2.0).fitting(records)
    assert cost(_record(0)) > 0


@given(
    st.lists(st.integers(0, 20_000), max_size=60),
    st.lists(st.tuples(st.integers(1, 50), st.floats(1e-6, 1e3)), max_size=10),
    st.floats(0.1, 60),
)
def test_at_least_one_message_fits_and_never_more_than_there_are(
    sizes: list[int], measured: list[tuple[int, float]], window_s: float
) -> None:
    pace = Pace(window_s)
    for count, seconds in measured:
        pace.measured([_record(100)] * count, seconds)
    records = [_record(size) for size in sizes]
    assert (1 if records else 0) <= pace.fitting(records) <= len(records)
    assert pace.expected() >= 1


def test_a_group_is_stuck_after_so_many_rebalances_and_says_so_now_and_then() -> None:
    progress = Progress(3)
    seen = [(progress.rebalanced(), progress.stuck) for _ in range(6)]
    assert seen == [(False, False), (False, False), (True, True), (False, True), (False, True), (True, True)]
    progress.reset()
    assert (progress.rebalanced(), progress.stuck) == (False, False)
