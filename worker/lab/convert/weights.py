"""The tensors of a checkpoint, read one at a time from its safetensors file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.errors import CheckpointError

FILE = "model.safetensors"
PICKLES = ("pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.ckpt")

Floats = NDArray[np.float32]


class Weights:
    """An open safetensors file. Tensors are read when asked for: a checkpoint is never whole in memory."""

    def __init__(self, path: Path, tensors: Any) -> None:
        self._path = path
        self._tensors = tensors
        self._names = frozenset(tensors.keys())

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, *shape: int) -> Floats:
        """Return the tensor `name` as float32.

        Raises:
            CheckpointError: it is missing, has another shape, or holds a value that is not finite.
        """
        if name not in self._names:
            raise CheckpointError(f"{self._path}: has no tensor {name}")
        values = np.asarray(self._tensors.get_tensor(name)).astype(np.float32)
        if values.shape != shape:
            raise CheckpointError(f"{self._path}: {name} has shape {values.shape}, config.json wants {shape}")
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self._path}: {name} holds a value that is not finite")
        return values


@contextmanager
def open_weights(checkpoint: Path) -> Iterator[Weights]:
    """Open `model.safetensors` of a checkpoint folder.

    Raises:
        CheckpointError: the file is missing or damaged. Pickles are never read: they can run any code.
    """
    from safetensors import SafetensorError, safe_open

    path = checkpoint / FILE
    if not path.is_file():
        pickles = [name for name in PICKLES if (checkpoint / name).exists()]
        hint = (
            f": {pickles[0]} is a pickle, which can run any code and is not read; save the model again with "
            "safetensors (`model.save_pretrained(folder, safe_serialization=True)`)"
            if pickles
            else ""
        )
        raise CheckpointError(f"{path} is missing{hint}")
    try:
        tensors = safe_open(path, "np")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    with tensors:
        yield Weights(path, tensors)
