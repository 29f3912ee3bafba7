"""The whole way of a distillation: student taught, tuned, measured, described, made a pack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.lab.checkpoint import Checkpoint, write_folder
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.distill_card import card, card_of_recipe
from worker.lab.distill_run import Say, Settings, distil
from worker.lab.evaluate.examples import fitting
from worker.lab.evaluate.result import Result, table
from worker.lab.evaluate.run import as_json, evaluate
from worker.lab.evaluate.score import checkpoint_scorer, pack_scorer
from worker.lab.evaluate.tuning import tune
from worker.lab.files import write_json
from worker.lab.recipe import Recipe
from worker.lab.teachers import Teacher
from worker.lab.texts import Part
from worker.model.pack import Pack


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes; `data` is the folder of the known data sets, None where there is none."""

    work: Path
    pack: Path
    data: Path | None = None
    measure: bool = True

    @property
    def checkpoint(self) -> Path:
        """The fp32 student."""
        return self.work / "checkpoint"


def make_pack(
    teachers: Sequence[Teacher],
    student: Checkpoint,
    parts: Sequence[Part],
    places: Places,
    settings: Settings,
    *,
    name: str,
    recipe: Recipe | None = None,
    resume: bool = False,
    say: Say,
) -> Pack:
    """Distil, tune on dev where the data sets are there, convert, measure, write the figures into the card.

    The pack is there before it is measured, and is replaced by the same one with its figures afterwards. With
    a `recipe` of known data sets the card then tells of these as well.
    Raises TrainingError, CheckpointError or PackError, each with one readable line.
    """
    found = distil(teachers, student, parts, places.work, settings, resume=resume, say=say)
    write_folder(found.student, places.checkpoint)
    if places.data is not None:
        say("fitting temperatures and thresholds")
        tuned = with_heads(found.student, tune(checkpoint_scorer(places.checkpoint), places.data, say))
        found = replace(found, student=tuned)
        write_folder(tuned, places.checkpoint)
    names = {teacher.title: teacher.identity for teacher in teachers}

    def write(figures: list[tuple[str, list[Result]]]) -> Pack:
        if recipe is not None and figures:
            named = replace(recipe, name=name)
            text = card_of_recipe(named, found, names, parts, dict(figures), pack=places.pack)
        else:
            text = card(name, found, names, parts, figures)
        write_folder(found.student, places.checkpoint, text)
        pack = convert_checkpoint(places.checkpoint, places.pack, name=name, replace=True)
        say(f"pack {pack.name} {pack.revision} in {places.pack}")
        return pack

    pack = write([])
    return write(_measure(places, say)) if places.data is not None and places.measure else pack


def with_heads(checkpoint: Checkpoint, fitted: Mapping[str, Mapping[str, Any]]) -> Checkpoint:
    """Return the checkpoint with what was fitted for its heads: temperature, thresholds."""
    heads = {name: {**entry, **fitted.get(name, {})} for name, entry in checkpoint.config["heads"].items()}
    return checkpoint.with_config(heads=heads)


def _measure(places: Places, say: Say) -> list[tuple[str, list[Result]]]:
    """Measure the student as fp32 and as int8, and write `report.json`."""
    scorer = checkpoint_scorer(places.checkpoint)
    sets = fitting(scorer.heads, places.data, say=say) if places.data is not None else []
    figures = [
        ("fp32", evaluate(scorer, sets, say=say)),
        ("int8", evaluate(pack_scorer(places.pack), sets, say=say)),
    ]
    say(table(figures))
    write_json(places.work / "report.json", {form: as_json(results) for form, results in figures})
    return figures
