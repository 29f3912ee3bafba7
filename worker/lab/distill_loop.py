"""The steps of a distillation: every head of the student at once, on one batch of one part's texts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from worker.errors import TrainingError
from worker.lab import state
from worker.lab.data.labels import HeadSpec
from worker.lab.data.tokens import Ids, pad
from worker.lab.device import best_precision
from worker.lab.losses import Form, loss, soft_loss, targets, token_loss
from worker.lab.network import Network
from worker.lab.optimiser import adamw, clip
from worker.lab.plan import Schedule, Step
from worker.lab.recipe import Optimiser, Run
from worker.lab.relations import Relations
from worker.lab.steps import Say, Steps
from worker.lab.targets import Soft, Targets
from worker.lab.team import Team
from worker.lab.texts import Part


@dataclass(slots=True)
class Lesson:
    """One part, tokenised, with what the teachers say of it."""

    part: Part
    ids: list[Ids]
    targets: Targets
    form: Form = field(default_factory=Form)
    """How the loss of labelled rows is made."""
    marks: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """For labelled rows of a token head: 1 or 0 a token."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part of the loss counts."""

    heads: Mapping[str, float]
    """By head, 1 where it is not named."""
    first: float = 1.0
    """Of the distance between student's and teacher's first token: 1 - cosine (Sanh et al. 2019)."""
    relations: float = 0.0
    """Of the divergence of the last layer's relations between tokens: see `relations`."""


class Loop(Steps):
    """The steps of one run. Without a time limit a resumed run comes to an unbroken one's weights."""

    def __init__(
        self,
        network: Network,
        heads: Sequence[HeadSpec],
        lessons: Sequence[Lesson],
        steps: Sequence[Step],
        *,
        optimiser: Optimiser,
        run: Run,
        weights: Weights,
        identity: str,
        path: Path,
        say: Say,
        mask_id: int = 0,
        relations: Relations | None = None,
        team: Team | None = None,
    ) -> None:
        self.network, self.lessons, self.steps = network, lessons, steps
        self.heads = {head.name: head for head in heads}
        self.chosen, self.run_settings, self.weights = optimiser, run, weights
        self.relations, self.team = relations, team or Team()
        self.path, self.say, self.mask_id = path, say, torch.tensor(mask_id)
        self.optimiser = adamw(network, optimiser)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.schedule = Schedule(len(steps), optimiser.warm_up, run.minutes * 60)
        self.position = state.Position(0, 0.0, identity, run.precision)
        self.recent: dict[str, list[float]] = {}
        self.checkpoint_minutes = run.checkpoint_minutes

    def run(self, resume: bool) -> float:
        """Make all steps, or as many as there is time for; return the seconds. Raises TrainingError."""
        self.network.train()
        elapsed_s = super().run(resume)
        self.network.eval()
        return elapsed_s

    def _begin(self, resume: bool) -> None:
        """Take up an earlier state, or choose the precision for a new run."""
        if resume and self.path.is_file():
            found = state.load(self.path, self.network, self.optimiser)
            if found.recipe != self.position.recipe:
                raise TrainingError(
                    f"{self.path} was made by another distillation or other texts: start without --resume"
                )
            self.position = found
            self.say(f"resumed at step {found.step} of {len(self.steps)}")
        elif self.position.precision == "auto":
            self.position.precision = best_precision()
        texts = sum(len(lesson.ids) for lesson in self.lessons)
        self.say(
            f"{len(self.steps)} steps over {texts:,} texts, {self.position.precision}, "
            f"{torch.get_num_threads()} threads"
        )

    def _step(self, number: int, factor: float) -> int:
        """Make one step at `factor` of the highest rate; return the tokens in it, padding counted."""
        step = self.steps[number]
        lesson = self.lessons[step.task]
        ids, mask = pad([lesson.ids[row] for row in step.rows])
        given, real = self._hidden(lesson, ids, number), None if mask is None else torch.from_numpy(mask)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.position.precision == "bf16"):
            parts = self._losses(lesson, list(step.rows), given, real)
            value = torch.stack(list(parts.values())).sum()
        if not math.isfinite(value.item()):
            raise TrainingError(f"the loss of {lesson.part.name} is no longer a number: lower the rates")
        value.backward()
        clip(self.network, self.chosen.clip)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for name, part in parts.items():
            self.recent.setdefault(name, []).append(part.item())
        return int(ids.size)

    def _hidden(self, lesson: Lesson, ids: NDArray[np.int64], number: int) -> torch.Tensor:
        """Return the ids with the recipe's share of tokens behind [MASK], drawn anew for each step."""
        given, share = torch.from_numpy(ids), lesson.part.task.masked if lesson.part.task is not None else 0.0
        if not share:
            return given
        generator = torch.Generator().manual_seed(self.run_settings.seed * 1_000_003 + number)
        hide = torch.rand(given.shape, generator=generator) < share
        hide[:, 0] = False
        return torch.where(hide & (given != 0), self.mask_id, given)

    def _losses(
        self, lesson: Lesson, rows: list[int], ids: torch.Tensor, real: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return the weighted losses of one batch by head; `first` is the distance of the hidden states."""
        marked = {
            name: told for name, told in lesson.targets.tokens.items() if any(row in told for row in rows)
        }
        states: list[torch.Tensor] = []
        if marked or lesson.marks or self.relations is not None:
            states, first = self.network.distilbert.states_and_first(ids, real)
        else:
            first = self.network(ids, real)
        found: dict[str, torch.Tensor] = {}
        for name, head in self.heads.items():
            if head.by_token:
                value = self._token_loss(lesson, head, rows, states, real)
            else:
                value = self._text_loss(lesson, head, rows, first)
            if value is not None:
                found[name] = value * self.weights.heads.get(name, 1.0)
        if lesson.targets.first is not None and self.weights.first:
            wanted = torch.from_numpy(lesson.targets.first[rows].astype(np.float32))
            cosine = functional.cosine_similarity(first.float(), wanted, dim=1)
            found["first"] = (1 - cosine).mean() * self.weights.first
        if self.relations is not None:
            found["relations"] = (
                self.relations.loss(self.network, states[-1], ids, real) * self.weights.relations
            )
        return found

    def _text_loss(
        self, lesson: Lesson, head: HeadSpec, rows: list[int], first: torch.Tensor
    ) -> torch.Tensor | None:
        """Return one head's loss on a batch: soft, hard, or mixed as the recipe says; None without either."""
        logits, part = self.network.heads[head.name](first), lesson.part
        soft = soft_mean(
            lesson.targets.soft.get(head.name, ()), logits, rows, head.multi_label, part.temperature
        )
        if part.head != head.name or part.task is None:
            return soft
        labels = [part.labels[row] for row in rows]
        plain = loss(head, logits, targets(head, labels), lesson.form)
        return plain if soft is None else part.task.hard * plain + (1 - part.task.hard) * soft

    def _token_loss(
        self,
        lesson: Lesson,
        head: HeadSpec,
        rows: list[int],
        states: Sequence[torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Return a token head's loss on those texts of a batch that somebody judged token by token."""
        told = lesson.targets.tokens.get(head.name, {})
        own = lesson.marks if lesson.part.head == head.name else {}
        places = [place for place, row in enumerate(rows) if row in told or row in own]
        if not places:
            return None
        read = [state[places] for state in states]
        logits = self.network.heads[head.name](read, None if mask is None else mask[places])
        wanted, real = torch.zeros(logits.shape), torch.zeros(logits.shape)
        hard = lesson.part.task.hard if lesson.part.task is not None else 0.0
        for at, place in enumerate(places):
            row = rows[place]
            real[at, : len(lesson.ids[row])] = 1.0
            given = [values for values in (own.get(row), told.get(row)) if values is not None]
            mixed = given[0] if len(given) == 1 else hard * given[0] + (1 - hard) * given[1]
            wanted[at, : len(mixed)] = torch.from_numpy(np.asarray(mixed, np.float32))
        return token_loss(logits, wanted, real)


def soft_mean(
    given: Sequence[Soft], logits: torch.Tensor, rows: list[int], multi_label: bool, temperature: float
) -> torch.Tensor | None:
    """Return the mean over the teachers of how far the student is from them; None without teachers."""
    if not given:
        return None
    each = [
        soft.teachers
        * soft_loss(logits, torch.from_numpy(soft.scores[rows]), soft.columns, multi_label, temperature)
        for soft in given
    ]
    return torch.stack(each).sum() / sum(soft.teachers for soft in given)
