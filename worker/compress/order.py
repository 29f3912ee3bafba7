"""What the command line asks for: how much to cut, what to measure on, and where to."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.training.errors import TrainingError

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
