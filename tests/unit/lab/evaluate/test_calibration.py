"""Calibration errors against values computed by hand, and recovering a known temperature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.lab.evaluate.calibration import (
    chance_error,
    cross_fitted_scores,
    equal_mass,
    equal_width,
    fit_temperature,
    losses,
    reliability,
    stated,
    to_logits,
    to_scores,
)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.6, 0.6])
    right = np.array([True, True, True, False, True, False])
    # Two bins: 0.95 against 3/4 in four rows, 0.6 against 1/2 in two.
    assert reliability(confidence, right).error == pytest.approx((4 * 0.20 + 2 * 0.10) / 6)


def test_the_upper_edge_belongs_to_a_bin() -> None:
    assert equal_width(np.array([0.0, 1 / 15, 0.0667, 1.0])).tolist() == [0, 0, 1, 14]


def test_bins_of_equal_mass_hold_as_many_rows_each() -> None:
    confidence = np.random.default_rng(2).random(1_500) ** 3
    assert set(np.bincount(equal_mass(confidence))) == {100}


def test_stated_probabilities_of_either_kind() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    confidence, right = stated(scores, np.array([0, 1]))
    assert confidence.tolist() == [0.7, 0.6]
    assert right.tolist() == [True, False]
    table = np.array([[True, False, False], [False, True, True]])
    confidence, right = stated(scores, table)
    assert confidence.tolist() == scores.ravel().tolist()
    assert right.tolist() == table.ravel().tolist()


def test_losses_by_hand() -> None:
    scores = np.array([[0.7, 0.2, 0.1]])
    likely, brier = losses(scores, np.array([1]))
    assert likely[0] == pytest.approx(-np.log(0.2))
    assert brier[0] == pytest.approx(0.49 + 0.64 + 0.01)
    likely, brier = losses(scores, np.array([[True, False, False]]))
    assert likely[0] == pytest.approx(-(np.log(0.7) + np.log(0.8) + np.log(0.9)) / 3)
    assert brier[0] == pytest.approx((0.09 + 0.04 + 0.01) / 3)


@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3), st.floats(0.2, 5), st.booleans())
def test_logits_and_scores_go_both_ways(row: list[float], temperature: float, multi_label: bool) -> None:
    logits = np.array([row])
    scores = to_scores(logits, temperature, multi_label=multi_label)
    again = to_scores(to_logits(scores, multi_label=multi_label), multi_label=multi_label)
    assert again == pytest.approx(scores, abs=1e-9)
    if not multi_label:
        assert scores.sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_temperature_that_was_put_in_is_found(temperature: float, multi_label: bool) -> None:
    rng = np.random.default_rng(4)
    honest = rng.normal(size=(20_000, 3)) * 2
    scores = to_scores(honest, multi_label=multi_label)
    draw = rng.random(scores.shape)
    gold = draw < scores if multi_label else (draw[:, :1] > scores.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(honest * temperature, gold) == pytest.approx(temperature, rel=0.05)


def test_a_temperature_lowers_the_error_on_rows_it_has_not_seen() -> None:
    rng = np.random.default_rng(5)
    honest = rng.normal(size=(4_000, 3)) * 1.5
    gold = (rng.random((4_000, 1)) > to_scores(honest, multi_label=False).cumsum(axis=1)).sum(axis=1)
    loud = honest * 3
    before = reliability(*stated(to_scores(loud, multi_label=False), gold)).error
    after_scores = cross_fitted_scores(loud, gold)
    after = reliability(*stated(after_scores, gold)).error
    assert before > 0.15
    assert after < 0.03
    # Chance alone explains what is left.
    assert after < 2 * chance_error(after_scores.max(axis=1))


def test_cross_fitting_uses_no_row_for_its_own_temperature() -> None:
    rng = np.random.default_rng(6)
    logits, gold = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    base = cross_fitted_scores(logits, gold)
    changed = gold.copy()
    changed[7] = (changed[7] + 1) % 3
    again = cross_fitted_scores(logits, changed)
    assert again[7] == pytest.approx(base[7], abs=1e-12)
    assert not np.allclose(again, base)


@pytest.mark.parametrize(
    ("logits", "gold"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=np.int64)),
        (np.zeros((2, 3)), np.zeros(3, dtype=np.int64)),
        (np.zeros((2, 3)), np.zeros((2, 2), dtype=bool)),
        (np.array([[0.0, np.nan]]), np.zeros(1, dtype=np.int64)),
    ],
)
def test_nonsense_is_refused(logits: np.ndarray, gold: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"logit"):
        fit_temperature(logits, gold)
