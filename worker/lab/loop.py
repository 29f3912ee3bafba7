"""The steps of a training: a batch of one task at a time."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from worker.errors import TrainingError
from worker.lab import history, state
from worker.lab.data.tasks import TaskData
from worker.lab.data.tokens import pad
from worker.lab.device import best_precision, choose_device
from worker.lab.history import History
from worker.lab.losses import loss, soft_loss, targets, token_loss
from worker.lab.network import Network
from worker.lab.optimiser import adamw, clip
from worker.lab.plan import Schedule, Step
from worker.lab.recipe import Recipe
from worker.lab.states import States, pays
from worker.lab.steps import Say, Steps
from worker.lab.team import Team


class Loop(Steps):
    """The steps of one training."""

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
        self.device = choose_device(recipe.run.device)
        self.recipe, self.network, self.tasks, self.steps = recipe, network.to(self.device), tasks, steps
        self.path, self.say = path, say
        self.optimiser = adamw(network, recipe.optimiser)
        self.schedule = Schedule(len(steps), recipe.optimiser.warm_up, recipe.run.minutes * 60)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.position = state.Position(0, 0.0, digest(recipe, tasks, steps), recipe.run.precision)
        self.recent: dict[str, list[float]] = {}
        self.checkpoint_minutes = recipe.run.checkpoint_minutes
        self.mask_id = torch.tensor(mask_id)
        self.team = team or Team()
        self.states: States | None = None
        self.history = History(path.with_name(history.FILE))
        if self.team.size > 1 and self.device.type != "cpu":
            raise TrainingError("run.processes: several processes share a processor, not a GPU")

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
        else:
            if self.path.is_file():
                self.say(f"an earlier run's state in {self.path} makes way for this one's (--resume goes on)")
            if self.position.precision == "auto":
                self.position.precision = best_precision(self.device)
        if self.team.rank == 0:
            self.history.begin(self.position.step)
        rows = ", ".join(f"{task.task.title} {len(task.ids)}" for task in self.tasks)
        place = f"{torch.get_num_threads()} threads" if self.device.type == "cpu" else str(self.device)
        self.say(f"{len(self.steps)} steps, {self.position.precision}, {place}; rows: {rows}")
        if pays(self.recipe, self.tasks, self.steps):
            bf16 = self.position.precision == "bf16"
            self.states = States(self.network, self.tasks, device=self.device, bf16=bf16, say=self.say)

    def _step(self, number: int, factor: float) -> int:
        """Make one step at `factor` of the highest rate; return the tokens in it, padding counted."""
        step = self.steps[number]
        task = self.tasks[step.task]
        ids, mask = pad([task.ids[row] for row in step.rows])
        device = self.device.type
        with torch.random.fork_rng(devices=[] if device == "cpu" else [self.device.index or 0]):
            torch.manual_seed(self.recipe.run.seed * 1_000_003 + number)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=self.position.precision == "bf16"):
                value = self._loss(step, torch.from_numpy(ids), mask)
        found = value.item()
        if not math.isfinite(found):
            raise TrainingError(f"the loss of {task.task.title} is no longer a number: lower the rates")
        (value * task.task.weight).backward()
        clip(self.network, self.recipe.optimiser.clip)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.recent.setdefault(task.task.title, []).append(found)
        self.history.note(task.task.title, found)
        return int(ids.size)

    def _first(self, step: Step, ids: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return the first tokens' last states, (rows, dim): kept ones where there are some."""
        kept = self.states.of(step.task, step.rows) if self.states is not None else None
        first = self.network(ids, real) if kept is None else kept
        return functional.dropout(first, self.recipe.optimiser.dropout)

    def _loss(self, step: Step, ids: torch.Tensor, mask: Any) -> torch.Tensor:
        """Return the loss of one batch."""
        task, rows = self.tasks[step.task], step.rows
        real = None if mask is None else torch.from_numpy(mask).to(self.device)
        if task.task.masked:
            hide = torch.rand(ids.shape) < task.task.masked
            hide[:, 0] = False
            ids = torch.where(hide & (ids != 0), self.mask_id, ids)
        ids = ids.to(self.device)
        if task.head.by_token:
            return self._token_loss(task, rows, ids, real)
        logits = self.network.heads[task.head.name](self._first(step, ids, real))
        labels = [task.labels[row] for row in rows]
        if task.taught is None:
            return loss(task.head, logits, targets(task.head, labels).to(self.device), task.form)
        taught = torch.from_numpy(task.taught[list(rows)]).to(self.device)
        value = soft_loss(logits, taught, task.columns, task.head.multi_label, task.task.softening)
        hard = task.task.hard if task.labelled else 0.0
        if not hard:
            return value
        plain = loss(task.head, logits, targets(task.head, labels).to(self.device), task.form)
        return hard * plain + (1 - hard) * value

    def _token_loss(
        self, task: TaskData, rows: Sequence[int], ids: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the loss of a token head on one batch."""
        logits = self.network.marks(task.head.name, ids, real)
        wanted = torch.zeros(ids.shape)
        hard = (task.task.hard if task.wanted else 0.0) if task.taught else 1.0
        for at, row in enumerate(rows):
            if hard:
                wanted[at, : len(task.ids[row])] += hard * torch.from_numpy(task.wanted[row])
            if task.taught:
                wanted[at, : len(task.ids[row])] += (1 - hard) * torch.from_numpy(task.taught[row])
        real = torch.ones(ids.shape, device=self.device) if real is None else real.float()
        return token_loss(logits, wanted.to(self.device), real)

    def _after_round(self, number: int, elapsed_s: float) -> None:
        if self.team.rank == 0:
            ahead = self.schedule.progress(number, elapsed_s)
            self.history.mark(number, ahead, elapsed_s, self.optimiser.param_groups[0]["lr"])


def digest(recipe: Recipe, tasks: Sequence[TaskData], steps: list[Step]) -> str:
    """Return what makes a run what it is: tasks, rates, seed, and the batches that came of the data.

    The fields of tables are no part of a task's `repr`; their rows themselves are taken in instead.
    """
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
    found = hashlib.sha256(parts.encode())  # means come after the steps, and are no part of them
    if recipe.frozen:
        found.update(b"frozen")
    for task in tasks:
        if task.task.teachers or (task.task.head and not task.task.file):
            found.update(repr((task.task.teachers, task.task.head)).encode())
        if task.task.file:
            found.update(repr((task.head, task.labels)).encode())
            for row in task.ids:
                found.update(row.tobytes())
    return found.hexdigest()[:16]
