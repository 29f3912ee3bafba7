"""What `distill` and `compress` are asked to do, checked before torch is loaded."""

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
    """What both take. `data` is the folder of the known data sets."""

    out: Path
    text_field: str = "text"
    data: str | None = None
    work: Path | None = None
    name: str | None = None
    quantised: bool = False
    """Round in the training loop as the int8 graph does."""
    resume: bool = False

    @property
    def title(self) -> str:
        """The name of the pack: that of its folder, unless another is given."""
        return self.name or self.out.resolve().name

    @property
    def work_folder(self) -> Path:
        """Where state, answers and checkpoints go."""
        return self.work or self.out.with_name(self.out.name + "-work")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions(Common):
    """One distillation. None leaves a value to the recipe, or to the defaults if there is no recipe."""

    teachers: tuple[Path, ...]
    student: str
    texts: tuple[Path, ...] = ()
    labels: Path | None = None
    """A recipe, whose tasks' rows and labels are learnt from."""
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
        """Raise LabError where there is nothing to learn from, and for layers that are no numbers."""
        if not self.texts and self.labels is None:
            raise TrainingError(
                "nothing to learn from: give texts with --texts, a recipe with --labels, or both"
            )
        if self.layers is not None:
            read_layers(self.layers)

    def settings(self, recipe: Recipe | None) -> tuple[Optimiser, Run]:
        """Return the recipe's optimiser and run, or the defaults, with what the options say instead."""
        optimiser, run = (recipe.optimiser, recipe.run) if recipe else (Optimiser(), Run())
        values = {name: getattr(self, name) for name in ("minutes", "seed", "threads", "processes")}
        run = run.changed(**{name: value for name, value in values.items() if value is not None})
        return (optimiser.changed(trunk_rate=self.rate) if self.rate else optimiser), run


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressOptions(Common):
    """One compression. Several values make a model of each combination; the last one goes to `out`."""

    model: Path
    layers: tuple[int | tuple[int, ...], ...] = ()
    heads: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    vocabulary: tuple[Path, ...] = ()
    """Texts whose words stay."""
    recover: tuple[Path, ...] = ()
    """Texts of the short training after the cut."""
    texts: tuple[Path, ...] = ()
    """Texts to measure importance and the result on; else those of the two above."""
    minutes: float = 10.0
    rate: float = 2e-4
    curve: Path | None = None
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        """Raise CutError for options that ask for nothing, or for what they give no texts for."""
        if not (self.layers or self.heads or self.hidden or self.vocabulary or self.quantised):
            raise CutError(
                "nothing to cut: name --layers, --heads, --hidden, --vocabulary, or --int8 with --recover"
            )
        if self.quantised and not self.recover:
            raise CutError("--int8 rounds in the recovery training: give it texts with --recover")
        if (self.heads or self.hidden) and not (self.texts or self.recover or self.vocabulary):
            raise CutError("to know which heads and columns can be spared, give texts: --texts FILE")

    @property
    def extra(self) -> str:
        """The extra whose packages this needs."""
        return "train" if self.heads or self.hidden or self.recover else "import"

    def cuts(self) -> Iterator[Cut]:
        """Yield every combination, in the order of the options."""
        choices = (self.layers or (None,), self.heads or (None,), self.hidden or (None,))
        for layers, heads, hidden in itertools.product(*choices):
            yield Cut(layers, heads, hidden)


def read_layers(text: str) -> int | tuple[int, ...]:
    """Return a number of layers, or which (from 1): `3`, or `1,3,6`. Raises LabError."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise LabError(f"layers must be a number such as 3, or a list such as 1,3,6, not {text!r}") from None
    return numbers[0] if len(numbers) == 1 else numbers
