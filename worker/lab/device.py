"""What this processor does best: measured, since no list of names keeps up with the makers."""

import ctypes
import sys
import time

import torch

from worker.errors import TrainingError

_GAIN = 1.5


def choose_device(wish: str) -> torch.device:
    """Return the processor or, for `cuda` and where there is one for `auto`, the GPU.

    Raises TrainingError for `cuda` where torch sees none.
    """
    if wish != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if wish == "cuda":
        raise TrainingError("run.device is cuda, and torch sees no GPU here")
    return torch.device("cpu")


def best_precision(device: torch.device | None = None) -> str:
    """Return `bf16` where a product of the trunk's size is at least 1.5 times as fast in it, else `fp32`.

    Takes some 50 ms. Processors with AMX or AVX-512 BF16 win; on others bfloat16 is emulated and loses. A GPU
    is taken at its word.
    """
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if _product_s(torch.float32) > _GAIN * _product_s(torch.bfloat16) else "fp32"


def _product_s(kind: torch.dtype) -> float:
    """Return the best of some timings of a feed-forward product, in seconds."""
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
