"""The way in: is everything installed that the order needs?"""

import os
from collections.abc import Callable
from importlib import util
from typing import TYPE_CHECKING

from worker.compress.order import Order
from worker.training.errors import NEEDS_PACKAGES, TrainingError

if TYPE_CHECKING:
    from worker.classify import Pack


def carry_out(order: Order, say: Callable[[str], None]) -> "Pack":
    """Compress as ordered; return the pack.

    Raises:
        TrainingError: packages are missing, or something in the order makes no sense.
        CheckpointError, PackError, ExportError, InputError: a folder or file that cannot be read.
    """
    order.check()
    needed = ["safetensors", "onnx"]
    if order.heads or order.hidden or order.recover:
        needed.append("torch")
    if any(util.find_spec(name) is None for name in needed):
        raise TrainingError(NEEDS_PACKAGES if "torch" in needed else NEEDS_IMPORT)
    # A thread that waits for the other sleeps instead of spinning; OpenMP reads this as torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from worker.compress.run import compress  # noqa: PLC0415 - after the check above

    return compress(order, say)


NEEDS_IMPORT = "compress needs more packages: pip install 'moodstream[import]'"


def read_layers(text: str) -> int | tuple[int, ...]:
    """Return a number of layers, or which (from 1): `3`, or `1,3,6`. Raises TrainingError."""
    from worker.distill.order import read_layers as read  # noqa: PLC0415 - one reading of it for both commands

    found = read(text)
    return tuple(found) if isinstance(found, list) else found or 0
