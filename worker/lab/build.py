"""The whole way: base weights, training, thresholds, figures, the int8 graph, the card, the pack."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from worker.errors import TrainingError
from worker.heads import head_entry
from worker.lab import card, history, plots
from worker.lab import validation as judging
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.evaluate.behaviour import measure
from worker.lab.evaluate.result import Result, table
from worker.lab.evaluate.run import as_json, evaluate
from worker.lab.evaluate.score import checkpoint_scorer, pack_scorer
from worker.lab.files import with_heads, write_checkpoint, write_json, write_text
from worker.lab.history import read_history
from worker.lab.recipe import Recipe, recipe_text
from worker.lab.table_card import write_own_card
from worker.lab.train import Say, Trained, say_to_stderr, train
from worker.model.classifier import Classifier
from worker.model.pack import MANIFEST, Pack

CASES = Path(__file__).resolve().parents[2] / "tests" / "behaviour" / "cases"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes. `work` holds state, checkpoint and report; `pack` is what comes of it."""

    data: Path | None
    """The known data sets; None where the recipe names only tables, and nothing else is to be judged by."""
    work: Path
    pack: Path

    @property
    def checkpoint(self) -> Path:
        """The fp32 checkpoint folder, in transformers' form."""
        return self.work / "checkpoint"


def make_pack(recipe: Recipe, places: Places, *, resume: bool = False, say: Say = say_to_stderr) -> Pack:
    """Train, tune, measure, convert. The pack appears whole at the end, in place of an older one.

    Raises TrainingError, CheckpointError or PackError, each with one readable line.
    """
    check_target(places.pack)
    _keep_recipe(recipe, places.work)
    return finish(train(recipe, places.data, places.work, resume=resume, say=say), recipe, places, say=say)


def check_target(folder: Path) -> None:
    """Raise TrainingError where something else than a pack would have to make way for the new one."""
    if folder.is_dir() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise TrainingError(f"{folder} holds something else than a pack, which the new one would replace")
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; the pack is a folder")


def _keep_recipe(recipe: Recipe, work: Path) -> None:
    try:
        work.mkdir(parents=True, exist_ok=True)
        write_text(work / "recipe.toml", recipe_text(_absolute(recipe)))
    except OSError as error:
        raise TrainingError(f"cannot write into {work}: {error.strerror or error}") from error


def _absolute(recipe: Recipe) -> Recipe:
    """Return the recipe with tables and base weights that are found from any folder."""
    tasks = []
    for task in recipe.tasks:
        file, dev = (str(Path(name).resolve()) if name else "" for name in (task.file, task.dev))
        tasks.append(replace(task, file=file, dev=dev))
    base = str(Path(recipe.base).resolve()) if Path(recipe.base).is_dir() else recipe.base
    return replace(recipe, base=base, tasks=tuple(tasks))


def finish(trained: Trained, recipe: Recipe, places: Places, *, say: Say = say_to_stderr) -> Pack:
    """Tune, measure and convert what a run has left. Raises what `make_pack` raises."""
    write_trained(trained, places.checkpoint, {})
    say("fitting temperatures and thresholds")
    fitted = judging.fit(trained, checkpoint_scorer(places.checkpoint), places.data, say)
    write_trained(trained, places.checkpoint, fitted)
    scorer = checkpoint_scorer(places.checkpoint)
    sets = judging.sets(trained, scorer, places.data, say)
    fp32 = evaluate(scorer, sets, say=say)
    draft = places.work / "draft"
    base = trained.rounded_as
    convert_checkpoint(places.checkpoint, draft, name=recipe.name, replace=True, rounded_as=base)
    int8 = evaluate(pack_scorer(draft), sets, say=say)
    say(table([("fp32", fp32), ("int8", int8)]))
    write_json(places.work / "report.json", {"fp32": as_json(fp32), "int8": as_json(int8)})
    text = _card(trained, recipe, draft, fp32, int8)
    write_text(places.checkpoint / "MODEL_CARD.md", text)
    pack = convert_checkpoint(places.checkpoint, places.pack, name=recipe.name, replace=True, rounded_as=base)
    _draw(places.work, {"fp32": fp32, "int8": int8}, say)
    say(f"pack {pack.name} {pack.revision} in {places.pack}")
    return pack


def _card(trained: Trained, recipe: Recipe, draft: Path, fp32: list[Result], int8: list[Result]) -> str:
    if all(task.file for task in recipe.tasks):
        return write_own_card(recipe, _facts(trained), trained.tables, fp32, int8)
    hard = card.hard_table(Classifier.load(draft).classify)
    return card.write_card(recipe, _facts(trained), fp32, int8, behaviour=behaviour(draft), hard=hard)


def _draw(work: Path, figures: dict[str, list[Result]], say: Say) -> None:
    """Draw the run, where that is possible: a pack is none the worse without."""
    if not plots.can_draw():
        say(plots.NEEDS)
        return
    plots.draw_run(read_history(work / history.FILE), figures, work / plots.FILE)
    say(f"plot in {work / plots.FILE}")


def behaviour(pack: Path) -> str:
    """Return the behaviour tests' rates as a table; their cases lie beside the source, not in the package."""
    if not CASES.is_dir():
        return "Not measured: the cases lie in the source repository, under tests/behaviour."
    return measure(CASES, pack).as_markdown()


def write_trained(trained: Trained, folder: Path, fitted: dict[str, dict[str, Any]]) -> None:
    """Write a checkpoint folder; `fitted` holds what was fitted for a head: temperature, thresholds."""
    heads = {head.name: {**head_entry(head), **fitted.get(head.name, {})} for head in trained.heads}
    heads |= {name: {**entry, **fitted.get(name, {})} for name, entry in trained.kept.items()}
    weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    write_checkpoint(folder, with_heads(trained.config, heads), weights, trained.tokenizer)


def _facts(trained: Trained) -> card.Facts:
    """Return what the card tells of the run."""
    return card.Facts(
        heads=tuple(trained.heads),
        kept=tuple(trained.kept),
        rows=trained.rows,
        steps=trained.steps,
        planned=trained.planned,
        minutes=trained.elapsed_s / 60,
        precision=trained.precision,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__).partition("+")[0],
        parameters=sum(weight.numel() for weight in trained.network.parameters()),
        layers=int(trained.config["n_layers"]),
        dim=int(trained.config["dim"]),
        reads=int(trained.config["max_position_embeddings"]),
    )
