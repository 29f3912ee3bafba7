"""Figures from decisions and gold labels, each with a bootstrap interval. Only numpy is needed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, 0 to 1, with its 95 % interval."""

    value: float
    low: float
    high: float


def confusion(gold: Ints, chosen: Ints, classes: int, weights: Floats | None = None) -> Floats:
    """Return counts (classes, classes): gold down, chosen across. `weights`: how often each row counts."""
    flat = np.bincount(gold * classes + chosen, weights=weights, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide; nothing of nothing is 0, as scikit-learn has it."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def single_label(gold: Ints, chosen: Ints, classes: int, weights: Floats | None = None) -> dict[str, float]:
    """Return accuracy, macro-F1 and macro-recall over `classes` classes; `gold` and `chosen` are (rows,)."""
    table = confusion(gold, chosen, classes, weights)
    right = np.diag(table).copy()
    return {
        "accuracy": float(right.sum() / table.sum()),
        "macro_f1": float(_share(2 * right, table.sum(axis=0) + table.sum(axis=1)).mean()),
        "macro_recall": float(_share(right, table.sum(axis=1)).mean()),
    }


def multi_label(gold: Bools, chosen: Bools, weights: Floats | None = None) -> dict[str, float]:
    """Return accuracy (a row's labels all right), macro- and micro-F1, macro-recall; (rows, labels) both."""
    each = np.ones(len(gold)) if weights is None else weights
    both, wanted, given = (each @ table.astype(np.float64) for table in (gold & chosen, gold, chosen))
    return {
        "accuracy": float(each @ (gold == chosen).all(axis=1) / each.sum()),
        "macro_f1": float(_share(2 * both, wanted + given).mean()),
        "micro_f1": float(2 * both.sum() / max(1.0, wanted.sum() + given.sum())),
        "macro_recall": float(_share(both, wanted).mean()),
    }


def with_intervals(
    measure: Callable[[Floats], dict[str, float]], rows: int, draws: int = 1_000, seed: int = 1
) -> dict[str, Figure]:
    """Return `measure`'s figures, each with a 95 % percentile interval (Efron 1979) from `draws` resamples.

    `measure` takes a weight a row: ones for the figure itself, how often the row was drawn for a resample.
    """
    values = measure(np.ones(rows))
    rng = np.random.default_rng(seed)
    drawn = [measure(rng.multinomial(rows, np.full(rows, 1 / rows)).astype(np.float64)) for _ in range(draws)]
    return {
        name: Figure(value, *(float(edge) for edge in np.quantile([d[name] for d in drawn], (0.025, 0.975))))
        for name, value in values.items()
    }
