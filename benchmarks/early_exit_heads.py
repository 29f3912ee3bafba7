"""Heads after an inner layer, trained on a frozen trunk to say what the last layer's heads say.

For each head of the model one of the same shape, which reads the first token's hidden state there, learns the
model's own probabilities (no labels are needed), and one more number learns whether all of them decide as the
model does. That number, after a temperature fitted on texts that nothing was trained on, is the confidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from worker.distill.folder import Checkpoint
from worker.distill.teachers import network_of
from worker.distill.texts import TextReader
from worker.evaluation import calibration
from worker.evaluation.heads import HeadInfo
from worker.evaluation.score import by_length
from worker.training.machine import best_precision
from worker.training.network import Head
from worker.training.tokens import pad

Floats = NDArray[np.float32]
EXIT = "exit"
"""The name of the head that says whether the others can be trusted."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Texts through the frozen trunk: the inner hidden state (texts, dim), and what the model says."""

    inner: Floats
    scores: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class EarlyHeads:
    """The trained heads by name, `exit` among them, and the temperature of its logit."""

    heads: Mapping[str, Head]
    temperature: float
    agreed: float
    """Share of the held-out texts on which all early decisions are the model's."""

    def confidence(self, inner: Floats) -> Floats:
        """Return the probability (texts,) that every early decision is the model's own."""
        logits = self.logits(EXIT, inner)[:, 0] / self.temperature
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def logits(self, name: str, inner: Floats) -> Floats:
        """Return one head's logits (texts, labels)."""
        with torch.inference_mode():
            return np.asarray(self.heads[name](torch.from_numpy(inner)).numpy())


def look(checkpoint: Checkpoint, texts: Sequence[str], layer: int, max_tokens: int = 128) -> Seen:
    """Run texts through the trunk; `layer` counts from 1."""
    network, reader = network_of(checkpoint), TextReader(checkpoint)
    heads = {name: head for name, head in checkpoint.heads.items() if not head.by_token}
    rows = [row.ids for row in reader(texts, max_tokens)]
    inner = np.zeros((len(texts), checkpoint.sizes.dim), np.float32)
    scores = {name: np.zeros((len(texts), len(head.labels)), np.float32) for name, head in heads.items()}
    bf16 = best_precision() == "bf16"
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        for batch in by_length([len(row) for row in rows], 1_024):
            ids, mask = pad([rows[row] for row in batch])
            real = None if mask is None else torch.from_numpy(mask)
            states, first = network.distilbert.states_and_first(torch.from_numpy(ids), real)
            inner[batch] = states[layer][:, 0].float().numpy()
            for name, head in heads.items():
                logits = network.heads[name](first).double().numpy()
                scores[name][batch] = calibration.to_scores(
                    logits, head.temperature, multi_label=head.multi_label
                )
    return Seen(inner, scores)


def decisions(head: HeadInfo, scores: Floats) -> NDArray[np.bool_]:
    """Return what a head decides, (texts, labels): the largest score, or what passes its threshold."""
    if head.multi_label:
        return np.asarray(scores >= np.array(head.thresholds, np.float32))
    return np.asarray(np.eye(scores.shape[1], dtype=np.bool_)[scores.argmax(axis=1)])


def agrees(
    heads: Mapping[str, HeadInfo], ones: Mapping[str, Floats], twos: Mapping[str, Floats]
) -> NDArray[np.bool_]:
    """Return for each text whether all heads decide alike, (texts,)."""
    same = [
        (decisions(heads[name], ones[name]) == decisions(heads[name], twos[name])).all(axis=1)
        for name in ones
    ]
    return np.asarray(np.logical_and.reduce(same))


def train(checkpoint: Checkpoint, seen: Seen, *, epochs: int = 12, seed: int = 1) -> EarlyHeads:
    """Train the early heads on half of the texts, the exit on a third, and its temperature on the rest."""
    torch.manual_seed(seed)
    heads = {name: checkpoint.heads[name] for name in seen.scores}
    order = np.random.default_rng(seed).permutation(len(seen.inner))
    one, two, three = np.split(order, [len(order) // 2, len(order) * 5 // 6])
    dim = seen.inner.shape[1]
    found = {name: Head(dim, dim, len(head.labels)) for name, head in heads.items()}
    for name, head in heads.items():
        _fit(found[name], seen.inner[one], seen.scores[name][one], head.multi_label, epochs)
    trained = EarlyHeads(found, 1.0, 0.0)
    early = {name: _scores(trained, name, head, seen.inner) for name, head in heads.items()}
    same = agrees(heads, early, seen.scores)
    found[EXIT] = Head(dim, 64, 1)
    _fit(found[EXIT], seen.inner[two], same[two].astype(np.float32)[:, None], True, epochs)
    logits = trained.logits(EXIT, seen.inner[three]).astype(np.float64)
    temperature = calibration.fit_temperature(logits, same[three][:, None])
    return EarlyHeads(found, temperature, float(same[three].mean()))


def _scores(trained: EarlyHeads, name: str, head: HeadInfo, inner: Floats) -> Floats:
    given = calibration.to_scores(
        trained.logits(name, inner).astype(np.float64), 1.0, multi_label=head.multi_label
    )
    return np.asarray(given, np.float32)


def early_scores(checkpoint: Checkpoint, trained: EarlyHeads, inner: Floats) -> dict[str, Floats]:
    """Return the early heads' probabilities (texts, labels), by head."""
    heads = checkpoint.heads
    return {name: _scores(trained, name, heads[name], inner) for name in trained.heads if name != EXIT}


def _fit(head: nn.Module, inner: Floats, wanted: Floats, multi_label: bool, epochs: int) -> None:
    """Teach one head probabilities, in batches of 256 drawn anew in each pass."""
    rows, goal = torch.from_numpy(inner), torch.from_numpy(wanted)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.01)
    steps = epochs * max(1, len(rows) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps + 1)
    for step in range(steps):
        if step % max(1, len(rows) // 256) == 0:
            order = torch.randperm(len(rows))
        chosen = order[(step * 256) % len(rows) :][:256]
        logits, target = head(rows[chosen]), goal[chosen]
        loss = (
            functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1).mean()
            if multi_label
            else functional.cross_entropy(logits, target)
        )
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
