"""The steps of a run, whatever a step is: rounds of a team, a state every few minutes, a line a minute."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from worker.lab import state
from worker.lab.network import Network
from worker.lab.plan import Schedule, Step
from worker.lab.team import Team

Say = Callable[[str], None]


class Steps(ABC):
    """Makes the steps of a plan. What is learnt in one is a subclass's business."""

    network: Network
    steps: Sequence[Step]
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    position: state.Position
    team: Team
    path: Path
    say: Say
    checkpoint_minutes: float
    recent: dict[str, list[float]]
    """Losses by name since the last line."""
    done: int = 0
    """Steps made, once the run is over."""

    @abstractmethod
    def _begin(self, resume: bool) -> None:
        """Take up an earlier state, or choose the precision for a new run."""

    @abstractmethod
    def _step(self, number: int, factor: float) -> int:
        """Make one step at `factor` of the highest rate; return the tokens in it, padding counted."""

    def _after_round(self, number: int, elapsed_s: float) -> None:  # noqa: B027 - a run need not note anything
        """Note how far the run is after a round."""

    def run(self, resume: bool) -> float:
        """Make all steps, or as many as there is time for; return the seconds, earlier parts included."""
        began = time.monotonic()
        self._begin(resume)
        start = began - self.position.elapsed_s
        tokens, spoken = 0, time.monotonic()
        saved = spoken
        number = self.position.step
        while True:
            now = time.monotonic()
            due = now - saved >= self.checkpoint_minutes * 60
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
            self._after_round(number, time.monotonic() - start)
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

    def _report(self, number: int, progress: float, rate: float) -> None:
        """Say how far the run is: one line."""
        means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(self.recent.items()))
        self.recent.clear()
        self.say(f"step {number}/{len(self.steps)} {progress:6.1%} {rate:,.0f} tokens/s loss: {means}")

    def _save(self, number: int, elapsed_s: float) -> None:
        self.position.step, self.position.elapsed_s = number, elapsed_s
        if self.team.rank == 0:
            state.save(self.path, self.network, self.optimiser, self.position)
