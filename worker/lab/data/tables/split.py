"""The held-out part of a table: drawn by the rows' keys, so that each label keeps its share."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from worker.errors import TrainingError

FEWEST = 4
"""Rows that a label needs: three to learn from and one to judge by."""

MOST_HELD = 10_000
"""Held-out rows at most: intervals are narrow by then, and they are kept as text."""


def held_out(labels: Sequence[tuple[int, ...]], share: float) -> list[int]:
    """Return which rows are held out, in ascending order.

    `labels` are those of rows in random order. A row counts under the rarest of its labels (so that rare
    labels are served first, as in Sechidis and others 2011); of each such group about `share` is held out,
    and one row at least where the group has FEWEST or more.
    """
    counts = Counter(label for row in labels for label in row)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(labels):
        groups[min(row, key=lambda label: (counts[label], label), default=-1)].append(number)
    share = min(share, MOST_HELD / max(1, len(labels)))
    held: list[int] = []
    for group in groups.values():
        count = math.floor(share * len(group) + 0.5)
        if count == 0 and len(group) >= FEWEST:
            count = 1
        held.extend(group[: min(count, len(group) - 1)])
    return sorted(held)


def check_labels(where: object, names: Sequence[str], labels: Sequence[tuple[int, ...]], fewest: int) -> None:
    """Refuse labels from which nothing can be learnt.

    Raises:
        TrainingError: one class only, or fewer than `fewest` rows with a label.
    """
    counts = Counter(label for row in labels for label in row)
    if not labels:
        raise TrainingError(f"{where}: no row has both a text and a label")
    if len(names) < 2 and all(labels):
        raise TrainingError(f"{where}: all rows are labelled {names[0]!r}: there is nothing to tell apart")
    rare = [(counts[number], name) for number, name in enumerate(names) if counts[number] < fewest]
    if rare:
        shown = ", ".join(f"{name!r} {count}" for count, name in sorted(rare)[:6])
        more = f" and {len(rare) - 6} more" if len(rare) > 6 else ""
        raise TrainingError(
            f"{where}: too few rows for some labels, {fewest} each are needed ({shown}{more}): "
            f"add rows, or join or leave out these labels"
        )
