"""Training on labelled text: from base weights and a recipe's tasks to a trained network."""

import hashlib
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from worker.errors import PackError, TrainingError
from worker.heads import Head, head_entry
from worker.lab import Progress
from worker.lab.bases import read_base
from worker.lab.checkpoint import Checkpoint, Tensors, Trained, average, read_tensors
from worker.lab.data.labels import HEADS, in_order
from worker.lab.data.tasks import Answered, TaskData, read_tasks
from worker.lab.data.tokens import Ids, pad
from worker.lab.device import LocalSgd, keep_memory, local_sgd
from worker.lab.losses import Form, loss, targets, teacher_loss, token_loss
from worker.lab.network import Network, config_of, weights_of
from worker.lab.plan import Step, batches, plan
from worker.lab.recipe import Recipe
from worker.lab.trainer import Lesson, Loss, Trainer, set_threads
from worker.model.text.names import own_table
from worker.model.text.normaliser import Normaliser

_PADDED = 4_096
"""The most tokens in a batch for a frozen encoder, including padding."""


def say_to_stderr(line: str) -> None:
    """Write one line of progress to standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def train(
    recipe: Recipe, root: Path | None, work: Path, *, resume: bool = False, say: Progress = say_to_stderr
) -> Trained:
    """Train by the recipe, saving the state to `work` every few minutes.

    `root` holds the known data sets; None if the recipe names only tables. With `resume` a run continues from
    its last state, or starts anew if there is none. In one process and without a time limit the result is
    the same as that of an uninterrupted run. Raises TrainingError.
    """
    with local_sgd(recipe.run.processes, partial(_take_part, recipe, root, work, resume)) as group:
        return _train(recipe, root, work, resume=resume, say=say, group=group)


def _take_part(recipe: Recipe, root: Path | None, work: Path, resume: bool, group: LocalSgd) -> None:
    """Train as one of the other processes: without progress lines and without a result."""
    _train(recipe, root, work, resume=resume, say=lambda _line: None, group=group)


def _train(
    recipe: Recipe, root: Path | None, work: Path, *, resume: bool, say: Progress, group: LocalSgd
) -> Trained:
    keep_memory()
    set_threads(recipe.run, group)
    for mean in recipe.means:
        read_tensors(Path(mean.checkpoint))  # fail now rather than after hours
    base = read_base(recipe.base)
    recipe = _within(recipe, base, say)
    _check_text(recipe, base, say)
    with tempfile.TemporaryDirectory() as scratch, group.first_alone():
        tokenizer = Path(scratch) / "tokenizer.json"
        tokenizer.write_text(base.tokenizer, encoding="utf-8")
        handling = base.named(recipe.text, recipe.text_version)
        tasks = read_tasks(recipe, root, tokenizer, work, say, handling=handling)
    learning = [task.head for task in tasks] + [other.head for task in tasks for other in task.also]
    trained = {head.name for head in learning}
    kept = [head for name, head in base.heads.items() if name not in trained] if recipe.frozen else []
    heads = in_order(learning + kept)
    _check_depths(recipe, heads)
    config = _config(recipe, base, heads, kept)
    network = _network(config, heads, base, recipe, say)
    new = [head.name for head in heads if head.name not in _known(base, heads)]
    _start_biases(network, [each for task in tasks for each in _labelled(task) if each.head.name in new])
    if recipe.frozen:
        freeze(network, trained)
    steps = plan(
        [[len(row) for row in task.ids] for task in tasks],
        [task.epochs for task in tasks],
        recipe.optimiser.max_padded_tokens,
        recipe.run.seed,
    )
    trainer = Trainer(
        TrainingLesson(recipe, network, tasks, steps, say),
        network,
        steps,
        optimiser=recipe.optimiser,
        run=recipe.run,
        identity=digest(recipe, tasks, steps, handling.table),
        mask_id=Tokenizer.from_str(base.tokenizer).token_to_id("[MASK]") or 0,
        work=work,
        say=say,
        group=group,
    )
    trainer.run(resume)
    still = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    tensors = average(weights_of(network), recipe.means, still)
    return replace(
        trainer.trained(
            Checkpoint(recipe.name, config, tensors, base.tokenizer, emoji=_emoji(base, handling)),
            {task.task.title: len(task.ids) for task in tasks},
        ),
        kept=tuple(head.name for head in kept),
        rounded_as=base.pack if recipe.frozen else None,
        tables={task.task.title: task.table for task in tasks if task.table is not None},
    )


def _within(recipe: Recipe, base: Checkpoint, say: Progress) -> Recipe:
    """Return the recipe with no longer texts than the base reads; report what is cut."""
    most = base.sizes.max_position_embeddings
    tasks = []
    for task in recipe.tasks:
        if task.max_tokens > most:
            wanted = f"{task.max_tokens:,}"
            say(f"{task.title}: texts are cut at {most:,} tokens, as the base reads no more, not at {wanted}")
        tasks.append(task.changed(max_tokens=most) if task.max_tokens > most else task)
    return recipe if tuple(tasks) == recipe.tasks else recipe.changed(tasks=tuple(tasks))


def _check_text(recipe: Recipe, base: Checkpoint, say: Progress) -> None:
    """Report a base trained with another text handling. Raises TrainingError if the base is frozen."""
    if base.text in (None, (recipe.text, recipe.text_version)):
        return
    name, version = base.text
    if recipe.frozen and name != recipe.text:
        raise TrainingError(f"frozen: the base was trained on texts prepared by {name}, not {recipe.text}")
    say(
        f"the base weights were trained on texts prepared by {name} {version}, this run uses "
        f"{recipe.text} {recipe.text_version}"
    )


def _emoji(base: Checkpoint, handling: Normaliser) -> str:
    """Return the table of emoji names that the texts were read with, or "" if they were read with none."""
    return (base.emoji or own_table().decode()) if handling.named is not None else ""


def _check_depths(recipe: Recipe, heads: Sequence[Head]) -> None:
    """Raise TrainingError for layers of an unknown head, which would have no effect.

    A known head that this run does not train is allowed, for the recipe's other stages.
    """
    known = {head.name for head in (*HEADS.values(), *heads) if head.by_token}
    for depths in recipe.depths:
        if depths.head not in known:
            raise TrainingError(f"depths: no token head {depths.head!r}; there is {', '.join(sorted(known))}")


def _config(recipe: Recipe, base: Checkpoint, heads: Sequence[Head], kept: Sequence[Head]) -> dict[str, Any]:
    """Return the new checkpoint's configuration."""
    config = base.encoder_config
    if recipe.text != "raw":
        config["text"] = {"name": recipe.text, "version": recipe.text_version}
    if recipe.languages is not None:
        config["languages"] = list(recipe.languages)
    table = {head.name: head_entry(head) for head in heads}
    table |= {head.name: _kept_entry(base.config["heads"][head.name], head, recipe) for head in kept}
    return {**config, "architectures": ["DistilBertModel"], "heads": table}


def _kept_entry(entry: dict[str, Any], head: Head, recipe: Recipe) -> dict[str, Any]:
    """Return the config.json entry of an untrained head: unchanged except for a gate that the recipe moves.

    Raises TrainingError if the recipe asks for other layers of it.
    """
    for depths in recipe.depths:
        if depths.head == head.name:
            if depths.layers != head.layers or depths.branch is not None:
                raise TrainingError(f"head {head.name} stays frozen: it reads layers {list(head.layers)}")
            if depths.gate and head.gate is not None:
                entry = {**entry, "gate": asdict(replace(head.gate, threshold=depths.gate))}
    return entry


def _known(base: Checkpoint, heads: Sequence[Head]) -> list[str]:
    """Return the heads that the base already has, with the same labels and layers."""

    def shape(head: Head) -> tuple[object, ...]:
        return head.problem_type, head.labels, head.layers, head.branch

    found = base.heads
    return [head.name for head in heads if head.name in found and shape(found[head.name]) == shape(head)]


def _network(
    config: dict[str, Any], heads: Sequence[Head], base: Checkpoint, recipe: Recipe, say: Progress
) -> Network:
    """Return the network with the base's encoder and known heads; other heads are newly initialised.

    A new head's own layers start as copies of a base's layers.
    """
    try:
        network = Network(config_of(config))
    except PackError as error:  # such as a token head whose gate is not a head of this model
        raise TrainingError(f"the heads of this recipe do not make a valid model: {error}") from error
    network.distilbert.load_state_dict(_tensors(base.of_encoder()))
    network.reset_heads(recipe.run.seed)
    starts = {depths.head: depths.branch.start for depths in recipe.depths if depths.branch is not None}
    for head in heads:
        if head.branch is not None:
            start = starts.get(head.name, "")
            source = read_base(start) if start else base
            if source.sizes.dim != base.sizes.dim:
                wide = f"{source.sizes.dim} wide"
                raise TrainingError(f"head {head.name}: its branch cannot start from {start}, {wide}")
            layers = _layers(source, head.branch.after, head.branch.layers)
            network.token_head(head.name).transformer.layer.load_state_dict(_tensors(layers))
    known = _known(base, heads)
    for name in known:
        network.heads[name].load_state_dict(_tensors(base.of_head(name)))
    if known:
        say(f"heads continued from the base: {', '.join(known)}")
    return network


def _layers(source: Checkpoint, after: int, count: int) -> Tensors:
    """Return the weights of `count` layers above layer `after`, numbered from 0. Raises TrainingError."""
    if after + count > source.sizes.n_layers:
        have = source.sizes.n_layers
        raise TrainingError(f"a branch needs layers {after + 1} to {after + count}; its start has {have}")
    return {
        f"{number}.{part}": array
        for number in range(count)
        for part, array in source.of_layer(after + number).items()
    }


def _tensors(arrays: Tensors) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}  # a copy: a pack's are read-only


def _labelled(task: TaskData) -> list[Answered]:
    """Return what a task's labels say, by head, its own head last; of other heads only the labelled rows."""
    others = [Answered(other.head, [row for row in other.labels if row]) for other in task.also]
    return [*others, *([task.own] if task.labelled else [])]


def _start_biases(network: Network, answered: Sequence[Answered]) -> None:
    """Initialise the biases of a new multi-label head with each label's share of the rows, as logits.

    With biases of 0 every label would start with a probability of one half. AdamW changes a weight by about
    the learning rate in each step, so unlearning that would take thousands of steps.
    """
    for each in answered:
        if each.head.multi_label:
            counts = targets(each.head, each.labels).sum(dim=0)
            shares = (counts + 1) / (len(each.labels) + 2)
            with torch.no_grad():
                network.text_head(each.head.name).classifier.bias.copy_(torch.log(shares / (1 - shares)))


def freeze(network: Network, trained: Collection[str]) -> None:
    """Freeze the encoder and all heads but the `trained` ones."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"heads.{head}.") for head in trained))


def digest(recipe: Recipe, tasks: Sequence[TaskData], steps: Sequence[Step], names: str = "") -> str:
    """Return the digest that identifies a run: of its tasks, rates, seed, and batches.

    The fields for tables are not part of a task's `repr`; the tables' rows are included instead.
    """
    run = (recipe.run.seed, recipe.run.minutes, list(steps))
    text = (recipe.text, recipe.text_version)
    parts = repr((recipe.base, *text, recipe.depths, recipe.tasks, recipe.optimiser, *run))
    found = hashlib.sha256(parts.encode())  # means are applied after the steps, so they are left out
    found.update(names.encode())  # the digest of the table of emoji names, if there is one
    if recipe.frozen:
        found.update(b"frozen")
    for task in tasks:
        if task.task.also:
            found.update(repr([(other.head.name, other.labels) for other in task.also]).encode())
        if task.task.teachers or (task.task.head and not task.task.file):
            found.update(repr((task.task.teachers, task.task.head)).encode())
        if task.task.file:
            found.update(repr((task.head, task.labels)).encode())
            for row in task.ids:
                found.update(row.tobytes())
    return found.hexdigest()[:16]


class TrainingLesson(Lesson):
    """Trains a task's head on one batch of that task at a time."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        tasks: Sequence[TaskData],
        steps: Sequence[Step],
        say: Progress,
    ) -> None:
        self._network, self._tasks, self._say = network, tasks, say
        self._dropout = recipe.optimiser.dropout
        self._read_once = pays(recipe, tasks, steps)
        self._states: FrozenStates | None = None
        self.titles = [task.task.title for task in tasks]
        self.ids = [task.ids for task in tasks]
        self.masked = [task.task.masked for task in tasks]

    def begin(self) -> None:
        """Run a frozen encoder on all texts once, if that saves time."""
        if self._read_once:
            self._states = FrozenStates(
                self._network, self._tasks, device=self.device, bf16=self.bf16, say=self._say
            )

    def loss(self, step: Step, ids: torch.Tensor, real: torch.Tensor | None) -> Loss:
        """Return the loss of a batch of one task."""
        task = self._tasks[step.task]
        if task.head.by_token:
            value = self._token_loss(task, step.rows, ids, real)
            return Loss(value * task.task.weight, {task.task.title: value})
        kept = self._states.of(step.task, step.rows) if self._states is not None else None
        first = self._network(ids, real) if kept is None else kept
        first = functional.dropout(first, self._dropout)
        value = self._text_loss(task, task.own, step.rows, first, labelled=task.labelled)
        parts = {task.task.title: value}
        for other in task.also:
            rows = [number for number, row in enumerate(step.rows) if other.labels[row]]
            if rows:
                where = [step.rows[number] for number in rows]
                value = self._text_loss(task, other, where, first[rows], labelled=True)
                # Over the whole batch, so that a batch with few labels does not count as much as a full one.
                parts[f"{task.task.title}, {other.head.name}"] = value * (len(rows) / len(step.rows))
        return Loss(torch.stack(list(parts.values())).sum() * task.task.weight, parts)

    def _text_loss(
        self,
        task: TaskData,
        answered: Answered,
        rows: Sequence[int],
        first: torch.Tensor,
        *,
        labelled: bool,
    ) -> torch.Tensor:
        """Return the loss of one head on some rows, whose first tokens' states are `first`."""
        head = answered.head
        logits = self._network.text_head(head.name)(first)

        def from_labels() -> torch.Tensor:
            wanted = targets(head, [answered.labels[row] for row in rows])
            form = task.form if head is task.head else Form()
            return loss(head, logits, wanted.to(self.device), form)

        if answered.teacher_scores is None:
            return from_labels()
        scores = torch.from_numpy(answered.teacher_scores[list(rows)]).to(self.device)
        value = teacher_loss(logits, scores, answered.columns, head.multi_label, task.task.softening)
        hard = task.task.hard if labelled else 0.0
        return hard * from_labels() + (1 - hard) * value if hard else value

    def _token_loss(
        self, task: TaskData, rows: Sequence[int], ids: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        logits = self._network.marks(task.head.name, ids, real)
        wanted = torch.zeros(ids.shape)
        hard = (task.task.hard if task.wanted else 0.0) if task.teacher_scores else 1.0
        for at, row in enumerate(rows):
            if hard:
                wanted[at, : len(task.ids[row])] += hard * torch.from_numpy(task.wanted[row])
            if task.teacher_scores:
                wanted[at, : len(task.ids[row])] += (1 - hard) * torch.from_numpy(task.teacher_scores[row])
        real = torch.ones(ids.shape, device=self.device) if real is None else real.float()
        return token_loss(logits, wanted.to(self.device), real)


def _reads_states(task: TaskData) -> bool:
    """Return whether a task's head reads what is stored here: first tokens of texts without masked tokens."""
    return not task.head.by_token and not task.task.masked


def pays(recipe: Recipe, tasks: Sequence[TaskData], steps: Sequence[Step]) -> bool:
    """Return whether a run reads its texts more than once with a frozen encoder.

    A run with a time limit may end before it has read each text once, so it computes nothing in advance.
    """
    if not recipe.frozen or recipe.run.minutes:
        return False
    uses = sum(len(step.rows) for step in steps if _reads_states(tasks[step.task]))
    return uses > sum(len(task.ids) for task in tasks if _reads_states(task))


class FrozenStates:
    """The first tokens' last hidden states for the texts of some tasks, (dim,) float32 each, in memory.

    A frozen encoder gives a text the same state in every pass, so it only has to run in the first: a head
    trains in a fraction of the time. The batches depend only on the rows, so a resumed run gets the same
    states. 100,000 texts take 150 MB at a width of 384. A text that occurs in several tasks is read once.
    """

    def __init__(
        self, network: Network, tasks: Sequence[TaskData], *, device: torch.device, bf16: bool, say: Progress
    ) -> None:
        places: dict[bytes, int] = {}
        texts: list[Ids] = []
        self._where: list[NDArray[np.int64] | None] = []
        for task in tasks:
            if not _reads_states(task):
                self._where.append(None)
                continue
            where = np.empty(len(task.ids), dtype=np.int64)
            for row, ids in enumerate(task.ids):
                key = ids.tobytes()
                if key not in places:
                    places[key] = len(texts)
                    texts.append(ids)
                where[row] = places[key]
            self._where.append(where)
        say(f"the encoder is frozen, so it reads its {len(texts)} texts only once")
        self._states = _read(network, texts, device, bf16, say)

    def of(self, task: int, rows: Sequence[int]) -> torch.Tensor | None:
        """Return the states of some rows of task number `task`, (rows, dim), or None if it has none."""
        where = self._where[task]
        return None if where is None else self._states[torch.from_numpy(where[list(rows)])]


def _read(
    network: Network, texts: Sequence[Ids], device: torch.device, bf16: bool, say: Progress
) -> torch.Tensor:
    """Return the texts' states, (texts, dim), computed in batches of similar length."""
    lengths = [len(ids) for ids in texts]
    states = torch.empty(len(texts), network.dim, device=device)
    reported, done = time.monotonic(), 0
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for rows in batches(lengths, _PADDED, Random(0)):  # noqa: S311 - the order does not matter
            ids, mask = pad([texts[row] for row in rows])
            real = None if mask is None else torch.from_numpy(mask).to(device)
            states[list(rows)] = network(torch.from_numpy(ids).to(device), real).float()
            done += len(rows)
            if time.monotonic() - reported >= 60:
                reported = time.monotonic()
                say(f"{done} of {len(texts)} texts read")
    return states
