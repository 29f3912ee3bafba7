"""What a run is judged by: the dev splits of the known data sets, and the held-out rows of tables."""

from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import TrainingError
from worker.lab.data.labels import HEADS, HeadSpec
from worker.lab.data.table import Held
from worker.lab.data.tasks import Say
from worker.lab.evaluate.examples import Examples, fitting, gold_table
from worker.lab.evaluate.score import Scorer
from worker.lab.evaluate.tuning import tune, tune_head
from worker.lab.train import Trained

ENOUGH = 50
"""Held-out rows of a head from which a temperature and thresholds are fitted: from fewer they are chance."""


def fit(trained: Trained, scorer: Scorer, root: Path | None, say: Say) -> dict[str, dict[str, Any]]:
    """Fit temperatures and thresholds by head: on the known sets, for other heads on the held-out rows.

    A head that was kept keeps its own, unless its gate reads a head that was not.
    """
    gates = {name: (entry.get("gate") or {}).get("head") for name, entry in trained.kept.items()}
    kept = [name for name, gate in gates.items() if gate is None or gate in trained.kept]
    fitted = {} if root is None else tune(scorer, root, say, kept=kept)
    heads = {table.head.name: table.head for table in trained.tables.values()}
    for name, head in heads.items():
        if name in fitted:
            continue
        parts = [table.held for table in trained.tables.values() if table.head.name == name]
        held = Held([text for part in parts for text in part.texts], [row for p in parts for row in p.labels])
        if len(held.texts) < ENOUGH:
            say(
                f"head {name}: {len(held.texts)} held-out rows are too few to fit a temperature or thresholds"
            )
            continue
        try:
            fitted[name] = tune_head(scorer, examples(name, head, held), fitted)
        except TrainingError as error:
            say(f"head {name} is not tuned: {error}")
    return fitted


def sets(trained: Trained, scorer: Scorer, root: Path | None, say: Say) -> list[Examples]:
    """Return all that the model is judged by."""
    own = [examples(title, table.head, table.held) for title, table in trained.tables.items()]
    return own if root is None else [*own, *fitting(scorer.heads, root, say=say)]


def examples(title: str, head: HeadSpec, held: Held) -> Examples:
    """Return held-out rows in the form that figures want.

    Rows of a known one-label head that know some of its labels are judged between those.
    """
    name, tuned = f"{title}, held out", len(held.texts) >= ENOUGH
    if head.multi_label:
        table = gold_table(held.labels, len(head.labels))
        return Examples(title, name, head.name, held.texts, head.labels, table=table, tuned=tuned)
    used = list(range(len(head.labels)))
    if head.name in HEADS:
        used = sorted({row[0] for row in held.labels})
    classes = np.searchsorted(np.array(used), np.array([row[0] for row in held.labels])).astype(np.int64)
    labels = tuple(head.labels[number] for number in used)
    return Examples(title, name, head.name, held.texts, labels, classes=classes, tuned=tuned)
