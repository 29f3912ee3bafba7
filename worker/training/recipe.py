"""The recipe: what is trained on what, in one readable TOML file."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Task:
    """One data set in the mix: a known one, which trains the head that its labels belong to, or a table.

    The fields of tables stay out of `repr`, from which the digest of a run is made: see `train.digest`.
    """

    data: str = ""
    """A known data set, or nothing where `file` names a table."""
    epochs: float = 1.0
    """Passes over the rows; 0.5 takes half of them, 0 (of a file) as many as so few or many rows want."""
    weight: float = 1.0
    """Factor on the loss of a batch."""
    max_tokens: int = 128
    """Texts are cut to so many tokens, marks included."""
    rows: int = 0
    """How many rows to take from the front; 0 takes all."""
    loss: str = "plain"
    """`plain`, or for a head of many labels `asymmetric`, which hears rare labels better."""
    balance: float = 0.0
    """How far rare classes count more, for a head of one label: 0 not at all, 1 as if all were as common."""
    smoothing: float = 0.0
    """Share of a class's target that is spread over all classes, against being too sure."""
    teacher: str = ""
    """Folder of a pack or checkpoint whose head of the same name is learnt from (distillation)."""
    teachers: tuple[str, ...] = field(default=(), repr=False)
    """Folders of several of them, whose scores are averaged; instead of `teacher`."""
    hard: float = 0.5
    """With a teacher: the share of the loss that the data's own labels keep. 0 for texts without labels."""
    softening: float = 2.0
    """With a teacher: the temperature by which both sides' scores are softened."""
    masked: float = 0.0
    """Share of the tokens that are hidden behind [MASK] at each pass, against learning rows by heart."""
    file: str = field(default="", repr=False)
    """A labelled table of your own: CSV, JSON lines or Parquet. Seen from the recipe's folder."""
    dev: str = field(default="", repr=False)
    """With a file: another file to judge by, instead of a share of the first."""
    text_column: str = field(default="", repr=False)
    label_column: str = field(default="", repr=False)
    """With a file: its columns; guessed by their names where nobody says."""
    head: str = field(default="", repr=False)
    """With a file: the head that it trains, a known one, or one with its labels; "" for the column's name.
    With a teacher and known data: the head that its texts train, which then lend no labels."""
    labels: str = field(default="auto", repr=False)
    """With a file: `one` label a row, `several` (`a; b`, `a|b` or a list), or `auto`: as the rows look."""
    held_out: float = field(default=0.2, repr=False)
    """With a file: the share of its rows that is judged by and not learnt from."""
    skip_bad: bool = field(default=False, repr=False)
    """With a file: pass over rows that are none, instead of stopping at the first."""

    @property
    def taught_by(self) -> tuple[str, ...]:
        """Every teacher's folder."""
        return self.teachers or ((self.teacher,) if self.teacher else ())

    @property
    def title(self) -> str:
        """What to call it in reports."""
        if not self.file:
            return self.data + (f" ({self.head})" if self.head else "")
        return Path(self.file).name + (f" ({self.head})" if self.head else "")


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW (Loshchilov and Hutter 2019) with warm-up and a linear decay to nothing."""

    trunk_rate: float = 2e-4
    head_rate: float = 1e-3
    warm_up: float = 0.06
    """Share of the run in which the rate rises from nothing."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Longest gradient, as the norm over all weights."""
    dropout: float = 0.0
    """Share of the first token's values that a head does not see in a step."""
    max_padded_tokens: int = 1_024
    """Tokens in one batch, padding counted."""


@dataclass(frozen=True, slots=True)
class Run:
    """How the run behaves on the machine. None of it is meant to change what is learnt."""

    seed: int = 1
    threads: int = 0
    """0 leaves the choice to torch."""
    processes: int = 1
    """Processes that share the batches and average their weights; each has `threads` threads."""
    minutes: float = 0.0
    """If above 0: the schedule is shortened so that the decay ends after so long."""
    checkpoint_minutes: float = 4.0
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA where there is one."""
    precision: str = "auto"
    """`fp32`, `bf16`, or `auto`: bf16 products where this processor does them at least 1.5 times as fast."""


@dataclass(frozen=True, slots=True)
class OwnLayers:
    """Transformer layers of a token head's own, which run for no other head: see `labels.Branch`."""

    after: int
    """The trunk's layer whose states they start from; 0 for the embeddings."""
    layers: int
    """How many there are."""
    start: str = ""
    """The base whose layers above `after` they begin as; "" for this recipe's own base."""


@dataclass(frozen=True, slots=True)
class Depths:
    """Which layers a token head reads, where not the usual ones."""

    head: str
    layers: tuple[int, ...]
    """Counted from 1; where it has layers of its own, these follow those of the trunk that it shares."""
    branch: OwnLayers | None = None
    gate: float = 0.0
    """From which score of its gate's label it is asked; 0 for its usual one."""


@dataclass(frozen=True, slots=True)
class Mean:
    """Another checkpoint of the same shape, whose weights get a share of the mean with the trained ones."""

    checkpoint: str
    share: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training."""

    name: str
    base: str
    tasks: tuple[Task, ...]
    text: str = "raw"
    """How texts are prepared, in training and in service: `raw` or `social`."""
    text_version: int = 1
    depths: tuple[Depths, ...] = ()
    means: tuple[Mean, ...] = ()
    """What the weights are averaged with after the last step, one after the other."""
    stages: str = ""
    """Bundled recipes that made the base, in their order, with commas: the card tells of them too."""
    frozen: bool = False
    """The trunk and all heads of the base that no task trains stay as they are, bit for bit in the pack."""
    data: str = ""
    """Folder with the data sets; a command-line argument goes before it."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    run: Run = field(default_factory=Run)
