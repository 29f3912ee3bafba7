"""Marked characters against gold ones, as SemEval-2021 task 5 counts them.

Pavlopoulos et al. 2021, "SemEval-2021 Task 5: Toxic Spans Detection".
"""

from collections.abc import Iterable, Sequence

import numpy as np

from worker.classify.spans import joined
from worker.classify.token_head import reaching
from worker.evaluation.metrics import Floats
from worker.types import Range


def characters(ranges: Iterable[Sequence[int]]) -> frozenset[int]:
    """Return the places of all characters in half-open ranges."""
    return frozenset(place for start, end in ranges for place in range(start, end))


def post_f1(gold: frozenset[int], marked: frozenset[int]) -> float:
    """Return one post's F1 over character places.

    With nothing to mark it is 1 where nothing is marked, else 0.
    """
    if not gold:
        return 0.0 if marked else 1.0
    return 2 * len(gold & marked) / (len(gold) + len(marked))


def span_f1(gold: Sequence[frozenset[int]], marked: Sequence[frozenset[int]]) -> Floats:
    """Return each post's F1, (posts,): the task's figure is their mean."""
    return np.array([post_f1(wanted, given) for wanted, given in zip(gold, marked, strict=True)])


def marked_ranges(
    text: str, ranges: Sequence[Range], scores: Floats, threshold: float, relative: float = 0.0
) -> tuple[Range, ...]:
    """Return what the marked tokens cover, chosen and joined as the service does it.

    `ranges` are the tokens' own places in `text`, in order; empty for those that stand for nothing.
    """
    shown = np.array([start < end for start, end in ranges], dtype=np.bool_)
    chosen = reaching(np.where(shown, scores, 0.0), threshold, relative) & shown
    return joined(text, (ranges[number] for number in np.flatnonzero(chosen).tolist()))
