"""A whole run: base weights, tasks, the plan of batches, and the network that comes of it."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from worker.errors import TrainingError
from worker.lab.average import average, weights_of
from worker.lab.base import Base, read_base
from worker.lab.data.labels import HEADS, HeadSpec, in_order
from worker.lab.data.table import OwnRows
from worker.lab.data.tasks import TaskData, read_tasks
from worker.lab.device import keep_memory
from worker.lab.loop import Loop
from worker.lab.losses import targets
from worker.lab.network import Network
from worker.lab.plan import plan
from worker.lab.recipe import Recipe
from worker.lab.team import Team, gathered

Say = Callable[[str], None]
_STATE = "state.safetensors"
_MASK = "[MASK]"


def say_to_stderr(line: str) -> None:
    """Write one line of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Trained:
    """What a run leaves."""

    network: Network
    config: dict[str, Any]
    tokenizer: Path
    heads: list[HeadSpec]
    kept: dict[str, dict[str, Any]]
    """What config.json says of heads that came with the base and were not trained, by name."""
    rounded_as: Path | None
    """The pack whose trunk this one has, where it was not trained."""
    steps: int
    planned: int
    rows: dict[str, int]
    """Rows by the title of their task, after removing what the dev splits hold too."""
    elapsed_s: float
    precision: str
    tables: dict[str, OwnRows]
    """Tables of one's own by the title of their task, with what they kept to judge by."""


def train(
    recipe: Recipe, root: Path | None, work: Path, *, resume: bool = False, say: Say = say_to_stderr
) -> Trained:
    """Train as the recipe says; the state goes to `work` every few minutes.

    With `resume` a run goes on where its last state stands (from the start if there is none). In one process
    and without a time limit it comes to the same result as a run without a break. Raises TrainingError.
    """
    with gathered(recipe.run.processes, partial(_take_part, recipe, root, work, resume)) as team:
        return _train(recipe, root, work, resume, say=say, team=team)


def _take_part(recipe: Recipe, root: Path | None, work: Path, resume: bool, team: Team) -> None:
    """Train as one of the other members: in silence, and without anything to show for it."""
    _train(recipe, root, work, resume, say=lambda _line: None, team=team)


def _train(recipe: Recipe, root: Path | None, work: Path, resume: bool, *, say: Say, team: Team) -> Trained:
    keep_memory()
    if recipe.run.threads or team.size > 1:
        torch.set_num_threads(recipe.run.threads or max(1, torch.get_num_threads() // team.size))
    for mean in recipe.means:
        weights_of(Path(mean.checkpoint))  # refused now, not after hours
    base = read_base(recipe.base, work)
    config = dict(base.config)
    if recipe.text != "raw":
        config["text"] = {"name": recipe.text, "version": recipe.text_version}
    if base.text not in (None, (recipe.text, recipe.text_version)):
        if recipe.frozen and base.text[0] != recipe.text:
            raise TrainingError(f"frozen: the base knows texts prepared by {base.text[0]}, not {recipe.text}")
        say(
            f"the base weights know texts prepared by {base.text[0]} {base.text[1]}, this run "
            f"{recipe.text} {recipe.text_version}"
        )
    if team.rank:
        team.agree(0)  # the first member asks the teachers, the others find the answers
    tasks = read_tasks(recipe, root, base.tokenizer, work, say)
    if not team.rank:
        team.agree(0)
    trained = {task.head.name for task in tasks}
    kept = base.kept_heads(trained) if recipe.frozen else []
    entries = {head.name: _kept_entry(base.heads[head.name], head, recipe) for head in kept}
    heads = in_order([task.head for task in tasks] + kept)
    _check_depths(recipe, heads)
    network = _network(config, heads, base, recipe, work)
    _start_biases(network, tasks)
    _take_over(network, base, heads, say)
    if recipe.frozen:
        freeze(network, trained)
    steps = plan(
        [[len(row) for row in task.ids] for task in tasks],
        [task.epochs for task in tasks],
        recipe.optimiser.max_padded_tokens,
        recipe.run.seed,
    )
    mask_id = Tokenizer.from_file(str(base.tokenizer)).token_to_id(_MASK) or 0
    loop = Loop(recipe, network, tasks, steps, path=work / _STATE, say=say, mask_id=mask_id, team=team)
    elapsed_s = loop.run(resume)
    average(network, recipe.means)
    return Trained(
        network=network.to("cpu"),
        config=config,
        tokenizer=base.tokenizer,
        heads=heads,
        kept=entries,
        rounded_as=base.pack if recipe.frozen else None,
        steps=loop.done,
        planned=len(steps),
        rows={task.task.title: len(task.ids) for task in tasks},
        elapsed_s=elapsed_s,
        precision=loop.position.precision,
        tables={task.task.title: task.table for task in tasks if task.table is not None},
    )


def _check_depths(recipe: Recipe, heads: Sequence[HeadSpec]) -> None:
    """Raise TrainingError for depths of a head that nobody knows: they would go unseen.

    A known head that this run does not train may have some, for the recipe's other stages.
    """
    known = {head.name for head in (*HEADS.values(), *heads) if head.by_token}
    for depths in recipe.depths:
        if depths.head not in known:
            raise TrainingError(f"depths: no token head {depths.head!r}: there is {', '.join(sorted(known))}")


def _network(
    config: dict[str, Any], heads: list[HeadSpec], base: Base, recipe: Recipe, work: Path
) -> Network:
    """Return the network with the base's trunk, fresh heads, and branches that begin as layers of a base."""
    network = Network(config, heads)
    network.distilbert.load_state_dict(_tensors(base.weights))
    network.reset_heads(recipe.run.seed)
    starts = {depths.head: depths.branch.start for depths in recipe.depths if depths.branch is not None}
    for head in heads:
        if head.branch is not None:
            start = starts.get(head.name, "")
            source = read_base(start, work) if start else base
            if (dim := source.config["dim"]) != config["dim"]:
                raise TrainingError(f"head {head.name}: its branch cannot start from {start}, {dim} wide")
            layers = source.layers(head.branch.after, head.branch.layers)
            network.heads[head.name].transformer.layer.load_state_dict(_tensors(layers))
    return network


def _kept_entry(entry: dict[str, Any], head: HeadSpec, recipe: Recipe) -> dict[str, Any]:
    """Return what config.json says of a head that stays: as it was, but for a gate that the recipe moves.

    Raises TrainingError where the recipe wants other layers of it.
    """
    for depths in recipe.depths:
        if depths.head == head.name:
            if depths.layers != head.layers or depths.branch is not None:
                raise TrainingError(f"head {head.name} stays frozen: it reads layers {list(head.layers)}")
            if depths.gate and head.gate is not None:
                entry = {**entry, "gate": asdict(replace(head.gate, threshold=depths.gate))}
    return entry


def _tensors(weights: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in weights.items()}  # a copy: a pack's are read-only


def freeze(network: Network, trained: Collection[str]) -> None:
    """Leave the trunk and all heads but the `trained` ones as they are."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"heads.{head}.") for head in trained))


def _take_over(network: Network, base: Base, heads: list[HeadSpec], say: Say) -> None:
    """Go on with the heads that the base has trained already. Raises TrainingError."""
    known = base.heads_for(heads)
    for name in known:
        head = network.heads[name]
        shapes = {key: tuple(tensor.shape) for key, tensor in head.state_dict().items()}
        weights = base.head_weights(name, shapes)
        head.load_state_dict(_tensors(weights))
    if known:
        say(f"heads that go on from the base: {', '.join(known)}")


def _start_biases(network: Network, tasks: Sequence[TaskData]) -> None:
    """Let a multi-label head begin at each label's share of the rows, as a logit.

    From 0 it would begin by unlearning that every label is as likely as not, which takes AdamW, whose steps
    are about the rate long, thousands of steps.
    """
    for task in tasks:
        if task.head.multi_label and task.labelled:
            counts = targets(task.head, task.labels).sum(dim=0)
            shares = (counts + 1) / (len(task.labels) + 2)
            with torch.no_grad():
                network.heads[task.head.name].classifier.bias.copy_(torch.log(shares / (1 - shares)))
