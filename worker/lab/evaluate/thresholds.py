"""Choosing each label's threshold for the best F1."""

import numpy as np

from worker.lab.evaluate.metrics import Bools, Floats, Ints

GRID = np.round(np.arange(0.02, 0.9801, 0.002), 3)
"""The thresholds to choose from. With steps of 0.01 the macro-F1 of one model on GoEmotions dev changed by
0.3 points when its scores were scaled by 6 per cent, only because the grid then fell between other scores."""

_NO_CASES = 0.5


def tune(scores: Floats, gold: Bools) -> Floats:
    """Return each label's threshold with the best F1, (labels,); `scores` and `gold` are (rows, labels).

    Of equally good ones the middle one is taken. A label without any case gets 0.5.
    """
    chosen = [_best(_reaching(scores[:, label]), _reaching(scores[gold[:, label], label]))
              for label in range(scores.shape[1])]  # fmt: skip
    found = np.array(chosen)
    return np.where(np.isnan(found), _NO_CASES, found)


def cross_fitted(scores: Floats, gold: Bools, folds: int = 5, repeats: int = 10, seed: int = 1) -> Bools:
    """Return decisions (rows, labels), each row's by thresholds that were tuned without it.

    Figures on the rows used for tuning are too good, since the thresholds fit those rows' noise. Here no row
    takes part in choosing the thresholds that judge it. The threshold of a rare label depends on a few rows,
    and with a single division into folds the figure depends on how they were divided; so each row is judged
    by the median of the thresholds tuned without it in `repeats` divisions.
    """
    divisions = [np.random.default_rng([seed, n]).permutation(len(scores)) % folds for n in range(repeats)]
    decisions = np.zeros(scores.shape, dtype=np.bool_)
    for label in range(scores.shape[1]):
        own, wanted = scores[:, label], gold[:, label]
        each = np.empty((repeats, len(scores)))
        for fold, chosen in zip(divisions, each, strict=True):
            chosen[:] = _tuned_without(fold, folds, own, wanted)[fold]
        none = np.isnan(each).all(axis=0)
        decisions[:, label] = own >= np.nanmedian(np.where(none, _NO_CASES, each), axis=0)
    return decisions


def _tuned_without(fold: Ints, folds: int, scores: Floats, gold: Bools) -> Floats:
    """Return a label's threshold tuned without each fold's rows, (folds,); NaN if no case is left."""
    given = np.stack([_reaching(scores[fold == number]) for number in range(folds)])
    both = np.stack([_reaching(scores[gold & (fold == number)]) for number in range(folds)])
    others = zip(given.sum(axis=0) - given, both.sum(axis=0) - both, strict=True)
    return np.array([_best(*counts) for counts in others])


def _reaching(scores: Floats) -> Ints:
    """Return the number of scores, followed by how many of them reach each threshold of the grid."""
    places = np.bincount(np.searchsorted(GRID, scores, side="right"), minlength=len(GRID) + 1)
    return np.asarray(places[::-1].cumsum()[::-1])


def _best(given: Ints, both: Ints) -> float:
    """Return the threshold with the best F1, from how many rows, and rows with the label, reach each."""
    if not both[0]:
        return np.nan
    f1 = 2 * both[1:] / (given[1:] + both[0])
    best = np.flatnonzero(f1 == f1.max())
    return float(GRID[best[len(best) // 2]])
