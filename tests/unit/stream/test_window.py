"""When a window is complete, and how much fits into its time."""

from hypothesis import given
from hypothesis import strategies as st

from worker.stream.window import LONGEST_COST, Pace, Progress, Window, cost
from worker.types import Record


def _record(size: int) -> Record:
    return Record("posts", 0, 0, 0, None, b"x" * size)


def test_a_window_closes_by_number_by_bytes_and_by_time() -> None:
    assert not Window(2, 100, 1.0).complete(10.0)  # an empty one never does
    by_number, by_bytes, by_time = (Window(2, 100, 1.0) for _ in range(3))
    by_number.add(2, 2, 10.0)
    by_bytes.add(1, 100, 10.0)
    by_time.add(1, 1, 10.0)
    assert by_number.complete(10.0)
    assert by_bytes.complete(10.0)
    assert not by_time.complete(10.9)
    assert by_time.complete(11.0)
    assert by_time.remaining_s(10.25) == 0.75


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


def test_a_long_text_costs_no_more_than_what_the_model_reads() -> None:
    assert cost(_record(10_000_000)) == cost(_record(LONGEST_COST))
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
    assert [progress.rebalanced() for _ in range(6)] == [False, False, True, False, False, True]
    assert progress.stuck
    progress.reset()
    assert not progress.stuck
    assert not progress.rebalanced()
