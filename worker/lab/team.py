"""Several processes that train one network: each takes its share of the batches, and they average weights.

On a processor two processes of one thread beat one of two threads wherever the machine has other work:
threads meet after every product of a step, processes only every few steps. This is local SGD (Stich 2019,
arXiv:1805.09767). AdamW's moments stay each member's own; a resumed run goes on with the first member's.
"""

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from worker.errors import TrainingError

STRIDE = 12
"""Steps that each member makes between two averages."""

_PATIENCE = timedelta(days=1)  # members wait for one another while the first asks the teachers


class Team:
    """One member's view of the team. A team of one does nothing at all."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def stride(self) -> int:
        """Steps that each member makes before they meet."""
        return STRIDE if self.size > 1 else 1

    def agree(self, *values: float) -> tuple[float, ...]:
        """Return the first member's values, so that all take the same turn. Raises TrainingError."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64)
        self._together(lambda: distributed.broadcast(shared, 0))
        return tuple(shared.tolist())

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the members, in place. Raises TrainingError."""
        if self.size == 1:
            return
        every = [tensor.detach() for tensor in tensors]
        flat = torch.cat([tensor.reshape(-1) for tensor in every])
        self._together(lambda: distributed.all_reduce(flat))
        flat /= self.size
        for tensor, part in zip(every, flat.split([tensor.numel() for tensor in every]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def _together(self, act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:
            raise TrainingError(
                "another process of the run has ended: go on from the last state with --resume"
            ) from error


@contextmanager
def gathered(size: int, work: Callable[[Team], Any]) -> Any:
    """Start `size` - 1 processes that run `work` with their own view of the team; yield the first member's.

    `work` must be importable (a function or a partial of one). The others end with the first.
    """
    if size == 1:
        yield Team()
        return
    with tempfile.TemporaryDirectory(prefix="moodstream-team-") as folder:
        meeting = Path(folder) / "meeting"
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_member, args=(rank, size, str(meeting), work), daemon=True)
            for rank in range(1, size)
        ]
        for other in others:
            other.start()
        _join(0, size, str(meeting))
        try:
            yield Team(0, size)
        finally:
            distributed.destroy_process_group()
            for other in others:
                other.join(timeout=5)
                if other.is_alive():
                    other.terminate()


def _join(rank: int, size: int, meeting: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=_PATIENCE
    )


def _member(rank: int, size: int, meeting: str, work: Callable[[Team], Any]) -> None:
    """Take part until the run ends. What goes wrong here shows at the first member as a broken meeting."""
    _join(rank, size, meeting)
    try:
        work(Team(rank, size))
    except TrainingError:
        os._exit(1)
