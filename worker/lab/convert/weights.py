"""The tensors of a checkpoint, read one at a time from its safetensors files."""

import json
import math
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.errors import CheckpointError
from worker.lab.convert.architecture import TENSORS, read_config

FILE = "model.safetensors"
INDEX = f"{FILE}.index.json"
"""The index of which file holds which tensor, for several files."""

PICKLES = ("pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.ckpt")

Floats = NDArray[np.float32]

_FLOATS = ("F64", "F32", "F16", "BF16")
_OLDER = {".weight": ".gamma", ".bias": ".beta"}
"""The names of a LayerNorm's tensors in checkpoints converted from TensorFlow."""


class _Tensor(NamedTuple):
    """The location of one tensor."""

    path: Path
    opened: Any
    kind: str
    start: int
    shape: tuple[int, ...]


class Weights:
    """Open safetensors files. Tensors are read on demand, so a checkpoint is never entirely in memory.

    The head of a transformers checkpoint has no name, and its tensors no prefix: with `only_head` they are
    found as `heads.NAME.…`, like ours.
    """

    def __init__(self, path: Path, tensors: dict[str, _Tensor], only_head: str = "") -> None:
        self._path = path
        self._tensors = tensors
        self._prefix = f"{TENSORS}{only_head}." if only_head else ""

    def __contains__(self, name: str) -> bool:
        return self._stored(name) in self._tensors

    def get(self, name: str, *shape: int) -> Floats:
        """Return the tensor `name` as float32.

        Raises:
            CheckpointError: it is missing, has another shape or type, or holds a value that is not finite.
        """
        name = self._stored(name)
        if name not in self._tensors:
            raise CheckpointError(f"{self._path}: has no tensor {name}")
        values = _read(self._tensors[name], name)
        if values.shape != shape:
            raise CheckpointError(f"{self._path}: {name} has shape {values.shape}, config.json says {shape}")
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self._path}: {name} holds a value that is not finite")
        return values

    def _stored(self, name: str) -> str:
        """Return the name under which a tensor is in the files."""
        name = name.removeprefix(self._prefix) if self._prefix else name
        if name not in self._tensors:
            for new, old in _OLDER.items():
                if name.endswith((f"_norm{new}", f"LayerNorm{new}")):
                    older = name.removesuffix(new) + old
                    return older if older in self._tensors else name
        return name


@contextmanager
def open_weights(checkpoint: Path, only_head: str = "") -> Iterator[Weights]:
    """Open `model.safetensors` of a checkpoint folder, or the files that its index names; see `Weights`.

    Raises:
        CheckpointError: a file is missing or damaged. Pickles are never read: they can run any code.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - of an extra

    path = checkpoint / FILE
    files = [FILE] if path.is_file() else _shards(checkpoint)
    tensors: dict[str, _Tensor] = {}
    with ExitStack() as stack:
        for file in files:
            path = checkpoint / file
            try:
                opened = stack.enter_context(safe_open(path, "np"))
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} cannot be read: {error}") from error
            tensors |= {name: _Tensor(path, opened, *placed) for name, placed in _header(path).items()}
        yield Weights(path if len(files) == 1 else checkpoint / INDEX, tensors, only_head)


def _shards(checkpoint: Path) -> list[str]:
    """Return the files that hold the weights, from the folder's index."""
    index = checkpoint / INDEX
    if not index.is_file():
        pickles = [name for name in PICKLES if (checkpoint / name).exists()]
        hint = (
            f": {pickles[0]} is a pickle, which can run any code and is not read; save the model again with "
            "safetensors (`model.save_pretrained(folder, safe_serialization=True)`)"
            if pickles
            else ""
        )
        raise CheckpointError(f"{checkpoint / FILE} is missing{hint}")
    named = read_config(index).get("weight_map")
    files = sorted({str(file) for file in named.values()}) if isinstance(named, dict) else []
    if not files or any(Path(file).name != file or not file.endswith(".safetensors") for file in files):
        raise CheckpointError(f"{index} must name a file of this folder for each tensor")
    return files


def _read(tensor: _Tensor, name: str) -> Floats:
    """Read one tensor of floats as float32."""
    if tensor.kind not in _FLOATS:
        raise CheckpointError(
            f"{tensor.path}: {name} holds {tensor.kind}, a quantised form or whole numbers; "
            "save the model in float32, float16 or bfloat16"
        )
    if tensor.kind != "BF16":
        return np.asarray(tensor.opened.get_tensor(name)).astype(np.float32)
    # numpy has no bfloat16: it is the upper half of a float32.
    halves = np.fromfile(tensor.path, "<u2", math.prod(tensor.shape), offset=tensor.start)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(tensor.shape)


def _header(path: Path) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    """Return each tensor's type, offset in the file and shape, which the library has checked."""
    with path.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        entries = json.loads(stream.read(size))
    return {
        name: (entry["dtype"], 8 + size + entry["data_offsets"][0], tuple(entry["shape"]))
        for name, entry in entries.items()
        if name != "__metadata__"
    }
