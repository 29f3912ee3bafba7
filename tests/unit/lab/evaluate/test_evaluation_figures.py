"""Figures, intervals and thresholds against values computed by hand or by a plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.lab.evaluate.metrics import multi_label, single_label, with_intervals
from worker.lab.evaluate.thresholds import GRID, cross_fitted, tune


def test_single_label_figures_by_hand() -> None:
    gold = np.array([0, 0, 0, 1, 1, 2])
    chosen = np.array([0, 0, 1, 1, 2, 2])
    figures = single_label(gold, chosen, 3)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["macro_recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    # F1: 2·2/(3+2), 2·1/(2+2), 2·1/(1+2)
    assert figures["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_multi_label_figures_by_hand() -> None:
    gold = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    chosen = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
    figures = multi_label(gold, chosen)
    assert figures["accuracy"] == pytest.approx(2 / 4)
    # The third label has no case: its F1 and recall are 0 and are included in the mean.
    assert figures["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert figures["micro_f1"] == pytest.approx(2 * 3 / (4 + 4))
    assert figures["macro_recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=30))
def test_a_weight_is_as_many_copies_of_a_row(rows: list[tuple[int, int, int]]) -> None:
    gold, chosen, weights = (np.array(column) for column in zip(*rows, strict=True))
    if not weights.sum():
        return
    weighted = single_label(gold, chosen, 3, weights.astype(float))
    copied = single_label(gold.repeat(weights), chosen.repeat(weights), 3)
    assert weighted == pytest.approx(copied)


def test_an_interval_holds_the_figure_and_narrows_with_rows() -> None:
    def width(rows: int) -> float:
        gold = np.zeros(rows, dtype=np.int64)
        chosen = (np.arange(rows) % 5 == 0).astype(np.int64)  # one in five is wrong
        figure = with_intervals(lambda w: single_label(gold, chosen, 2, w), rows, draws=300)["accuracy"]
        assert figure.value == pytest.approx(0.8)
        assert figure.low < 0.8 < figure.high
        return figure.high - figure.low

    few, many = width(100), width(10_000)
    # The spread of a share is √(p·q/n): 1.96 · 2 · 0.04 at 100 rows, a tenth of it at 10,000.
    assert few == pytest.approx(0.157, rel=0.2)
    assert many == pytest.approx(0.0157, rel=0.2)


def test_a_threshold_separates_what_can_be_separated() -> None:
    scores = np.array([[0.1], [0.2], [0.6], [0.9]])
    gold = np.array([[False], [False], [True], [True]])
    assert 0.2 < tune(scores, gold)[0] <= 0.6


def test_a_threshold_is_the_best_of_the_grid_for_f1() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random((200, 4))
    gold = rng.random((200, 4)) < scores * 0.6
    chosen = tune(scores, gold)
    for label in range(4):

        def f1(threshold: float, label: int = label) -> float:
            given_, wanted = scores[:, label] >= threshold, gold[:, label]
            return float(2 * (given_ & wanted).sum() / (given_.sum() + wanted.sum()))

        assert f1(chosen[label]) == pytest.approx(max(f1(threshold) for threshold in GRID))


def test_a_label_without_cases_gets_the_middle() -> None:
    assert tune(np.array([[0.1], [0.9]]), np.zeros((2, 1), dtype=bool))[0] == 0.5


def test_cross_fitting_does_not_flatter_scores_that_know_nothing() -> None:
    rng = np.random.default_rng(1)
    scores, gold = rng.random((300, 20)), rng.random((300, 20)) < 0.05
    same = multi_label(gold, scores >= tune(scores, gold))["macro_f1"]
    crossed = multi_label(gold, cross_fitted(scores, gold))["macro_f1"]
    assert crossed < same
    # Chance level: giving every label always has an F1 of 2 · 0.05 / 1.05.
    assert crossed < 0.11


def test_a_cross_fitted_figure_hangs_little_on_how_the_folds_fell() -> None:
    """Labels with ten cases in 400 rows: with repeats the mean F1 depends less on the split."""
    rng = np.random.default_rng(7)
    gold = rng.permuted(np.tile(np.arange(400)[:, None] < 10, 8), axis=0)
    scores = np.clip(rng.normal(np.where(gold, 0.55, 0.2), 0.15), 0, 1)

    def spread(repeats: int) -> float:
        figures = [
            multi_label(gold, cross_fitted(scores, gold, repeats=repeats, seed=seed))["macro_f1"]
            for seed in range(12)
        ]
        return float(np.std(figures))

    assert spread(10) < 0.7 * spread(1)


def test_no_row_is_judged_by_a_threshold_that_it_helped_to_choose() -> None:
    """With a single case the other folds have none, so the threshold is the middle wherever the case is."""
    scores, gold = np.full((20, 1), 0.4), np.zeros((20, 1), dtype=bool)
    gold[3] = True
    decisions = cross_fitted(scores, gold)
    assert not decisions[3]
    assert decisions.sum() == 19  # their own threshold lies below 0.4: all or nothing finds the case
