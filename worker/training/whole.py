"""The whole way: base weights, training, thresholds, figures, the int8 graph, the card, the pack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from worker.classifier import Classifier
from worker.classify import Pack
from worker.convert import convert_checkpoint
from worker.evaluation.behaviour import measure
from worker.evaluation.evaluate import as_json, evaluate
from worker.evaluation.examples import fitting
from worker.evaluation.result import table
from worker.evaluation.score import checkpoint_scorer, pack_scorer
from worker.evaluation.tuning import tune
from worker.training import card
from worker.training.files import with_heads, write_checkpoint, write_json
from worker.training.labels import HeadSpec
from worker.training.recipe import Recipe
from worker.training.train import Say, Trained, say_to_stderr, train

CASES = Path(__file__).resolve().parents[2] / "tests" / "behaviour" / "cases"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes. `work` holds state, checkpoint and report; `pack` is what comes of it."""

    data: Path
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
    return finish(train(recipe, places.data, places.work, resume=resume, say=say), recipe, places, say=say)


def finish(trained: Trained, recipe: Recipe, places: Places, *, say: Say = say_to_stderr) -> Pack:
    """Tune, measure and convert what a run has left. Raises what `make_pack` raises."""
    write_trained(trained, places.checkpoint, {})
    say("fitting temperatures and thresholds")
    write_trained(trained, places.checkpoint, tune(checkpoint_scorer(places.checkpoint), places.data, say))
    scorer = checkpoint_scorer(places.checkpoint)
    sets = fitting(scorer.heads, places.data, say=say)
    fp32 = evaluate(scorer, sets, say=say)
    draft = places.work / "draft"
    convert_checkpoint(places.checkpoint, draft, name=recipe.name, replace=True)
    int8 = evaluate(pack_scorer(draft), sets, say=say)
    say(table([("fp32", fp32), ("int8", int8)]))
    write_json(places.work / "report.json", {"fp32": as_json(fp32), "int8": as_json(int8)})
    hard = card.hard_table(Classifier.load(draft).classify)
    text = card.write_card(recipe, _facts(trained), fp32, int8, behaviour=_behaviour(draft), hard=hard)
    (places.checkpoint / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    pack = convert_checkpoint(places.checkpoint, places.pack, name=recipe.name, replace=True)
    say(f"pack {pack.name} {pack.revision} in {places.pack}")
    return pack


def _behaviour(pack: Path) -> str:
    """Return the behaviour tests' rates as a table; their cases lie beside the source, not in the package."""
    if not CASES.is_dir():
        return "Not measured: the cases lie in the source repository, under tests/behaviour."
    return measure(CASES, pack).as_markdown()


def write_trained(trained: Trained, folder: Path, fitted: dict[str, dict[str, Any]]) -> None:
    """Write a checkpoint folder; `fitted` holds what was fitted for a head: temperature, thresholds."""
    heads = {head.name: {**_head_table(head), **fitted.get(head.name, {})} for head in trained.heads}
    weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    write_checkpoint(folder, with_heads(trained.config, heads), weights, trained.tokenizer)


def _head_table(head: HeadSpec) -> dict[str, Any]:
    """Return what config.json says of a head."""
    entry: dict[str, Any] = {
        "problem_type": head.problem_type,
        "id2label": {str(number): label for number, label in enumerate(head.labels)},
    }
    if head.by_token:
        entry["layers"] = list(head.layers)
    if head.gate is not None:
        entry["gate"] = head.gate._asdict()
    if head.groups:
        entry["groups"] = {name: list(labels) for name, labels in head.groups}
    return entry


def _facts(trained: Trained) -> card.Facts:
    """Return what the card tells of the run."""
    return card.Facts(
        heads=tuple(trained.heads),
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
