"""Measuring a model on every set that fits it."""

from collections.abc import Callable, Iterable, Sequence

from worker.lab.evaluate.examples import Examples
from worker.lab.evaluate.measure import Thresholds, measure
from worker.lab.evaluate.result import Result
from worker.lab.evaluate.score import Scorer


def evaluate(
    scorer: Scorer,
    sets: Iterable[Examples],
    thresholds: Thresholds = "auto",
    say: Callable[[str], None] = lambda _line: None,
) -> list[Result]:
    """Measure a model on sets that fit it (`examples.fitting` finds them)."""
    results = []
    for examples in sets:
        say(f"{scorer.title}: {examples.title}, {len(examples):,} rows")
        results.append(measure(scorer, examples, thresholds))
    return results


def as_json(results: Sequence[Result]) -> list[dict[str, object]]:
    """Return results as JSON values."""
    return [result.as_json() for result in results]
