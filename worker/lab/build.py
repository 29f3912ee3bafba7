"""From trained weights to a pack: thresholds, figures, the int8 graph and the card."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import LabError, TrainingError
from worker.heads import Head
from worker.lab import Progress, has, plots
from worker.lab.card import ENOUGH, Figures, recipe_card, table_card
from worker.lab.checkpoint import Trained, write_folder
from worker.lab.convert.folders import check_target
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.data.labels import HEADS
from worker.lab.data.table import Held
from worker.lab.evaluate.examples import Examples, fitting, gold_table
from worker.lab.evaluate.measure import evaluate
from worker.lab.evaluate.result import table
from worker.lab.evaluate.score import Scorer, checkpoint_scorer, pack_scorer
from worker.lab.evaluate.tuning import tune, tune_head
from worker.lab.recipe import Recipe, recipe_text
from worker.lab.train import say_to_stderr, train
from worker.model.pack import Pack

Describe = Callable[[Trained, Figures, Path], str]
"""Makes the model card from what was trained and fitted, the figures, and the draft of the pack that was
measured."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes. `work` holds state, checkpoint and report; `pack` the finished pack."""

    data: Path | None
    """The known data sets; None if the recipe names only tables and nothing else is used for measuring."""
    work: Path
    pack: Path
    measure: bool = True

    @property
    def checkpoint(self) -> Path:
        """The fp32 checkpoint folder, in transformers' form."""
        return self.work / "checkpoint"


def make_pack(recipe: Recipe, places: Places, *, resume: bool = False, say: Progress = say_to_stderr) -> Pack:
    """Train, tune, measure, convert. The pack appears whole at the end, in place of an older one.

    Raises LabError or PackError, each with one readable line.
    """
    check_target(places.pack, places.work, replace=True)
    places.work.mkdir(parents=True, exist_ok=True)
    _write_text(places.work / "recipe.toml", recipe_text(_absolute(recipe)))
    trained = train(recipe, places.data, places.work, resume=resume, say=say)

    def describe(fitted: Trained, figures: Figures, draft: Path) -> str:
        if all(task.file for task in recipe.tasks):
            return table_card(recipe, fitted, figures)
        return recipe_card(recipe, fitted, {}, figures, draft)

    return finish(trained, places, recipe.name, describe, say)


def _absolute(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths for its tables and base weights."""
    tasks = []
    for task in recipe.tasks:
        paths = {
            name: str(Path(value).resolve()) for name in ("file", "dev") if (value := getattr(task, name))
        }
        tasks.append(task.changed(**paths))
    base = str(Path(recipe.base).resolve()) if Path(recipe.base).is_dir() else recipe.base
    return recipe.changed(base=base, tasks=tuple(tasks))


def finish(trained: Trained, places: Places, name: str, describe: Describe, say: Progress) -> Pack:
    """Tune, measure, describe and convert the result of a run. Raises LabError or PackError."""
    checkpoint, measured = trained.checkpoint, places.data is not None or bool(trained.tables)
    write_folder(checkpoint, places.checkpoint)
    if measured:
        say("fitting temperatures and thresholds")
        fitted = fit(trained, checkpoint_scorer(places.checkpoint), places.data, say)
        checkpoint = checkpoint.with_fitted(fitted)
        write_folder(checkpoint, places.checkpoint)
    draft = places.work / "draft"
    convert = partial(convert_checkpoint, name=name, replace=True, rounded_as=trained.rounded_as)
    figures: Figures = {}
    if measured and places.measure:
        convert(places.checkpoint, draft)
        figures = _measure(trained, places, draft, say)
    fitted_result = replace(trained, checkpoint=checkpoint)
    write_folder(checkpoint, places.checkpoint, describe(fitted_result, figures, draft))
    pack = convert(places.checkpoint, places.pack)
    _draw(places.work, figures, say)
    say(f"pack {pack.name} {pack.revision} in {places.pack}")
    return pack


def _measure(trained: Trained, places: Places, draft: Path, say: Progress) -> Figures:
    """Measure the checkpoint and the draft of its pack, and write `report.json`."""
    scorer = checkpoint_scorer(places.checkpoint)
    sets = validation_sets(trained, scorer, places.data, say)
    figures = {
        "fp32": evaluate(scorer, sets, say=say),
        "int8": evaluate(pack_scorer(draft), sets, say=say),
    }
    say(table(list(figures.items())))
    report = {form: [result.as_json() for result in results] for form, results in figures.items()}
    _write_text(places.work / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return figures


def _draw(work: Path, figures: Figures, say: Progress) -> None:
    """Draw the run if matplotlib is installed; the pack does not need the plot."""
    if not has("plots"):
        say("no plot: that needs: pip install 'moodstream[plots]'")
        return
    plots.draw_run(plots.read_history(work / plots.HISTORY), figures, work / plots.PICTURE)
    say(f"plot in {work / plots.PICTURE}")


def _write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically. Raises TrainingError if it cannot be written."""
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


def fit(trained: Trained, scorer: Scorer, root: Path | None, say: Progress) -> dict[str, dict[str, Any]]:
    """Fit each head's temperature and thresholds: on the known sets, or else on its held-out rows.

    A head that was not trained keeps its values, unless its gate reads a head that was trained.
    """
    entries = trained.checkpoint.config["heads"]
    gates = {name: (entries[name].get("gate") or {}).get("head") for name in trained.kept}
    kept = [name for name, gate in gates.items() if gate is None or gate in trained.kept]
    fitted = {} if root is None else tune(scorer, root, say, kept=kept)
    heads = {table.head.name: table.head for table in trained.tables.values()}
    for name, head in heads.items():
        if name in fitted:
            continue
        parts = [table.held for table in trained.tables.values() if table.head.name == name]
        held = Held([text for part in parts for text in part.texts], [row for p in parts for row in p.labels])
        if len(held.texts) < ENOUGH:
            say(
                f"head {name}: {len(held.texts)} held-out rows are too few to fit a temperature or thresholds"
            )
            continue
        try:
            fitted[name] = tune_head(scorer, held_out(name, head, held), fitted)
        except LabError as error:
            say(f"head {name} is not tuned: {error}")
    return fitted


def validation_sets(trained: Trained, scorer: Scorer, root: Path | None, say: Progress) -> list[Examples]:
    """Return everything the model is measured on: held-out rows of tables, dev splits of the known sets."""
    own = [held_out(title, table.head, table.held) for title, table in trained.tables.items()]
    return own if root is None else [*own, *fitting(scorer.heads, root, say=say)]


def held_out(title: str, head: Head, held: Held) -> Examples:
    """Return held-out rows as examples to measure on.

    If the rows of a known single-label head have only some of its labels, only those are compared.
    """
    name, tuned = f"{title}, held out", len(held.texts) >= ENOUGH
    if head.multi_label:
        table = gold_table(held.labels, len(head.labels))
        return Examples(title, name, head.name, held.texts, head.labels, table=table, tuned=tuned)
    used = list(range(len(head.labels)))
    if head.name in HEADS:
        used = sorted({row[0] for row in held.labels})
    classes = np.searchsorted(np.array(used), np.array([row[0] for row in held.labels])).astype(np.int64)
    labels = tuple(head.labels[number] for number in used)
    return Examples(title, name, head.name, held.texts, labels, classes=classes, tuned=tuned)
