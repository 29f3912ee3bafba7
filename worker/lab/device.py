"""What a run uses of the machine: processor or GPU, precision, memory, and how many processes."""

import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from worker.errors import MoodstreamError, TrainingError

_GAIN = 1.5


def choose_device(wish: str, processes: int = 1) -> torch.device:
    """Return the processor, or the GPU for `cuda`, and for `auto` if there is one and one process.

    Raises TrainingError for `cuda` where torch sees none, or for several processes.
    """
    if wish == "cuda" and processes > 1:
        raise TrainingError("run.processes: several processes share a processor, not a GPU")
    if wish != "cpu" and processes == 1 and torch.cuda.is_available():
        return torch.device("cuda")
    if wish == "cuda":
        raise TrainingError("run.device is cuda, and torch sees no GPU here")
    return torch.device("cpu")


def best_precision(device: torch.device | None = None) -> str:
    """Return `bf16` where a product of the encoder's size is at least 1.5 times as fast in it, else `fp32`.

    Takes some 50 ms. Processors with AMX or AVX-512 BF16 win; on others bfloat16 is emulated and loses. A GPU
    says so itself.
    """
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if _product_s(torch.float32) > _GAIN * _product_s(torch.bfloat16) else "fp32"


def _product_s(kind: torch.dtype) -> float:
    """Return the shortest of several timings of a feed-forward product, in seconds."""
    left, right = torch.ones(1024, 384, dtype=kind), torch.ones(384, 1536, dtype=kind)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return best


def keep_memory() -> None:
    """Tell glibc to keep freed memory instead of handing it back to the kernel.

    Every step frees and takes the same large blocks (the gradient of the word embeddings alone is 47 MB), and
    taking them back a page at a time cost 15 % of a step. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block comes from a mapping of its own
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the top of the heap stays


STRIDE = 12
"""Steps that each process makes between two averages."""

_PATIENCE = timedelta(days=1)  # the others wait while the first asks the teachers


class LocalSgd:
    """One process's view of several that train one network (local SGD: Stich 2019, arXiv:1805.09767).

    Each takes its share of the batches, and they average their weights every STRIDE steps. On a processor
    two processes of one thread beat one of two threads wherever the machine has other work: threads wait
    for each other after every product of a step, processes only every few steps. AdamW's moments stay each
    process's own; a resumed run goes on with the first one's. One process alone does nothing here.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def stride(self) -> int:
        """Steps that each process makes before they average."""
        return STRIDE if self.size > 1 else 1

    def agree(self, *values: float) -> tuple[float, ...]:
        """Return the first process's values, so that all do the same. Raises TrainingError."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64)
        self._together(lambda: distributed.broadcast(shared, 0))
        return tuple(shared.tolist())

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place. Raises TrainingError."""
        if self.size == 1:
            return
        every = [tensor.detach() for tensor in tensors]
        flat = torch.cat([tensor.reshape(-1) for tensor in every])
        self._together(lambda: distributed.all_reduce(flat))
        flat /= self.size
        for tensor, part in zip(every, flat.split([tensor.numel() for tensor in every]), strict=True):
            tensor.copy_(part.view_as(tensor))

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process go before the others, which find on disk what it has left."""
        if self.rank:
            self.agree(0)
        yield
        if not self.rank:
            self.agree(0)

    def _together(self, act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:
            raise TrainingError(
                "another process of the run has ended: go on from the last state with --resume"
            ) from error


@contextmanager
def local_sgd(size: int, work: Callable[[LocalSgd], Any]) -> Iterator[LocalSgd]:
    """Start `size` - 1 processes that run `work` with their own view; yield the first process's.

    `work` must be importable (a function or a partial of one). The others end with the first.
    """
    if size == 1:
        yield LocalSgd()
        return
    with tempfile.TemporaryDirectory(prefix="moodstream-train-") as folder:
        rendezvous = Path(folder) / "rendezvous"
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_other, args=(rank, size, str(rendezvous), work), daemon=True)
            for rank in range(1, size)
        ]
        for other in others:
            other.start()
        _join(0, size, str(rendezvous))
        try:
            yield LocalSgd(0, size)
        finally:
            distributed.destroy_process_group()
            for other in others:
                other.join(timeout=5)
                if other.is_alive():
                    other.terminate()


def _join(rank: int, size: int, rendezvous: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size, timeout=_PATIENCE
    )


def _other(rank: int, size: int, rendezvous: str, work: Callable[[LocalSgd], Any]) -> None:
    """Take part until the run ends. An error here shows in the first process as a broken connection."""
    _join(rank, size, rendezvous)
    try:
        work(LocalSgd(rank, size))
    except MoodstreamError:
        os._exit(1)
