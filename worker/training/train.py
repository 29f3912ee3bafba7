"""The run itself: one trunk, several heads, a batch of one task at a time."""

import hashlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from worker.text import Normaliser, normaliser
from worker.training import data, fold, soft, state
from worker.training.errors import TrainingError
from worker.training.labels import HeadSpec, head_named
from worker.training.losses import Form, class_weights, loss, soft_loss, targets, token_loss
from worker.training.machine import best_precision, keep_memory
from worker.training.plan import Step, plan
from worker.training.recipe import Recipe, Task
from worker.training.schedule import Schedule
from worker.training.team import Team, gathered
from worker.training.tokens import Ids, encode, encode_marked, pad
from worker.training.trunk import Network

Say = Callable[[str], None]
_STATE = "state.safetensors"
_MASK = "[MASK]"


def say_to_stderr(line: str) -> None:
    """Write one line of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@dataclass(slots=True)
class TaskData:
    """A task of the recipe with its rows read and tokenised."""

    task: Task
    head: HeadSpec
    binary: bool
    ids: list[Ids]
    labels: list[tuple[int, ...]]
    wanted: list[Any]
    """A token head's targets, (tokens,) a text."""
    taught: Any = None
    """A teacher's probabilities, (rows, its labels), or None."""
    columns: tuple[int, ...] = ()
    """Which of the head's labels each of the teacher's is."""
    form: Form = field(default_factory=Form)


@dataclass(slots=True)
class Trained:
    """What a run leaves."""

    network: Network
    config: dict[str, Any]
    tokenizer: Path
    heads: list[HeadSpec]
    steps: int
    planned: int
    rows: dict[str, int]
    """Rows by data set, after removing what the dev splits hold too."""
    elapsed_s: float
    precision: str


def read_tasks(
    recipe: Recipe, root: Path, tokenizer: Path, work: Path, say: Say = say_to_stderr
) -> list[TaskData]:
    """Read and tokenise every task's train split, and ask the teachers. Raises TrainingError."""
    handling = normaliser(recipe.text, recipe.text_version)
    tasks = []
    for task in recipe.tasks:
        split = data.load(task.data, "train", root, task.rows)
        head = _head(recipe, split.head)
        entry = _tokenised(task, head, split, tokenizer, handling)
        if task.teacher:
            say(f"{task.data}: asking the teacher {task.teacher}")
            given, columns = soft.taught(Path(task.teacher), head, split.texts, task.max_tokens, work)
            entry.taught, entry.columns = given, tuple(columns)
        elif not all(split.labels) and not head.by_token:
            raise TrainingError(f"data set {task.data} has no labels: it needs a teacher")
        entry.form = _form(entry)
        tasks.append(entry)
    return tasks


def _form(entry: TaskData) -> Form:
    """Return how the task's loss is made."""
    task, head = entry.task, entry.head
    single = not head.multi_label and not head.by_token
    weights = None
    if task.balance and single and all(entry.labels):
        weights = class_weights(entry.labels, len(head.labels), task.balance)
    return Form(entry.binary, task.loss == "asymmetric", weights, task.smoothing)


def _head(recipe: Recipe, name: str) -> HeadSpec:
    """Return a head as the recipe wants it."""
    head = head_named(name)
    for depths in recipe.depths:
        if depths.head == name:
            head = head._replace(layers=depths.layers)
    return head


def _tokenised(
    task: Task, head: HeadSpec, split: data.Labelled, tokenizer: Path, handling: Normaliser
) -> TaskData:
    """Return a task's rows as the network reads them."""
    if head.by_token:
        ids, wanted = encode_marked(tokenizer, split.texts, split.labels, task.max_tokens, handling)
        return TaskData(task, head, split.binary, ids, split.labels, list(wanted))
    ids = encode(tokenizer, split.texts, task.max_tokens, handling)
    return TaskData(task, head, split.binary, ids, split.labels, [])


def train(
    recipe: Recipe, root: Path, work: Path, *, resume: bool = False, say: Say = say_to_stderr
) -> Trained:
    """Train as the recipe says; the state goes to `work` every few minutes.

    With `resume` a run goes on where its last state stands (from the start if there is none). In one process
    and without a time limit it comes to the same result as a run without a break. Raises TrainingError.
    """
    with gathered(recipe.run.processes, partial(_take_part, recipe, root, work, resume)) as team:
        return _train(recipe, root, work, resume, say=say, team=team)


def _take_part(recipe: Recipe, root: Path, work: Path, resume: bool, team: Team) -> None:
    """Train as one of the other members: in silence, and without anything to show for it."""
    _train(recipe, root, work, resume, say=lambda _line: None, team=team)


def _train(recipe: Recipe, root: Path, work: Path, resume: bool, *, say: Say, team: Team) -> Trained:
    keep_memory()
    if recipe.run.threads or team.size > 1:
        torch.set_num_threads(recipe.run.threads or max(1, torch.get_num_threads() // team.size))
    base = fold.base_folder(recipe.base)
    config, weights = fold.fold(base)
    if recipe.text != "raw":
        config["text"] = {"name": recipe.text, "version": recipe.text_version}
    if team.rank:
        team.agree(0)  # the first member asks the teachers, the others find the answers
    tasks = read_tasks(recipe, root, base / "tokenizer.json", work, say)
    if not team.rank:
        team.agree(0)
    heads = list({task.head.name: task.head for task in tasks}.values())
    network = Network(config, heads)
    network.distilbert.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    network.reset_heads(recipe.run.seed)
    _start_biases(network, tasks)
    steps = plan(
        [[len(row) for row in task.ids] for task in tasks],
        [task.task.epochs for task in tasks],
        recipe.optimiser.max_padded_tokens,
        recipe.run.seed,
    )
    mask_id = Tokenizer.from_file(str(base / "tokenizer.json")).token_to_id(_MASK) or 0
    loop = Loop(recipe, network, tasks, steps, path=work / _STATE, say=say, mask_id=mask_id, team=team)
    elapsed_s = loop.run(resume)
    return Trained(
        network=network,
        config=config,
        tokenizer=base / "tokenizer.json",
        heads=heads,
        steps=loop.done,
        planned=len(steps),
        rows={task.task.data: len(task.ids) for task in tasks},
        elapsed_s=elapsed_s,
        precision=loop.position.precision,
    )


def _start_biases(network: Network, tasks: Sequence[TaskData]) -> None:
    """Let a multi-label head begin at each label's share of the rows, as a logit.

    From 0 it would begin by unlearning that every label is as likely as not, which takes AdamW, whose steps
    are about the rate long, thousands of steps.
    """
    for task in tasks:
        if task.head.multi_label and all(task.labels):
            counts = targets(task.head, task.labels).sum(dim=0)
            shares = (counts + 1) / (len(task.labels) + 2)
            with torch.no_grad():
                network.heads[task.head.name].classifier.bias.copy_(torch.log(shares / (1 - shares)))


class Loop:
    """The steps of one run."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        tasks: list[TaskData],
        steps: list[Step],
        *,
        path: Path,
        say: Say,
        mask_id: int = 0,
        team: Team | None = None,
    ) -> None:
        self.recipe, self.network, self.tasks, self.steps = recipe, network, tasks, steps
        self.path, self.say = path, say
        self.optimiser = _optimiser(network, recipe)
        self.schedule = Schedule(len(steps), recipe.optimiser.warm_up, recipe.run.minutes * 60)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.position = state.Position(0, 0.0, _digest(recipe, steps), recipe.run.precision)
        self.recent: dict[str, list[float]] = {}
        self.done = 0
        self.mask_id = torch.tensor(mask_id)
        self.team = team or Team()

    def run(self, resume: bool) -> float:
        """Make all steps; return the seconds spent on them, earlier parts of the run included."""
        self._begin(resume)
        tokens, spoken = 0, time.monotonic()
        saved = spoken
        start = spoken - self.position.elapsed_s
        number = self.position.step
        while True:
            now = time.monotonic()
            due = now - saved >= self.recipe.run.checkpoint_minutes * 60
            progress, due_to_save = self.team.agree(self.schedule.progress(number, now - start), due)
            if now - spoken >= 60 and tokens:
                self._report(number, progress, tokens / (now - spoken))
                tokens, spoken = 0, now
            if number >= len(self.steps) or progress >= 1:
                break
            if due_to_save:
                self._save(number, now - start)
                saved = now
            tokens += self._round(number, progress)
            number = min(number + self.team.size * self.team.stride, len(self.steps))
        elapsed_s = time.monotonic() - start
        self._save(number, elapsed_s)
        self.done = number
        self.say(f"{number} of {len(self.steps)} steps in {elapsed_s / 60:.1f} minutes")
        return elapsed_s

    def _round(self, number: int, progress: float) -> int:
        """Make this member's steps until the team meets, and average; return the tokens of all members."""
        end = min(number + self.team.size * self.team.stride, len(self.steps))
        tokens = 0
        for place in range(number + self.team.rank, end, self.team.size):
            ahead = max(progress, place / len(self.steps))
            tokens += self._step(place, self.schedule.factor(ahead))
        self.team.average(self.network.parameters())
        return tokens * self.team.size

    def _begin(self, resume: bool) -> None:
        """Take up an earlier state, or choose the precision for a new run."""
        if resume and self.path.is_file():
            found = state.load(self.path, self.network, self.optimiser)
            if found.recipe != self.position.recipe:
                raise TrainingError(
                    f"{self.path} was made by another recipe or other data: start without --resume"
                )
            self.position = found
            self.say(f"resumed at step {found.step} of {len(self.steps)}")
        elif self.position.precision == "auto":
            self.position.precision = best_precision()
        rows = ", ".join(f"{task.task.data} {len(task.ids)}" for task in self.tasks)
        threads = torch.get_num_threads()
        self.say(f"{len(self.steps)} steps, {self.position.precision}, {threads} threads; rows: {rows}")

    def _step(self, number: int, factor: float) -> int:
        """Make one step at `factor` of the highest rate; return the tokens in it, padding counted."""
        step = self.steps[number]
        task = self.tasks[step.task]
        ids, mask = pad([task.ids[row] for row in step.rows])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.run.seed * 1_000_003 + number)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.position.precision == "bf16"):
                value = self._loss(task, step.rows, torch.from_numpy(ids), mask)
        found = value.item()
        if not math.isfinite(found):
            raise TrainingError(f"the loss of {task.task.data} is no longer a number: lower the rates")
        (value * task.task.weight).backward()
        self._clip()
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.recent.setdefault(task.task.data, []).append(found)
        return int(ids.size)

    def _loss(self, task: TaskData, rows: Sequence[int], ids: torch.Tensor, mask: Any) -> torch.Tensor:
        """Return the loss of one batch."""
        real = None if mask is None else torch.from_numpy(mask)
        if task.task.masked:
            hide = torch.rand(ids.shape) < task.task.masked
            hide[:, 0] = False
            ids = torch.where(hide & (ids != 0), self.mask_id, ids)
        if task.head.by_token:
            return self._token_loss(task, rows, ids, real)
        first = functional.dropout(self.network(ids, real), self.recipe.optimiser.dropout)
        logits = self.network.heads[task.head.name](first)
        labels = [task.labels[row] for row in rows]
        if task.taught is None:
            return loss(task.head, logits, targets(task.head, labels), task.form)
        taught = torch.from_numpy(task.taught[list(rows)])
        value = soft_loss(logits, taught, task.columns, task.head.multi_label, task.task.softening)
        hard = task.task.hard if all(labels) else 0.0
        if not hard:
            return value
        plain = loss(task.head, logits, targets(task.head, labels), task.form)
        return hard * plain + (1 - hard) * value

    def _token_loss(
        self, task: TaskData, rows: Sequence[int], ids: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the loss of a token head on one batch."""
        depths = self.network.at_depths(ids, real, task.head.layers)
        logits = self.network.heads[task.head.name](depths)[..., 0]
        wanted = torch.zeros(ids.shape)
        for at, row in enumerate(rows):
            wanted[at, : len(task.wanted[row])] = torch.from_numpy(task.wanted[row])
        return token_loss(logits, wanted, torch.ones(ids.shape) if real is None else real.float())

    def _clip(self) -> None:
        """Shorten the gradient where it is longer than the recipe allows (and only then: it costs a pass)."""
        gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if norm > self.recipe.optimiser.clip:
            for gradient in gradients:
                gradient.mul_(self.recipe.optimiser.clip / norm)

    def _report(self, number: int, progress: float, rate: float) -> None:
        """Say how far the run is: one line."""
        means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(self.recent.items()))
        self.recent.clear()
        self.say(f"step {number}/{len(self.steps)} {progress:6.1%} {rate:,.0f} tokens/s loss: {means}")

    def _save(self, number: int, elapsed_s: float) -> None:
        self.position.step, self.position.elapsed_s = number, elapsed_s
        if self.team.rank == 0:
            state.save(self.path, self.network, self.optimiser, self.position)


def _optimiser(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with two rates; biases, norms and embeddings do not decay."""
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in network.named_parameters():
        decays = parameter.dim() > 1 and "embeddings" not in name
        groups.setdefault((name.startswith("heads."), decays), []).append(parameter)
    chosen = recipe.optimiser
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": chosen.head_rate if is_head else chosen.trunk_rate,
                "weight_decay": chosen.weight_decay if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ],
        fused=True,
    )


def _digest(recipe: Recipe, steps: list[Step]) -> str:
    """Return what makes a run what it is: tasks, rates, seed, and the batches that came of the data."""
    parts = repr(
        (
            recipe.base,
            recipe.text,
            recipe.text_version,
            recipe.depths,
            recipe.tasks,
            recipe.optimiser,
            recipe.run.seed,
            recipe.run.minutes,
            steps,
        )
    )
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
