"""The plan of a run: the right number of passes, batches within their budget, tasks spread evenly."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from worker.lab.plan import Schedule, batches, plan, task_batches

lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths_lists, st.integers(20, 200))
def test_batches_hold_each_row_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    cut = batches(lengths, budget, Random(1))
    assert sorted(row for batch in cut for row in batch) == list(range(len(lengths)))
    for batch in cut:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(lengths_lists, st.integers(1, 3))
def test_whole_passes_take_each_row_as_often(lengths: list[int], epochs: int) -> None:
    cut = task_batches(lengths, epochs, 100, Random(2))
    assert set(Counter(row for batch in cut for row in batch).values()) == {epochs}


def test_a_pass_in_part_takes_so_many_rows() -> None:
    cut = task_batches([5] * 100, 1.25, 50, Random(3))
    counts = Counter(row for batch in cut for row in batch)
    assert sorted(counts.values()) == [1] * 75 + [2] * 25


def test_tasks_are_spread_evenly_whatever_their_size() -> None:
    steps = plan([[10] * 1_000, [10] * 100], [2.0, 1.0], 100, seed=1)
    assert Counter(step.task for step in steps) == {0: 200, 1: 10}
    for quarter in range(4):
        part = steps[quarter * len(steps) // 4 : (quarter + 1) * len(steps) // 4]
        assert 1 <= sum(step.task == 1 for step in part) <= 4


def test_a_plan_follows_from_its_seed() -> None:
    lengths = [[3, 9, 4, 7] * 20, [5, 6] * 30]
    assert plan(lengths, [2, 1], 40, seed=1) == plan(lengths, [2, 1], 40, seed=1)
    assert plan(lengths, [2, 1], 40, seed=1) != plan(lengths, [2, 1], 40, seed=2)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    schedule = Schedule(steps=100, warm_up=0.1)
    factors = [schedule.factor(schedule.progress(step, 0.0)) for step in range(100)]
    assert 0 < factors[0] < factors[5] < factors[10] == max(factors) == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.02
    assert schedule.progress(100, 0.0) >= 1


def test_time_ends_a_run_that_is_too_slow_and_the_rate_with_it() -> None:
    schedule = Schedule(steps=1_000, warm_up=0.1, seconds=60)
    assert schedule.progress(10, 59.4) == 0.99
    assert schedule.factor(0.99) < 0.02
    assert schedule.progress(10, 60) >= 1
    assert schedule.progress(900, 10) == 0.9  # on a fast machine the steps end the run
