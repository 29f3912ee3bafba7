"""Figures from decisions and gold labels, each with a bootstrap interval.

Every figure takes a weight for each row, how often the row counts, so a resample is just a vector of counts.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

Measure = Callable[[Floats], dict[str, float]]
"""Computes figures by name from the rows' weights, (rows,)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its 95 % interval. All but `nll` and `brier` lie between 0 and 1.

    `drawn` are its values on the resamples: the same rows for every model that is measured on a set.
    """

    value: float
    low: float
    high: float
    drawn: Floats | None = field(default=None, repr=False, compare=False)


def confusion(gold: Ints, chosen: Ints, classes: int, weights: Floats | None = None) -> Floats:
    """Return counts (classes, classes): gold down, chosen across. `weights`: how often each row counts."""
    flat = np.bincount(gold * classes + chosen, weights=weights, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide, with 0 / 0 = 0 as in scikit-learn."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def single_label(gold: Ints, chosen: Ints, classes: int, weights: Floats | None = None) -> dict[str, float]:
    """Return accuracy, macro- and micro-F1 and macro-recall over `classes`; `gold`, `chosen` are (rows,).

    Each row has one label and gets one, so micro-F1 is the accuracy under another name.
    """
    table = confusion(gold, chosen, classes, weights)
    right = np.diag(table).copy()
    accuracy = float(right.sum() / table.sum())
    return {
        "accuracy": accuracy,
        "macro_f1": float(_share(2 * right, table.sum(axis=0) + table.sum(axis=1)).mean()),
        "micro_f1": accuracy,
        "macro_recall": float(_share(right, table.sum(axis=1)).mean()),
    }


def multi_label(gold: Bools, chosen: Bools, weights: Floats | None = None) -> dict[str, float]:
    """Return accuracy (a row's labels all right), macro- and micro-F1, macro-recall; (rows, labels) both."""
    each = np.ones(len(gold)) if weights is None else weights
    both, wanted, given = _counts(gold, chosen, each)
    return {
        "accuracy": float(each @ (gold == chosen).all(axis=1) / each.sum()),
        "macro_f1": float(_share(2 * both, wanted + given).mean()),
        "micro_f1": float(2 * both.sum() / max(1.0, wanted.sum() + given.sum())),
        "macro_recall": float(_share(both, wanted).mean()),
    }


def label_f1(gold: Bools, chosen: Bools, weights: Floats | None = None) -> Floats:
    """Return each label's F1, (labels,); `gold` and `chosen` are (rows, labels)."""
    both, wanted, given = _counts(gold, chosen, np.ones(len(gold)) if weights is None else weights)
    return _share(2 * both, wanted + given)


def _counts(gold: Bools, chosen: Bools, each: Floats) -> tuple[Floats, Floats, Floats]:
    """Return how often each label is right, is in the gold, and is given: (labels,) each."""
    both, wanted, given = (each @ table.astype(np.float64) for table in (gold & chosen, gold, chosen))
    return both, wanted, given


def one_hot(classes: Ints, count: int) -> Bools:
    """Return class numbers (rows,) as a table (rows, count)."""
    return np.asarray(classes[:, None] == np.arange(count))


def auroc(scores: Floats, positive: Bools) -> Callable[[Floats], float]:
    """Return a function of row weights: the chance that a positive row scores above a negative one.

    Ties count half (Hanley and McNeil 1982). `scores` and `positive` are (rows,). Without a row of either
    kind, also in a resample, the figure is 0.5.
    """
    _, place = np.unique(scores, return_inverse=True)

    def measure(weights: Floats) -> float:
        high = np.bincount(place, weights * positive)
        low = np.bincount(place, weights * ~positive)
        pairs = high.sum() * low.sum()
        return float(high @ (np.cumsum(low) - low / 2) / pairs) if pairs else 0.5

    return measure


def with_intervals(
    measure: Measure, rows: int, draws: int = 1_000, seed: int = 1, biased: Collection[str] = ()
) -> dict[str, Figure]:
    """Return `measure`'s figures, each with a 95 % percentile interval (Efron 1979) from `draws` resamples.

    `measure` takes a weight a row: ones for the figure itself, how often the row was drawn for a resample.
    A figure named in `biased` is too large in resamples (such as a calibration error, since resampling adds
    noise): its interval is moved down by the mean excess, but not below 0.
    """
    values = measure(np.ones(rows))
    rng = np.random.default_rng(seed)
    drawn = [measure(rng.multinomial(rows, np.full(rows, 1 / rows)).astype(np.float64)) for _ in range(draws)]
    return {
        name: _figure(value, np.array([each[name] for each in drawn]), name in biased)
        for name, value in values.items()
    }


def _figure(value: float, drawn: Floats, biased: bool) -> Figure:
    low, high = (float(edge) for edge in np.quantile(drawn, (0.025, 0.975)))
    if biased:
        excess = float(drawn.mean()) - value
        low, high = max(0.0, low - excess), max(0.0, high - excess)
    return Figure(value, low, high, drawn)


def difference(before: Figure, after: Figure) -> Figure | None:
    """Return how much larger `after` is, with a 95 % interval over the paired resamples.

    Two models make mistakes on much the same rows, so their difference is known far better than either
    figure, even if the intervals overlap (paired bootstrap, Efron and Tibshirani 1993). None if the resamples
    are of different rows.
    """
    if before.drawn is None or after.drawn is None or before.drawn.shape != after.drawn.shape:
        return None
    drawn = after.drawn - before.drawn
    low, high = (float(edge) for edge in np.quantile(drawn, (0.025, 0.975)))
    return Figure(after.value - before.value, low, high, drawn)
