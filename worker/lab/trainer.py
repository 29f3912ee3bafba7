"""The trainer: runs the steps of a plan on one network, whatever a step trains.

It has AdamW, a saved state every few minutes to resume from, a progress line every minute, the history, and
several processes that average their weights. The loss of a batch comes from a `Lesson`: fitting labels
(`train`) or distilling (`distill`).
"""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from worker.errors import TrainingError
from worker.lab import Progress
from worker.lab.checkpoint import Checkpoint, Trained
from worker.lab.data.tokens import Ids, pad
from worker.lab.device import LocalSgd, best_precision, choose_device
from worker.lab.network import Network
from worker.lab.plan import Schedule, Step
from worker.lab.plots import HISTORY, History
from worker.lab.recipe import Optimiser, Run

STATE = "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class Position:
    """How far a run has got. `identity` is a digest of its inputs, which must not change before a resume."""

    step: int
    elapsed_s: float
    identity: str
    precision: str


class Loss(NamedTuple):
    """The loss of a batch, a scalar, and its terms by name, for reports."""

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor]


class Lesson(ABC):
    """Computes the loss for the batches of a plan; has numbered tasks with their texts as token ids."""

    titles: Sequence[str]
    """The title of each task."""
    ids: Sequence[Sequence[Ids]]
    """Each task's texts."""
    masked: Sequence[float]
    """The share of each task's tokens that is replaced by [MASK], drawn again for each step."""

    device = torch.device("cpu")
    bf16 = False
    """The device and precision of the run: set before `begin`."""

    def begin(self) -> None:  # noqa: B027 - not every lesson needs preparation
        """Prepare for the first step; the network already has the weights that the run starts from."""

    @abstractmethod
    def loss(self, step: Step, ids: torch.Tensor, real: torch.Tensor | None) -> Loss:
        """Return the loss of one batch.

        `ids` is (rows, length); `real` is 1 for a token and 0 for padding, or None if nothing is padded.
        torch's random generator is seeded by the step.
        """


class Trainer:
    """Makes the steps of one run. Without a time limit, a resumed run ends with the same weights."""

    def __init__(
        self,
        lesson: Lesson,
        network: Network,
        steps: Sequence[Step],
        *,
        optimiser: Optimiser,
        run: Run,
        identity: str,
        mask_id: int,
        work: Path,
        say: Progress,
        group: LocalSgd,
    ) -> None:
        self.device = choose_device(run.device, run.processes)
        self.lesson, self.steps, self.group, self.say = lesson, steps, group, say
        self.network = network
        nn.Module.to(network, self.device)  # transformers wraps `to` in an untyped function
        self.path = work / STATE
        self.optimiser = adamw(network, optimiser)
        self.schedule = Schedule(len(steps), optimiser.warm_up, run.minutes * 60)
        self.position = Position(0, 0.0, identity, run.precision)
        self.recent: dict[str, list[float]] = {}
        """Losses by name since the last progress line."""
        self.done = 0
        """Steps made, once the run is over."""
        self._settings, self._run = optimiser, run
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self._mask_id = torch.tensor(mask_id)
        self._history = History(work / HISTORY)

    def run(self, resume: bool) -> None:
        """Make all steps, or as many as the time allows.

        Raises TrainingError: the state of another run, a loss that is not finite, or a failed write.
        """
        began = time.monotonic()
        self._begin(resume)
        start = began - self.position.elapsed_s
        tokens, reported = 0, time.monotonic()
        saved = reported
        number = self.position.step
        while True:
            now = time.monotonic()
            due = now - saved >= self._run.checkpoint_minutes * 60
            progress, due_to_save = self.group.agree(self.schedule.progress(number, now - start), due)
            if now - reported >= 60 and tokens:
                self._report(number, progress, tokens / (now - reported))
                tokens, reported = 0, now
            if number >= len(self.steps) or progress >= 1:
                break
            if due_to_save:
                self.save(number, now - start)
                saved = now
            tokens += self._round(number, progress)
            number = min(number + self.group.size * self.group.stride, len(self.steps))
            if self.group.rank == 0:
                elapsed_s = time.monotonic() - start
                rate = self.optimiser.param_groups[0]["lr"]
                self._history.mark(number, self.schedule.progress(number, elapsed_s), elapsed_s, rate)
        elapsed_s = time.monotonic() - start
        self.save(number, elapsed_s)
        self.done = number
        self.say(f"{number} of {len(self.steps)} steps in {elapsed_s / 60:.1f} minutes")

    def trained(self, checkpoint: Checkpoint, rows: dict[str, int]) -> Trained:
        """Return the result of the run."""
        return Trained(
            checkpoint=checkpoint,
            steps=self.done,
            planned=len(self.steps),
            elapsed_s=self.position.elapsed_s,
            precision=self.position.precision,
            threads=torch.get_num_threads(),
            torch=str(torch.__version__).partition("+")[0],
            rows=rows,
        )

    def _begin(self, resume: bool) -> None:
        """Load an earlier state, or choose the precision for a new run."""
        if resume and self.path.is_file():
            found = load_state(self.path, self.network, self.optimiser)
            if found.identity != self.position.identity:
                raise TrainingError(
                    f"{self.path} was made by another recipe or other data: start without --resume"
                )
            self.position = found
            self.say(f"resumed at step {found.step} of {len(self.steps)}")
        else:
            if self.path.is_file():
                self.say(f"replacing an earlier run's state in {self.path} (--resume would continue it)")
            if self.position.precision == "auto":
                self.position.precision = best_precision(self.device)
        if self.group.rank == 0:
            self._history.begin(self.position.step)
        titles = zip(self.lesson.titles, self.lesson.ids, strict=True)
        rows = ", ".join(f"{title} {len(ids)}" for title, ids in titles)
        place = f"{torch.get_num_threads()} threads" if self.device.type == "cpu" else str(self.device)
        self.say(f"{len(self.steps)} steps, {self.position.precision}, {place}; rows: {rows}")
        self.lesson.device, self.lesson.bf16 = self.device, self.position.precision == "bf16"
        self.lesson.begin()

    def _round(self, number: int, progress: float) -> int:
        """Make this process's steps until the next averaging; return the tokens of all processes."""
        end = min(number + self.group.size * self.group.stride, len(self.steps))
        tokens = 0
        for place in range(number + self.group.rank, end, self.group.size):
            ahead = max(progress, place / len(self.steps))
            tokens += self.step(place, self.schedule.factor(ahead))
        self.group.average(self.network.parameters())
        return tokens * self.group.size

    def step(self, number: int, factor: float) -> int:
        """Make one step at `factor` times the peak rate; return its tokens, including padding."""
        step = self.steps[number]
        ids, mask = pad([self.lesson.ids[step.task][row] for row in step.rows])
        real = None if mask is None else torch.from_numpy(mask).to(self.device)
        device = self.device.type
        with torch.random.fork_rng(devices=[] if device == "cpu" else [self.device.index or 0]):
            torch.manual_seed(self._run.seed * 1_000_003 + number)
            given = self._hide(torch.from_numpy(ids), self.lesson.masked[step.task]).to(self.device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=self.lesson.bf16):
                loss = self.lesson.loss(step, given, real)
        if not math.isfinite(loss.total.item()):
            title = self.lesson.titles[step.task]
            raise TrainingError(f"the loss of {title} is no longer a number: lower the rates")
        loss.total.backward()
        clip(self.network, self._settings.clip)
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for name, part in loss.parts.items():
            found = part.item()
            self.recent.setdefault(name, []).append(found)
            if self.group.rank == 0:
                self._history.note(name, found)
        return int(ids.size)

    def _hide(self, ids: torch.Tensor, share: float) -> torch.Tensor:
        """Replace a share of the tokens by [MASK], except the first one and padding."""
        if not share:
            return ids
        hidden = torch.rand(ids.shape) < share
        hidden[:, 0] = False
        return torch.where(hidden & (ids != 0), self._mask_id, ids)

    def _report(self, number: int, progress: float, rate: float) -> None:
        """Write one line of progress."""
        means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(self.recent.items()))
        self.recent.clear()
        self.say(f"step {number}/{len(self.steps)} {progress:6.1%} {rate:,.0f} tokens/s loss: {means}")

    def save(self, number: int, elapsed_s: float) -> None:
        """Write the state after `number` steps. Raises TrainingError if it cannot be written."""
        self.position.step, self.position.elapsed_s = number, elapsed_s
        if self.group.rank == 0:
            save_state(self.path, self.network, self.optimiser, self.position)


def set_threads(run: Run, group: LocalSgd) -> None:
    """Set torch's threads to the recipe's number, or to each process's share of the cores."""
    if run.threads or group.size > 1:
        torch.set_num_threads(run.threads or max(1, torch.get_num_threads() // group.size))


def adamw(network: Network, chosen: Optimiser) -> torch.optim.Optimizer:
    """Return AdamW with separate rates for heads and encoder, and no decay of biases, norms and embeddings.

    Frozen parameters are left out.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.dim() > 1 and "embeddings" not in name
        # A branch's layers are trained like the encoder's.
        is_head = name.startswith("heads.") and ".transformer." not in name
        groups.setdefault((is_head, decays), []).append(parameter)
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


def clip(network: nn.Module, longest: float) -> None:
    """Scale the gradient down if its norm is above `longest` (and only then, since it costs a pass)."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
    if norm > longest:
        for gradient in gradients:
            gradient.mul_(longest / norm)


def save_state(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, position: Position) -> None:
    """Write weights, AdamW's moments and the position; an older state stays intact if writing fails.

    Raises TrainingError.
    """
    tensors = {
        f"weights/{name}": tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    for name, parameter in network.named_parameters():
        for moment, tensor in optimiser.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = tensor.detach().cpu().contiguous()
    metadata = {
        "format": "pt",
        "step": str(position.step),
        "elapsed_s": repr(position.elapsed_s),
        "recipe": position.identity,
        "precision": position.precision,
    }
    temporary = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata=metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # safetensors makes it readable by its owner only
        temporary.replace(path)
    except Exception as error:  # safetensors raises its own exceptions for a full disk
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error}") from error


def load_state(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> Position:
    """Load a state into network and optimiser. Raises TrainingError if it is damaged or does not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - only has keys()
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path} cannot be read: {error}; start without --resume") from error
    weights = {name.removeprefix("weights/"): t for name, t in tensors.items() if name.startswith("weights/")}
    try:
        network.load_state_dict(weights)
        position = Position(
            int(metadata["step"]), float(metadata["elapsed_s"]), metadata["recipe"], metadata["precision"]
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} belongs to another network: {str(error).splitlines()[0]}") from error
    for name, parameter in network.named_parameters():
        if f"exp_avg/{name}" in tensors:
            optimiser.state[parameter] = {
                moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS
            }
    return position
