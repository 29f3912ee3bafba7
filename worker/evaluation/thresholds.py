"""One threshold a label, chosen for the label's F1. Only numpy is needed."""

import numpy as np

from worker.evaluation.metrics import Bools, Floats

GRID = np.round(np.arange(0.05, 0.951, 0.01), 2)
"""The thresholds to choose from: fine enough for a figure, coarse enough to mean something on a few rows."""

_NO_CASES = 0.5


def tune(scores: Floats, gold: Bools) -> Floats:
    """Return each label's threshold with the best F1, (labels,); `scores` and `gold` are (rows, labels).

    Of equally good ones the middle is taken. A label without a single case gets 0.5.
    """
    chosen = np.full(scores.shape[1], _NO_CASES)
    for label in range(scores.shape[1]):
        wanted = gold[:, label]
        if not wanted.any():
            continue
        given = scores[:, label, None] >= GRID
        both = (given & wanted[:, None]).sum(axis=0)
        f1 = 2 * both / np.maximum(1, given.sum(axis=0) + wanted.sum())
        best = np.flatnonzero(f1 == f1.max())
        chosen[label] = GRID[best[len(best) // 2]]
    return chosen


def cross_fitted(scores: Floats, gold: Bools, folds: int = 5, seed: int = 1) -> Bools:
    """Return decisions (rows, labels), each row's by thresholds that were tuned on the other folds.

    Tuning and reporting on the same rows flatters: the thresholds fit those rows' chance. Here no row takes
    part in the choice of the thresholds that judge it.
    """
    fold = np.random.default_rng(seed).permutation(len(scores)) % folds
    decisions = np.zeros(scores.shape, dtype=np.bool_)
    for number in range(folds):
        held = fold == number
        if held.any():
            decisions[held] = scores[held] >= tune(scores[~held], gold[~held])
    return decisions
