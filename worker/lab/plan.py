"""Which rows go into which batch, and in what order: pure functions of the lengths and the seed."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Schedule:
    """A linear rise, then a linear fall to 0.

    `seconds` above 0 limits the time: the progress of a run is then that of its steps or of its time,
    whichever is further, so that the rate reaches 0 at the end however slow the machine is.
    """

    steps: int
    warm_up: float
    seconds: float = 0.0

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return the share of the run that is done before step `step` (from 0); 1 or more ends it."""
        by_time = elapsed_s / self.seconds if self.seconds else 0.0
        return max(step / self.steps, by_time)

    def factor(self, progress: float) -> float:
        """Return the factor for the highest rate, 0 to 1."""
        if progress < self.warm_up:
            return max(progress, 0.5 / self.steps) / self.warm_up
        return max(0.0, (1.0 - progress) / (1.0 - self.warm_up))


class Step(NamedTuple):
    """One batch: the task's index in the recipe, and the indices of its rows."""

    task: int
    rows: tuple[int, ...]


def batches(lengths: Sequence[int], max_padded_tokens: int, rng: random.Random) -> list[tuple[int, ...]]:
    """Divide one pass over the rows into batches of similar length, in random order.

    A batch, padded to its longest text, has at most `max_padded_tokens` (a longer text gets its own batch).
    """
    order = list(range(len(lengths)))
    rng.shuffle(order)  # the sort is stable, so this decides which texts of equal length share a batch
    order.sort(key=lengths.__getitem__)
    cut: list[tuple[int, ...]] = []
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) + 1) * lengths[row] > max_padded_tokens:
            cut.append(tuple(batch))
            batch = []
        batch.append(row)
    if batch:
        cut.append(tuple(batch))
    rng.shuffle(cut)
    return cut


def task_batches(
    lengths: Sequence[int], epochs: float, max_padded_tokens: int, rng: random.Random
) -> list[tuple[int, ...]]:
    """Return the batches of `epochs` passes; the rows of a partial pass are drawn at random."""
    cut: list[tuple[int, ...]] = []
    for number in range(math.ceil(epochs)):
        share = min(1.0, epochs - number)
        rows = list(range(len(lengths)))
        if share < 1:
            rows = rng.sample(rows, max(1, round(share * len(rows))))
        part = batches([lengths[row] for row in rows], max_padded_tokens, rng)
        cut.extend(tuple(rows[index] for index in batch) for batch in part)
    return cut


def plan(
    lengths: Sequence[Sequence[int]], epochs: Sequence[float], max_padded_tokens: int, seed: int
) -> list[Step]:
    """Return the steps of the whole run. Every task is spread evenly over it, whatever its size and passes.

    The k-th of a task's n batches is at a random place between k/n and (k+1)/n of the run, so a task's passes
    stay in order and no long stretch of the run is without it.
    """
    placed: list[tuple[float, Step]] = []
    for task, (task_lengths, passes) in enumerate(zip(lengths, epochs, strict=True)):
        rng = random.Random(f"{seed}/{task}")  # noqa: S311 - the order of training rows is no secret
        cut = task_batches(task_lengths, passes, max_padded_tokens, rng)
        placed.extend(
            ((number + rng.random()) / len(cut), Step(task, rows)) for number, rows in enumerate(cut)
        )
    placed.sort(key=lambda pair: pair[0])
    return [step for _, step in placed]
