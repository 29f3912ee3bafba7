"""A recipe from its TOML file: every name known, every value of its kind."""

import difflib
import tomllib
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from worker.training.errors import TrainingError
from worker.training.recipe import Depths, Mean, Optimiser, OwnLayers, Recipe, Run, Task
from worker.training.recipe_check import check


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
