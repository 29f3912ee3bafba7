"""The options of `distill` and `compress`, checked before torch is loaded."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.errors import CutError, LabError, TrainingError
from worker.lab.recipe import Optimiser, Recipe, Run

WHOLE = "whole"
"""The name of a model that lost no layer, head or column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options that both share. `data` is the folder of the known data sets."""

    out: Path
    text_field: str = "text"
    data: str | None = None
    work: Path | None = None
    name: str | None = None
    quantised: bool = False
    """Round during training as the int8 graph does."""
    resume: bool = False

    @property
    def title(self) -> str:
        """The name of the pack: the name of its folder, unless another one is given."""
        return self.name or self.out.resolve().name

    @property
    def work_folder(self) -> Path:
        """Where state, answers and checkpoints go."""
        return self.work or self.out.with_name(self.out.name + "-work")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions(Common):
    """One distillation. A value of None means the recipe's, or the default without a recipe."""

    teachers: tuple[Path, ...]
    student: str
    texts: tuple[Path, ...] = ()
    labels: Path | None = None
    """A recipe, whose tasks provide rows and labels to learn from."""
    layers: str | None = None
    minutes: float | None = None
    epochs: float = 1.0
    max_tokens: int = 128
    temperature: float = 2.0
    first_weight: float = 1.0
    relations_weight: float = 0.0
    rate: float | None = None
    seed: int | None = None
    threads: int | None = None
    processes: int | None = None
    measure: bool = True

    def __post_init__(self) -> None:
        """Raise LabError if there is nothing to learn from, or the layers are not numbers."""
        if not self.texts and self.labels is None:
            raise TrainingError(
                "nothing to learn from: give texts with --texts, a recipe with --labels, or both"
            )
        if self.layers is not None:
            read_layers(self.layers)

    def settings(self, recipe: Recipe | None) -> tuple[Optimiser, Run]:
        """Return the recipe's optimiser and run, or the defaults, overridden by the options."""
        optimiser, run = (recipe.optimiser, recipe.run) if recipe else (Optimiser(), Run())
        values = {name: getattr(self, name) for name in ("minutes", "seed", "threads", "processes")}
        run = run.changed(**{name: value for name, value in values.items() if value is not None})
        return (optimiser.changed(trunk_rate=self.rate) if self.rate else optimiser), run


@dataclass(frozen=True, slots=True)
class Cut:
    """One smaller model; None keeps everything. `layers` is a number or a list of layers (from 1)."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressOptions(Common):
    """One compression. Several values make a model for each combination; the last one is written to `out`."""

    model: Path
    layers: tuple[int | tuple[int, ...], ...] = ()
    heads: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    vocabulary: tuple[Path, ...] = ()
    """Texts whose tokens are kept."""
    recover: tuple[Path, ...] = ()
    """Texts for the short training after the cut."""
    texts: tuple[Path, ...] = ()
    """Texts for measuring importance and the result; by default those of the two above."""
    minutes: float = 10.0
    rate: float = 2e-4
    curve: Path | None = None
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        """Raise CutError if the options ask for no change, or lack the texts that a change needs."""
        if not (self.layers or self.heads or self.hidden or self.vocabulary or self.quantised):
            raise CutError(
                "nothing to cut: give --layers, --heads, --hidden, --vocabulary, or --int8 with --recover"
            )
        if self.quantised and not self.recover:
            raise CutError("--int8 rounds during the recovery training: give texts for it with --recover")
        if (self.heads or self.hidden) and not (self.texts or self.recover or self.vocabulary):
            raise CutError("to measure which heads and columns matter least, give texts: --texts FILE")

    @property
    def extra(self) -> str:
        """The extra that has the packages for this."""
        return "train" if self.heads or self.hidden or self.recover else "import"

    def cuts(self) -> Iterator[Cut]:
        """Yield every combination, in the order of the options."""
        choices = (self.layers or (None,), self.heads or (None,), self.hidden or (None,))
        for layers, heads, hidden in itertools.product(*choices):
            yield Cut(layers, heads, hidden)


def read_layers(text: str) -> int | tuple[int, ...]:
    """Read a number of layers, or a list of them (from 1): `3`, or `1,3,6`. Raises LabError."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise LabError(f"layers must be a number such as 3, or a list such as 1,3,6, not {text!r}") from None
    return numbers[0] if len(numbers) == 1 else numbers
