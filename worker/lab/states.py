"""What a frozen trunk says of each text, worked out once: a head then learns in a fraction of the time.

A frozen trunk gives a text the same state in every pass (it drops nothing out), so the passes after the first
need no trunk at all. The batches hang on the rows alone, so a resumed run goes on with the very same states.
"""

import random
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from worker.lab.data.tasks import TaskData
from worker.lab.data.tokens import Ids, pad
from worker.lab.network import Network
from worker.lab.plan import Step, batches
from worker.lab.recipe import Recipe
from worker.lab.steps import Say

_PADDED = 4_096
"""Tokens in one batch, padding counted."""


def reads_states(task: TaskData) -> bool:
    """Return whether a task's head reads what is kept here: first tokens, of texts without hidden words."""
    return not task.head.by_token and not task.task.masked


def pays(recipe: Recipe, tasks: Sequence[TaskData], steps: Sequence[Step]) -> bool:
    """Return whether a run reads its texts more than once with a trunk that stays as it is.

    A run with a time limit may end before it has read each text once, so nothing is worked out ahead for it.
    """
    if not recipe.frozen or recipe.run.minutes:
        return False
    uses = sum(len(step.rows) for step in steps if reads_states(tasks[step.task]))
    return uses > sum(len(task.ids) for task in tasks if reads_states(task))


class States:
    """First tokens' last hidden states of the texts of some tasks, (dim,) float32 each, in memory.

    100,000 texts take 150 MB at 384 wide. A text that several tasks have is worked out once.
    """

    def __init__(
        self, network: Network, tasks: Sequence[TaskData], *, device: torch.device, bf16: bool, say: Say
    ) -> None:
        places: dict[bytes, int] = {}
        texts: list[Ids] = []
        self._where: list[NDArray[np.int64] | None] = []
        for task in tasks:
            if not reads_states(task):
                self._where.append(None)
                continue
            where = np.empty(len(task.ids), dtype=np.int64)
            for row, ids in enumerate(task.ids):
                key = ids.tobytes()
                if key not in places:
                    places[key] = len(texts)
                    texts.append(ids)
                where[row] = places[key]
            self._where.append(where)
        say(f"the trunk reads {len(texts)} texts, once: it is frozen")
        self._states = _read(network, texts, device, bf16, say)

    def of(self, task: int, rows: Sequence[int]) -> torch.Tensor | None:
        """Return the states of some rows of task number `task`, (rows, dim), or None where it has none."""
        where = self._where[task]
        return None if where is None else self._states[torch.from_numpy(where[list(rows)])]


def _read(network: Network, texts: Sequence[Ids], device: torch.device, bf16: bool, say: Say) -> torch.Tensor:
    """Return the texts' states, (texts, dim): those of like length in one batch."""
    lengths = [len(ids) for ids in texts]
    states = torch.empty(len(texts), network.dim, device=device)
    spoken, done = time.monotonic(), 0
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for rows in batches(lengths, _PADDED, random.Random(0)):  # noqa: S311 - any order will do
            ids, mask = pad([texts[row] for row in rows])
            real = None if mask is None else torch.from_numpy(mask).to(device)
            states[list(rows)] = network(torch.from_numpy(ids).to(device), real).float()
            done += len(rows)
            if time.monotonic() - spoken >= 60:
                spoken = time.monotonic()
                say(f"{done} of {len(texts)} texts read")
    return states
