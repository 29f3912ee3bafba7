"""Micro-batches: nothing left out, budgets kept, as few batches as the budgets allow."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.model.classifier import plan

LENGTHS = st.lists(st.integers(min_value=1, max_value=512), max_size=200)


@given(lengths=LENGTHS, budget=st.integers(min_value=64, max_value=2_048), share=st.floats(0, 1))
def test_each_text_once_and_within_the_budgets(lengths: list[int], budget: int, share: float) -> None:
    batches = plan(lengths, max_padded_tokens=budget, max_padding_share=share)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        rows = [lengths[index] for index in batch]
        padded = len(rows) * max(rows)
        assert padded <= budget or len(rows) == 1
        assert padded - sum(rows) <= padded * share


@given(lengths=LENGTHS)
def test_longer_texts_never_come_before_shorter_ones(lengths: list[int]) -> None:
    order = [
        lengths[i] for batch in plan(lengths, max_padded_tokens=512, max_padding_share=0.1) for i in batch
    ]
    assert order == sorted(order)


@given(lengths=LENGTHS, budget=st.integers(min_value=64, max_value=2_048), share=st.floats(0, 1))
def test_two_neighbours_would_not_fit_into_one(lengths: list[int], budget: int, share: float) -> None:
    batches = plan(lengths, max_padded_tokens=budget, max_padding_share=share)
    for left, right in pairwise(batches):
        rows = [lengths[index] for index in left] + [lengths[right[0]]]
        padded = len(rows) * max(rows)
        assert padded > budget or padded - sum(rows) > padded * share


def test_equal_lengths_fill_the_budget() -> None:
    batches = plan([32] * 64, max_padded_tokens=1_024, max_padding_share=0.0)
    assert [len(batch) for batch in batches] == [32, 32]


def test_sorting_saves_most_of_the_padding() -> None:
    lengths = [8, 300, 12, 256, 9, 280, 11, 290] * 16
    batches = plan(lengths, max_padded_tokens=1_024, max_padding_share=0.05)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded <= sum(lengths) * 1.05
