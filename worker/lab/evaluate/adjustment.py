"""Fitting the logit adjustments of heads that classify texts.

A head that learns each label by itself gives the largest score to the label that is right most often, which
in GoEmotions is "neutral". `fit` makes the strongest label the most probable one for a text that is as likely
to come from each of the sets it is fitted on, however many rows they have.

A head that warns, and learnt from texts most of which are calm, misses much. `headroom` finds how much
earlier it may warn without too many false alarms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from worker.lab.evaluate.metrics import Bools, Floats

PENALTY = 0.01
"""How much a large adjustment costs: this times half the sum of squares. Without it a label of few rows could
get any number."""

_STEPS, _STILL = 100, 1e-7


class Rows(NamedTuple):
    """One set: logits after the temperature and gold, (rows, labels) both."""

    logits: Floats
    gold: Bools


def fit(sets: Sequence[Rows]) -> Floats:
    """Return the adjustment (labels,) with which a softmax over the lowered logits fits the sets best.

    It minimises -log of the probability that the gold labels of a row have together, as the mean over the
    rows of a set and then over the sets, plus the penalty. Rows without a gold label are left out.

    Raises:
        ValueError: no row has a gold label.
    """
    sets = [
        Rows(each.logits[used], each.gold[used]) for each in sets if (used := each.gold.any(axis=1)).any()
    ]
    if not sets:
        raise ValueError("no row has a gold label")
    logits = np.concatenate([each.logits for each in sets])
    gold = np.concatenate([each.gold for each in sets])
    weights = np.concatenate([np.full(len(each.gold), 1 / len(each.gold) / len(sets)) for each in sets])
    found = np.zeros(logits.shape[1])
    loss, probable = _loss(logits, gold, weights, found)
    for _ in range(_STEPS):
        right = np.where(gold, probable, 0.0)
        right /= right.sum(axis=1, keepdims=True)
        slope = weights @ (right - probable) + PENALTY * found
        # The curvature of the convex part, which is no less than that of the whole.
        curve = np.diag(weights @ probable + PENALTY) - (probable * weights[:, None]).T @ probable
        step = np.linalg.solve(curve, slope)
        while True:
            better, then = _loss(logits, gold, weights, found - step)
            if better <= loss or np.abs(step).max() < _STILL:
                break
            step /= 2
        found, loss, probable = found - step, better, then
        if np.abs(step).max() < _STILL:
            break
    return np.round(found, 3)


def headroom(margins: Sequence[Floats], most: float) -> float:
    """Return by how much the logit of a warning can be raised, 0 or more, rounded down to hundredths.

    `margins` holds, for each set of texts that deserve no warning, the warning's logit less the other one,
    (rows,). After raising, at most the share `most` of each set gets a warning. If a set has more already,
    the answer is 0: what warns without being raised goes on doing so.

    Raises:
        ValueError: a set without rows, or no set.
    """
    room = []
    for margin in margins:
        if not len(margin):
            raise ValueError("a set has no rows")
        # The largest margin that must stay below 0: as many rows as `most` allows lie above it.
        room.append(-float(np.sort(margin)[::-1][min(int(most * len(margin)), len(margin) - 1)]))
    return max(0.0, float(np.floor(min(room) * 100) / 100))


def _loss(logits: Floats, gold: Bools, weights: Floats, adjustment: Floats) -> tuple[float, Floats]:
    """Return what is minimised, and the probabilities (rows, labels)."""
    lowered = logits - adjustment
    powers = np.exp(lowered - lowered.max(axis=1, keepdims=True))
    probable = np.maximum(powers / powers.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    together = np.where(gold, probable, 0.0).sum(axis=1)
    return float(-weights @ np.log(together) + PENALTY * (adjustment @ adjustment) / 2), probable
