"""What the command line asks for, turned into a run."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import NEEDS_PACKAGES, TrainingError
from worker.lab.recipe import Optimiser, Recipe, Run, load_recipe

if TYPE_CHECKING:
    from worker.lab.checkpoint import Checkpoint
    from worker.lab.distill_run import Settings
    from worker.lab.teachers import Teacher
    from worker.lab.texts import Part
    from worker.model.pack import Pack

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """One distillation. None leaves a value to the recipe, or to the defaults where there is no recipe."""

    teachers: tuple[Path, ...]
    student: str
    out: Path
    texts: tuple[Path, ...] = ()
    text_field: str = "text"
    labels: Path | None = None
    """A recipe, whose tasks' rows and labels are learnt from."""
    layers: str | None = None
    data: str | None = None
    work: Path | None = None
    name: str | None = None
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
    quantised: bool = False
    measure: bool = True
    resume: bool = False


def carry_out(order: Order, say: Say) -> "Pack":
    """Distil as ordered; return the pack.

    Raises:
        TrainingError: packages are missing, or something in the order makes no sense.
        CheckpointError, PackError, InputError: a folder or file that cannot be read.
    """
    if any(util.find_spec(name) is None for name in ("torch", "safetensors", "onnx")):
        raise TrainingError(NEEDS_PACKAGES)
    if not order.texts and order.labels is None:
        raise TrainingError("nothing to learn from: give texts with --texts, a recipe with --labels, or both")
    recipe = load_recipe(order.labels) if order.labels is not None else None
    layers = read_layers(order.layers)
    # A thread that waits for the other sleeps instead of spinning; OpenMP reads this as torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from worker.lab.checkpoint import check_place
    from worker.lab.distill_build import (
        Places,
        make_pack,
    )
    from worker.lab.student import student_of
    from worker.lab.teachers import teacher_at

    check_place(order.out, order.teachers)
    settings = _settings(order, recipe)
    teachers = [teacher_at(folder) for folder in order.teachers]
    student = student_of(order.student, _first_checkpoint(order.teachers), layers, settings.run.seed)
    student = _with_shared_heads(student, teachers, recipe, say)
    work = order.work or order.out.with_name(order.out.name + "-work")
    places = Places(work, order.out, _data(order, recipe, say), order.measure)
    return make_pack(
        teachers,
        student,
        _parts(order, recipe, places.data, student),
        places,
        settings,
        name=order.name or order.out.resolve().name,
        recipe=recipe,
        resume=order.resume,
        say=say,
    )


def read_layers(text: str | None) -> int | list[int] | None:
    """Return a number of layers, or a list of them (from 1): `3`, or `1,3,6`. Raises TrainingError."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise TrainingError(
            f"layers must be a number such as 3, or a list such as 1,3,6, not {text!r}"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def _settings(order: Order, recipe: Recipe | None) -> "Settings":
    from worker.lab.data.sets import SOURCES
    from worker.lab.distill_loop import Weights
    from worker.lab.distill_run import Settings
    from worker.lab.quantised import (
        FORM,
        quantise,
    )

    optimiser, run = (recipe.optimiser, recipe.run) if recipe else (Optimiser(), Run())
    heads: dict[str, float] = {}
    for task in recipe.tasks if recipe else ():
        if task.data in SOURCES:
            heads.setdefault(task.head or SOURCES[task.data].head, task.weight)
    run = replace(
        run,
        minutes=run.minutes if order.minutes is None else order.minutes,
        seed=run.seed if order.seed is None else order.seed,
        threads=run.threads if order.threads is None else order.threads,
        processes=order.processes or run.processes,
    )
    optimiser = replace(optimiser, trunk_rate=order.rate or optimiser.trunk_rate)
    settings = Settings(optimiser, run, Weights(heads, order.first_weight, order.relations_weight))
    return replace(settings, prepare=quantise, prepared=FORM) if order.quantised else settings


def _first_checkpoint(folders: tuple[Path, ...]) -> Path | None:
    """Return the first teacher that is a checkpoint: it lends layers and heads."""
    return next((folder for folder in folders if (folder / "model.safetensors").is_file()), None)


def _data(order: Order, recipe: Recipe | None, say: Say) -> Path | None:
    """Return the folder of the data sets; a recipe needs it, measuring only likes to have it."""
    from worker.lab.data.sets import data_root

    try:
        return data_root(order.data, recipe.data if recipe else "")
    except TrainingError:
        if recipe is not None or order.data:
            raise
        say("no data sets at hand (--data): the pack is neither tuned nor measured")
        return None


def _parts(order: Order, recipe: Recipe | None, root: Path | None, student: "Checkpoint") -> "list[Part]":
    from worker.lab.texts import (
        read_recipe,
        read_texts,
    )

    parts = read_texts(
        order.texts,
        order.text_field,
        max_tokens=order.max_tokens,
        epochs=order.epochs,
        temperature=order.temperature,
    )
    if recipe is not None and root is not None:
        parts += read_recipe(recipe, root, student.heads)
    return parts


def _with_shared_heads(
    student: "Checkpoint", teachers: "list[Teacher]", recipe: Recipe | None, say: Say
) -> "Checkpoint":
    """Leave out heads of the student that no teacher has and no labels train."""
    from worker.lab.data.sets import SOURCES
    from worker.lab.student import without_heads

    taught = {name for teacher in teachers for name in teacher.heads}
    tasks = [task for task in (recipe.tasks if recipe else ()) if task.data in SOURCES]
    taught |= {task.head or SOURCES[task.data].head for task in tasks}
    left_out = [name for name in student.heads if name not in taught]
    for name in left_out:
        say(f"head {name} is left out: no teacher has it and no labels train it")
    return without_heads(student, left_out)
