"""The probability from which a token is marked, chosen for span F1."""

from collections.abc import Sequence

import numpy as np

from worker.evaluation.metrics import Bools, Floats
from worker.evaluation.score import TokenScores
from worker.evaluation.spans import characters, marked_ranges, span_f1

GRID = np.round(np.arange(0.1, 0.901, 0.02), 2)
"""The thresholds to choose from."""


def f1_by_threshold(
    texts: Sequence[str], tokens: Sequence[TokenScores], gold: Sequence[frozenset[int]], asked: Bools
) -> Floats:
    """Return each post's F1 at each threshold of GRID, (posts, thresholds).

    Posts that are not `asked`, since the gate keeps the head from them, have no marks.
    """
    columns = []
    for threshold in GRID:
        marked = [
            characters(marked_ranges(text, each.ranges, each.scores, threshold)) if ask else frozenset[int]()
            for text, each, ask in zip(texts, tokens, asked, strict=True)
        ]
        columns.append(span_f1(gold, marked))
    return np.stack(columns, axis=1)


def best(figures: Floats) -> int:
    """Return the number of the threshold with the best mean of `figures` (posts, thresholds).

    Of equally good ones the middle is taken.
    """
    means = figures.mean(axis=0)
    found = np.flatnonzero(means == means.max())
    return int(found[len(found) // 2])


def cross_fitted(figures: Floats, folds: int = 5, seed: int = 1) -> Floats:
    """Return each post's F1 (posts,) at the threshold that is best for the other folds."""
    fold = np.random.default_rng(seed).permutation(len(figures)) % folds
    chosen = np.zeros(len(figures))
    for number in range(folds):
        held = fold == number
        if held.any():
            chosen[held] = figures[held, best(figures[~held])]
    return chosen
