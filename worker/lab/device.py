"""How a run uses the machine: processor or GPU, precision, memory, and number of processes."""

import ctypes
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from worker.errors import MoodstreamError, TrainingError, one_line

_GAIN = 1.5


def choose_device(wish: str, processes: int = 1) -> torch.device:
    """Return the GPU for `cuda`, and for `auto` if there is one and a single process; else the processor.

    Raises TrainingError for `cuda` if torch sees no GPU, or with several processes.
    """
    if wish == "cuda" and processes > 1:
        raise TrainingError("run.processes: several processes can share a processor, but not a GPU")
    if wish != "cpu" and processes == 1 and torch.cuda.is_available():
        return torch.device("cuda")
    if wish == "cuda":
        raise TrainingError("run.device is cuda, but torch sees no GPU here")
    return torch.device("cpu")


def best_precision(device: torch.device | None = None) -> str:
    """Return `bf16` if it makes a product of the encoder's size at least 1.5 times as fast, else `fp32`.

    Takes some 50 ms. Processors with AMX or AVX-512 BF16 gain; on others bfloat16 is emulated and slower. For
    a GPU, torch knows the answer.
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

    Every step frees and allocates the same large blocks (the gradient of the word embeddings alone is 47 MB),
    and getting them back page by page took 15 % of a step. Without glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block gets its own mapping
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never give back the top of the heap


STRIDE = 12
"""Steps that each process makes before the weights are averaged."""

_PATIENCE = timedelta(days=1)  # the others wait while the first asks the teachers
_LOOK_EVERY_S = 0.2


class LocalSgd:
    """One of several processes that train one network together (local SGD: Stich 2019, arXiv:1805.09767).

    Each takes its share of the batches, and they average their weights every STRIDE steps. On a processor,
    two processes with one thread each beat one process with two threads whenever the machine has other work:
    threads wait for each other after every product, processes only every few steps. Each process keeps its
    own AdamW moments; a resumed run continues with those of the first. With a single process, all methods
    do nothing.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def stride(self) -> int:
        """Steps that each process makes before the weights are averaged."""
        return STRIDE if self.size > 1 else 1

    def agree(self, *values: float) -> tuple[float, ...]:
        """Return the first process's values in every process. Raises TrainingError."""
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
        """Let the first process go before the others, which then find its results on disk."""
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
                "another process of the run has ended: continue from the last state with --resume"
            ) from error


@contextmanager
def local_sgd(size: int, work: Callable[[LocalSgd], Any]) -> Iterator[LocalSgd]:
    """Start `size` - 1 processes that run `work` with their own LocalSgd; yield the first process's.

    `work` must be picklable (a module-level function or a partial of one). The others end with the first,
    which then has as many threads as before: what follows a run is done by it alone.
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
        _join(0, size, str(rendezvous), lambda: all(other.is_alive() for other in others))
        threads = torch.get_num_threads()
        try:
            yield LocalSgd(0, size)
        finally:
            torch.set_num_threads(threads)
            distributed.destroy_process_group()
            for other in others:
                other.join(timeout=5)
                if other.is_alive():
                    other.terminate()


def _join(rank: int, size: int, rendezvous: str, alive: Callable[[], bool]) -> None:
    """Meet the other processes.

    torch itself waits for one that has died before it came for as long as for a slow answer later, a day. It
    cannot be interrupted, so it waits on a thread of its own.

    Raises:
        TrainingError: `alive` says that a process has ended.
    """
    failed: list[Exception] = []

    def join() -> None:
        try:
            distributed.init_process_group(
                "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size, timeout=_PATIENCE
            )
        except Exception as error:  # noqa: BLE001 - raised below, on the thread that asked
            failed.append(error)

    thread = threading.Thread(target=join, name="moodstream-join", daemon=True)
    thread.start()
    while thread.is_alive():
        if not alive():
            raise TrainingError("another process of the run has ended before it took part; see its output")
        thread.join(_LOOK_EVERY_S)
    if failed:
        raise TrainingError(f"the processes of the run cannot meet: {one_line(failed[0])}") from failed[0]


def _other(rank: int, size: int, rendezvous: str, work: Callable[[LocalSgd], Any]) -> None:
    """Take part until the run ends. The first process sees an error here as a broken connection."""
    first = multiprocessing.parent_process()
    try:
        _join(rank, size, rendezvous, lambda: first is None or first.is_alive())
        work(LocalSgd(rank, size))
    except MoodstreamError:
        os._exit(1)
