"""The whole way: base weights, training, thresholds, figures, the int8 graph, the card, the pack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from worker.classify import Pack
from worker.convert import convert_checkpoint
from worker.evaluation import evaluate, thresholds
from worker.evaluation.score import checkpoint_scorer, pack_scorer
from worker.training import card
from worker.training.files import with_heads, write_checkpoint, write_json
from worker.training.labels import EMOTION, HeadSpec
from worker.training.recipe import Recipe
from worker.training.train import Say, Trained, say_to_stderr, train


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
    trained = train(recipe, places.data, places.work, resume=resume, say=say)
    write_trained(trained, places.checkpoint, {})
    scorer = checkpoint_scorer(places.checkpoint)
    if EMOTION in trained.heads:
        chosen = thresholds.tune(*evaluate.dev_emotions(scorer, places.data))
        write_trained(trained, places.checkpoint, {EMOTION.name: [float(value) for value in chosen]})
    say("measuring the checkpoint")
    benchmarks = evaluate.benchmarks_for(trained.heads)
    fp32 = evaluate.evaluate(scorer, places.data, benchmarks)
    say(evaluate.table(fp32))
    draft = places.work / "draft"
    convert_checkpoint(places.checkpoint, draft, name=recipe.name, replace=True)
    say("measuring the int8 pack")
    int8 = evaluate.evaluate(pack_scorer(draft), places.data, benchmarks)
    say(evaluate.table(int8))
    write_json(places.work / "report.json", {"fp32": evaluate.as_json(fp32), "int8": evaluate.as_json(int8)})
    text = card.write_card(recipe, _facts(trained), fp32, int8)
    (places.checkpoint / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    pack = convert_checkpoint(places.checkpoint, places.pack, name=recipe.name, replace=True)
    say(f"pack {pack.name} {pack.revision} in {places.pack}")
    return pack


def write_trained(trained: Trained, folder: Path, chosen: dict[str, list[float]]) -> None:
    """Write a checkpoint folder; `chosen` holds the thresholds of the multi-label heads that have any."""
    heads = {head.name: _head_table(head, chosen.get(head.name)) for head in trained.heads}
    weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    write_checkpoint(folder, with_heads(trained.config, heads), weights, trained.tokenizer)


def _head_table(head: HeadSpec, chosen: list[float] | None) -> dict[str, Any]:
    """Return what config.json says of a head."""
    table: dict[str, Any] = {
        "problem_type": head.problem_type,
        "id2label": {str(number): label for number, label in enumerate(head.labels)},
    }
    if chosen is not None:
        table["thresholds"] = chosen
    if head.by_token:
        table["layers"] = list(head.layers)
    if head.gate is not None:
        table["gate"] = head.gate._asdict()
    if head.groups:
        table["groups"] = {name: list(labels) for name, labels in head.groups}
    return table


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
