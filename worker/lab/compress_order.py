"""What the command line asks for: how much to cut, what to measure on, and where to.

The way in: is everything installed that the order needs?
"""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import NEEDS_PACKAGES, TrainingError

if TYPE_CHECKING:
    from worker.model.pack import Pack

WHOLE = "whole"
"""What a model is called that lost no layer, head or column."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One smaller model: None keeps all. `layers` is a number, or which (from 1)."""

    layers: int | tuple[int, ...] | None = None
    heads: int | None = None
    hidden: int | None = None

    @property
    def name(self) -> str:
        """A short name for tables and folders, such as `3-layers-8-heads`."""
        parts = []
        if self.layers is not None:
            which = (self.layers,) if isinstance(self.layers, int) else self.layers
            parts.append(f"{'+'.join(map(str, which))}-layers")
        if self.heads is not None:
            parts.append(f"{self.heads}-heads")
        if self.hidden is not None:
            parts.append(f"{self.hidden}-columns")
        return "-".join(parts) or WHOLE


@dataclass(frozen=True, slots=True)
class Order:
    """One compression. Several values make a model of each combination; the last one goes to `out`."""

    model: Path
    out: Path
    layers: tuple[int | tuple[int, ...], ...] = ()
    heads: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    vocabulary: tuple[Path, ...] = ()
    """Texts whose words stay."""
    recover: tuple[Path, ...] = ()
    """Texts of the short training after the cut."""
    texts: tuple[Path, ...] = ()
    """Texts to find out on what can be spared, and to measure on; else those of the two above."""
    text_field: str = "text"
    minutes: float = 10.0
    rate: float = 2e-4
    quantised: bool = False
    data: str | None = None
    curve: Path | None = None
    work: Path | None = None
    name: str | None = None
    seed: int = 1
    threads: int = 0
    resume: bool = False

    def cuts(self) -> Iterator[Cut]:
        """Yield every combination, the largest models first where values fall."""
        choices = (self.layers or (None,), self.heads or (None,), self.hidden or (None,))
        for layers, heads, hidden in itertools.product(*choices):
            yield Cut(layers, heads, hidden)

    def check(self) -> None:
        """Raise TrainingError for an order that asks for nothing, or for what it lacks the texts."""
        if not (self.layers or self.heads or self.hidden or self.vocabulary or self.quantised):
            raise TrainingError(
                "nothing to cut: name --layers, --heads, --hidden, --vocabulary, or --int8 with --recover"
            )
        if self.quantised and not self.recover:
            raise TrainingError("--int8 rounds in the recovery training: give it texts with --recover")
        if (self.heads or self.hidden) and not (self.texts or self.recover or self.vocabulary):
            raise TrainingError("to know which heads and columns can be spared, give texts: --texts FILE")


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
    from worker.lab.compress import compress

    return compress(order, say)


NEEDS_IMPORT = "compress needs more packages: pip install 'moodstream[import]'"


def read_layers(text: str) -> int | tuple[int, ...]:
    """Return a number of layers, or which (from 1): `3`, or `1,3,6`. Raises TrainingError."""
    from worker.lab.distill_order import read_layers as read

    found = read(text)
    return tuple(found) if isinstance(found, list) else found or 0
