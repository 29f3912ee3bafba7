"""From which probability a text is marked, and which of its tokens: chosen for span F1."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from worker.evaluation.metrics import Bools, Floats
from worker.evaluation.score import TokenScores
from worker.evaluation.spans import characters, marked_ranges, post_f1

THRESHOLDS = tuple(round(0.1 + 0.05 * number, 2) for number in range(17))
"""Probabilities that a text's strongest token must reach, to choose from: 0.1 to 0.9."""

SHARES = tuple(round(0.3 + 0.05 * number, 2) for number in range(13))
"""Shares of the strongest token's probability from which a token is marked, to choose from: 0.3 to 0.9."""

CUTS = tuple(product(THRESHOLDS, SHARES))

SLACK = 0.003
"""How much of the mean F1 a higher threshold may cost. The posts to choose by are nearly all toxic: they do
not show what a low threshold marks in ordinary texts, so of like ones the highest is taken."""


def f1_by_cut(
    texts: Sequence[str], tokens: Sequence[TokenScores], gold: Sequence[frozenset[int]], asked: Bools
) -> Floats:
    """Return each post's F1 with each pair of threshold and share in CUTS, (posts, cuts).

    Posts that are not `asked`, since the gate keeps the head from them, have no marks.
    """
    rows = zip(texts, tokens, gold, asked, strict=True)
    return np.array(
        [_one_post(text, each, wanted) if ask else _unmarked(wanted) for text, each, wanted, ask in rows]
    )


def _one_post(text: str, tokens: TokenScores, gold: frozenset[int]) -> list[float]:
    """Return one post's F1 with each of CUTS; what a share marks does not hang on the threshold."""
    shown = [score for score, (start, end) in zip(tokens.scores, tokens.ranges, strict=True) if start < end]
    strongest = max(shown, default=0.0)
    by_share = [
        post_f1(gold, characters(marked_ranges(text, tokens.ranges, tokens.scores, 0.0, share)))
        for share in SHARES
    ]
    without = post_f1(gold, frozenset())
    return [found if strongest >= threshold else without for threshold in THRESHOLDS for found in by_share]


def _unmarked(gold: frozenset[int]) -> list[float]:
    return [post_f1(gold, frozenset())] * len(CUTS)


def best(figures: Floats) -> int:
    """Return the number of the pair in CUTS to take, by the mean of `figures` (posts, cuts).

    It is the highest threshold that costs no more than SLACK, with its best share; of equally good shares the
    middle one.
    """
    means = figures.mean(axis=0).reshape(len(THRESHOLDS), len(SHARES))
    threshold = int(np.flatnonzero(means.max(axis=1) >= means.max() - SLACK)[-1])
    shares = np.flatnonzero(means[threshold] == means[threshold].max())
    return threshold * len(SHARES) + int(shares[len(shares) // 2])


def cross_fitted(figures: Floats, folds: int = 5, seed: int = 1) -> Floats:
    """Return each post's F1 (posts,) with the pair that is best for the other folds."""
    fold = np.random.default_rng(seed).permutation(len(figures)) % folds
    chosen = np.zeros(len(figures))
    for number in range(folds):
        held = fold == number
        if held.any():
            chosen[held] = figures[held, best(figures[~held])]
    return chosen
