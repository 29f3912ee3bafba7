"""The recipe: what is trained on what, in one readable TOML file."""

import difflib
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from worker.text import TextError, normaliser
from worker.training.errors import TrainingError


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
    """With a file: the head that it trains, a known one, or one with its labels; "" for the column's name."""
    labels: str = field(default="auto", repr=False)
    """With a file: `one` label a row, `several` (`a; b`, `a|b` or a list), or `auto`: as the rows look."""
    held_out: float = field(default=0.2, repr=False)
    """With a file: the share of its rows that is judged by and not learnt from."""
    skip_bad: bool = field(default=False, repr=False)
    """With a file: pass over rows that are none, instead of stopping at the first."""

    @property
    def title(self) -> str:
        """What to call it in reports."""
        if not self.file:
            return self.data
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
class Depths:
    """Which layers a token head reads, where not the usual ones."""

    head: str
    layers: tuple[int, ...]


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
    stages: str = ""
    """Bundled recipes that made the base, in their order, with commas: the card tells of them too."""
    data: str = ""
    """Folder with the data sets; a command-line argument goes before it."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    run: Run = field(default_factory=Run)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises TrainingError: one line that names the file and the mistake."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"recipe {path}: {error}") from error
    try:
        return _beside(_recipe(raw), path.parent)
    except TrainingError as error:
        raise TrainingError(f"recipe {path}: {error}") from error


def _beside(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with its tables looked for in `folder`. Raises TrainingError: no such file."""
    tasks = []
    for number, task in enumerate(recipe.tasks):
        file, dev = (str(folder / name) if name else "" for name in (task.file, task.dev))
        for name, path in (("file", file), ("dev", dev)):
            if path and not Path(path).is_file():
                raise TrainingError(f"tasks[{number}].{name}: no file {path}")
        tasks.append(replace(task, file=file, dev=dev))
    return replace(recipe, tasks=tuple(tasks))


def _recipe(raw: dict[str, Any]) -> Recipe:
    """Return the checked recipe."""
    tasks = raw.get("tasks", [])
    if not isinstance(tasks, list) or not tasks:
        raise TrainingError("no [[tasks]]: name at least one data set")
    values = dict(raw)
    values["tasks"] = tuple(_table(Task, task, f"tasks[{number}]") for number, task in enumerate(tasks))
    values["depths"] = tuple(_depths(entry, number) for number, entry in enumerate(raw.get("depths", [])))
    for name, kind in (("optimiser", Optimiser), ("run", Run)):
        if name in raw:
            values[name] = _table(kind, raw[name], name)
    recipe: Recipe = _table(Recipe, values, "")
    check(recipe)
    return recipe


def _depths(raw: Any, number: int) -> Depths:
    """Build one entry of [[depths]]."""
    layers = raw.get("layers") if isinstance(raw, dict) else None
    if not isinstance(layers, list) or not all(type(layer) is int and layer > 0 for layer in layers):
        raise TrainingError(f"depths[{number}].layers must list layers, counted from 1")
    entry: Depths = _table(Depths, {**raw, "layers": tuple(layers)}, f"depths[{number}]")
    return entry


def _table(kind: Any, raw: Any, where: str) -> Any:
    """Build `kind` from a TOML table; an unknown name is a mistake, never ignored."""
    dot = f"{where}." if where else ""
    if not isinstance(raw, dict):
        raise TrainingError(f"{where} must be a table")
    known = {item.name: item for item in fields(kind)}
    for name in raw:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it may be one of {', '.join(known)}"
            raise TrainingError(f"unknown name {dot}{name}{hint}")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, dot + name) for name, value in raw.items()}
    for name, item in known.items():
        if name not in raw and item.default is MISSING and item.default_factory is MISSING:
            raise TrainingError(f"{dot}{name} is missing")
    return kind(**values)


def _value(kind: Any, value: Any, name: str) -> Any:
    """Check one value's type; a whole number is fine where a fraction may stand."""
    if get_args(kind) or kind not in (str, int, float, bool):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise TrainingError(f"{name} must be {words[kind]}, not {value!r}")
    return value


def check(recipe: Recipe) -> None:
    """Raise TrainingError for values that would train nothing or run for ever."""
    for number, task in enumerate(recipe.tasks):
        _check_task(task, f"tasks[{number}]", recipe.optimiser.max_padded_tokens)
    optimiser = recipe.optimiser
    if optimiser.trunk_rate <= 0 or optimiser.head_rate <= 0 or optimiser.clip <= 0:
        raise TrainingError("optimiser: trunk_rate, head_rate and clip must be above 0")
    if not 0 <= optimiser.warm_up < 1 or not 0 <= optimiser.dropout < 1:
        raise TrainingError("optimiser.warm_up and optimiser.dropout must be shares below 1")
    try:
        normaliser(recipe.text, recipe.text_version)
    except TextError as error:
        raise TrainingError(f"text: {error}") from error
    if recipe.run.precision not in ("auto", "fp32", "bf16"):
        raise TrainingError(f"run.precision must be auto, fp32 or bf16, not {recipe.run.precision!r}")
    if recipe.run.device not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"run.device must be auto, cpu or cuda, not {recipe.run.device!r}")
    if recipe.run.processes < 1 or recipe.run.threads < 0:
        raise TrainingError("run: processes must be at least 1, threads not below 0")
    if recipe.run.checkpoint_minutes <= 0 or recipe.run.minutes < 0:
        raise TrainingError("run: checkpoint_minutes must be above 0, minutes not below 0")


def _check_task(task: Task, where: str, max_padded_tokens: int) -> None:
    """Refuse a task that would train nothing."""
    _check_source(task, where)
    if task.epochs < 0 or (task.epochs == 0 and not task.file) or task.weight <= 0:
        raise TrainingError(f"{where}: epochs and weight must be above 0")
    if not 3 <= task.max_tokens <= max_padded_tokens:
        raise TrainingError(f"{where}.max_tokens must lie between 3 and optimiser.max_padded_tokens")
    if task.rows < 0:
        raise TrainingError(f"{where}.rows must not be below 0")
    if task.loss not in ("plain", "asymmetric"):
        raise TrainingError(f"{where}.loss must be plain or asymmetric, not {task.loss!r}")
    if not 0 <= task.balance <= 1 or not 0 <= task.smoothing < 1:
        raise TrainingError(f"{where}: balance and smoothing are shares")
    if not 0 <= task.hard <= 1 or not 0 <= task.masked < 1 or task.softening <= 0:
        raise TrainingError(f"{where}: hard and masked are shares, softening must be above 0")


_OF_TABLES = ("dev", "text_column", "label_column", "head", "labels", "held_out", "skip_bad")


def _check_source(task: Task, where: str) -> None:
    """Refuse a task with no rows, with two kinds of them, or with options of the other kind."""
    if bool(task.data) == bool(task.file):
        raise TrainingError(f"{where} needs either data, a known data set, or file, a table of your own")
    if task.data:
        plain = Task()
        for name in _OF_TABLES:
            if getattr(task, name) != getattr(plain, name):
                raise TrainingError(f"{where}.{name} goes with file, a table of your own, not with data")
    if task.labels not in ("auto", "one", "several"):
        raise TrainingError(f"{where}.labels must be auto, one or several, not {task.labels!r}")
    if not 0 < task.held_out < 1:
        raise TrainingError(f"{where}.held_out must be a share between 0 and 1")
