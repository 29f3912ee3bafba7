"""Span F1 on worked examples of its definition, AUROC against all pairs, and shifted intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.lab.evaluate.metrics import Figure, auroc, difference, label_f1, single_label, with_intervals
from worker.lab.evaluate.score import TokenScores
from worker.lab.evaluate.spans import (
    CUTS,
    best,
    characters,
    cross_fitted,
    f1_by_cut,
    marked_ranges,
    post_f1,
    span_f1,
)


@pytest.mark.parametrize(
    ("gold", "marked", "f1"),
    [
        ([], [], 1.0),
        ([], [(0, 1)], 0.0),
        ([(0, 4)], [], 0.0),
        ([(0, 4)], [(0, 4)], 1.0),
        ([(0, 4)], [(2, 6)], 0.5),
        ([(0, 2), (6, 8)], [(0, 2)], 2 / 3),
        ([(0, 3)], [(0, 2), (1, 3)], 1.0),  # ranges that overlap mark a character once
    ],
)
def test_one_post(gold: list[tuple[int, int]], marked: list[tuple[int, int]], f1: float) -> None:
    assert post_f1(characters(gold), characters(marked)) == pytest.approx(f1)


def test_posts_count_alike_however_long() -> None:
    gold = [characters([(0, 100)]), characters([(0, 2)])]
    assert span_f1(gold, [characters([(0, 100)]), frozenset()]).mean() == 0.5


_ROWS = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25)


@given(_ROWS)
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = (np.array(column) for column in zip(*rows, strict=True))
    wins = pairs = 0.0
    for score, kind, weight in rows:
        for other, other_kind, other_weight in rows:
            if kind and not other_kind:
                pairs += weight * other_weight
                wins += weight * other_weight * (1.0 if score > other else 0.5 if score == other else 0.0)
    expected = wins / pairs if pairs else 0.5
    assert auroc(scores / 5, positive)(weights.astype(float)) == pytest.approx(expected)


def test_label_f1_by_hand() -> None:
    gold = np.array([[1, 0], [1, 1], [0, 0]], dtype=bool)
    chosen = np.array([[1, 0], [0, 1], [0, 1]], dtype=bool)
    assert label_f1(gold, chosen) == pytest.approx([2 / 3, 2 / 3])


def test_the_interval_of_a_biased_figure_surrounds_it() -> None:
    values = np.random.default_rng(1).normal(size=400)

    def distance(weights: np.ndarray) -> dict[str, float]:
        # |mean| of noise: on average, resamples are farther from 0 than they should be
        return {"distance": abs(float(weights @ values / weights.sum()))}

    plain = with_intervals(distance, 400)["distance"]
    moved = with_intervals(distance, 400, biased={"distance"})["distance"]
    assert moved.value == plain.value
    assert moved.high <= plain.high
    assert 0 <= moved.low <= moved.value <= moved.high


def _figures(posts: int, means: dict[tuple[float, float], float]) -> np.ndarray:
    figures = np.zeros((posts, len(CUTS)))
    for cut, mean in means.items():
        figures[:, CUTS.index(cut)] = mean
    return figures


def test_span_thresholds_are_cross_fitted_on_other_posts() -> None:
    # The first pair is right for all posts but one, the second for that one alone.
    first, second = (0.2, 0.5), (0.6, 0.7)
    figures = _figures(50, {first: 1.0})
    figures[7, CUTS.index(first)], figures[7, CUTS.index(second)] = 0.0, 1.0
    assert CUTS[best(figures)] == first
    chosen = cross_fitted(figures)
    assert chosen[7] == 0  # by its own post the second would be chosen
    assert chosen.sum() == 49


def test_of_like_thresholds_the_highest_is_taken_and_of_equal_shares_the_middle_one() -> None:
    means = {(0.2, 0.5): 0.70, (0.4, 0.6): 0.699, (0.4, 0.65): 0.699, (0.4, 0.7): 0.699, (0.5, 0.6): 0.69}
    assert CUTS[best(_figures(4, means))] == (0.4, 0.65)


def test_f1_by_cut_is_that_of_the_marks_which_the_service_would_make() -> None:
    texts = ["you utter fool", "good day"]
    tokens = [
        TokenScores(np.array([0.9, 0.1, 0.3, 0.5, 0.0]), [(0, 0), (0, 3), (4, 9), (10, 14), (0, 0)]),
        TokenScores(np.array([0.0, 0.2, 0.1, 0.0]), [(0, 0), (0, 4), (5, 8), (0, 0)]),
    ]
    gold = [frozenset(range(4, 14)), frozenset[int]()]
    found = f1_by_cut(texts, tokens, gold, np.array([True, True]))
    for number, (threshold, share) in enumerate(CUTS):
        marked = [
            characters(marked_ranges(text, each.ranges, each.scores, threshold, share))
            for text, each in zip(texts, tokens, strict=True)
        ]
        assert found[:, number].tolist() == span_f1(gold, marked).tolist()
    assert CUTS[best(found)] == (0.5, 0.45)  # both words, and nothing in the second post
    shut = f1_by_cut(texts, tokens, gold, np.array([False, False]))
    assert (shut == [[0.0], [1.0]]).all()


def test_a_small_difference_is_certain_where_both_err_on_the_same_rows() -> None:
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 2, 2_000)
    worse = np.where(rng.random(2_000) < 0.3, 1 - gold, gold)
    better = worse.copy()
    better[np.flatnonzero(worse != gold)[:30]] = gold[np.flatnonzero(worse != gold)[:30]]

    def accuracy(chosen: np.ndarray) -> Figure:
        return with_intervals(lambda weights: single_label(gold, chosen, 2, weights), 2_000)["accuracy"]

    low, high = accuracy(worse), accuracy(better)
    assert low.high > high.low  # the intervals overlap
    found = difference(low, high)
    assert found is not None
    assert found.value == pytest.approx(0.015)
    assert 0.009 < found.low < found.value < found.high < 0.022
    assert difference(low, with_intervals(lambda w: {"x": 1.0}, 5, draws=3)["x"]) is None
