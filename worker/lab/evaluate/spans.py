"""Span F1, and choosing a token head's thresholds for it.

Marked characters are compared with gold ones as in SemEval-2021 task 5 (Pavlopoulos et al. 2021,
"SemEval-2021 Task 5: Toxic Spans Detection").
"""

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from worker.lab.evaluate.metrics import Bools, Floats
from worker.lab.evaluate.score import TokenScores
from worker.model.spans import joined, reaching
from worker.types import Range


def characters(ranges: Iterable[Sequence[int]]) -> frozenset[int]:
    """Return the positions of all characters in half-open ranges."""
    return frozenset(place for start, end in ranges for place in range(start, end))


def post_f1(gold: frozenset[int], marked: frozenset[int]) -> float:
    """Return one post's F1 over character positions.

    With nothing to mark it is 1 if nothing is marked, else 0.
    """
    if not gold:
        return 0.0 if marked else 1.0
    return 2 * len(gold & marked) / (len(gold) + len(marked))


def span_f1(gold: Sequence[frozenset[int]], marked: Sequence[frozenset[int]]) -> Floats:
    """Return each post's F1, (posts,); the task's figure is their mean."""
    return np.array([post_f1(wanted, given) for wanted, given in zip(gold, marked, strict=True)])


def marked_ranges(
    text: str, ranges: Sequence[Range], scores: Floats, threshold: float, relative: float = 0.0
) -> tuple[Range, ...]:
    """Return the ranges of the marked tokens, chosen and joined as in the service.

    `ranges` are the tokens' positions in `text`, in order; empty for special tokens.
    """
    shown = np.array([start < end for start, end in ranges], dtype=np.bool_)
    chosen = reaching(np.where(shown, scores, 0.0), threshold, relative) & shown
    return joined(text, (ranges[number] for number in np.flatnonzero(chosen).tolist()))


THRESHOLDS = tuple(round(0.1 + 0.05 * number, 2) for number in range(17))
"""Probabilities that a text's strongest token must reach, to choose from: 0.1 to 0.9."""

SHARES = tuple(round(0.3 + 0.05 * number, 2) for number in range(13))
"""Shares of the strongest token's probability from which a token is marked, to choose from: 0.3 to 0.9."""

CUTS = tuple(product(THRESHOLDS, SHARES))

SLACK = 0.003
"""How much mean F1 a higher threshold may cost. The posts used for choosing are nearly all toxic, so they do
not show what a low threshold marks in ordinary texts; among nearly equal ones the highest is taken."""


def f1_by_cut(
    texts: Sequence[str], tokens: Sequence[TokenScores], gold: Sequence[frozenset[int]], asked: Bools
) -> Floats:
    """Return each post's F1 with each pair of threshold and share in CUTS, (posts, cuts).

    Posts that are not `asked` (see `worker.heads.Marks`) have no marks.
    """
    rows = zip(texts, tokens, gold, asked, strict=True)
    return np.array(
        [_one_post(text, each, wanted) if ask else _unmarked(wanted) for text, each, wanted, ask in rows]
    )


def _one_post(text: str, tokens: TokenScores, gold: frozenset[int]) -> list[float]:
    """Return one post's F1 with each of CUTS; a share's marks do not depend on the threshold."""
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
    """Return the index of the pair in CUTS to use, by the mean of `figures` (posts, cuts).

    It is the highest threshold that costs no more than SLACK, with its best share, or the middle one of
    equally good shares.
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
