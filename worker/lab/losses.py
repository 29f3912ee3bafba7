"""The loss of a batch, from logits and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from worker.lab.data.labels import NEUTRAL, HeadSpec

FOCUS, MARGIN = 2.0, 0.05
"""Of the asymmetric loss: how much easy negatives are played down, and from where they count at all."""


def targets(head: HeadSpec, labels: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Return class numbers (rows,) for a single-label head, zeros and ones (rows, labels) for another."""
    if not head.multi_label:
        return torch.tensor([row[0] for row in labels])
    hot = torch.zeros(len(labels), len(head.labels))
    for number, row in enumerate(labels):
        hot[number, list(row)] = 1.0
    return hot


def class_weights(labels: Sequence[tuple[int, ...]], classes: int, balance: float) -> torch.Tensor:
    """Return a weight a class, (classes,): its frequency to the power of -`balance`, on average 1 a row."""
    counts = torch.bincount(torch.tensor([row[0] for row in labels]), minlength=classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -balance, torch.zeros(()))
    return weights * counts.sum() / (weights * counts).sum()


@dataclass(frozen=True, slots=True)
class Form:
    """How a task's loss is made.

    `binary`: the set knows no neutral. `asymmetric`: for many labels. `weights`: (classes,), a factor each.
    `smoothing`: share of the target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    binary: bool = False
    asymmetric: bool = False
    weights: torch.Tensor | None = None
    smoothing: float = 0.0


def loss(head: HeadSpec, logits: torch.Tensor, wanted: torch.Tensor, form: Form) -> torch.Tensor:
    """Return the mean loss over the rows, a scalar.

    Single label: cross-entropy; for a `binary` set the softmax runs over negative and positive alone, since
    it says nothing about where neutral lies. Many labels: binary cross-entropy, or the asymmetric form,
    summed over the labels so that a label weighs the same in either kind of head.
    """
    logits = logits.float()
    if head.multi_label:
        each = (
            asymmetric(logits, wanted)
            if form.asymmetric
            else functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        )
        return each.sum(dim=1).mean()
    if form.binary:
        masked = torch.zeros_like(logits)
        masked[:, NEUTRAL] = float("-inf")
        return functional.cross_entropy(logits + masked, wanted)
    each = functional.cross_entropy(logits, wanted, reduction="none", label_smoothing=form.smoothing)
    return each.mean() if form.weights is None else (each * form.weights.to(each.device)[wanted]).mean()


def asymmetric(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the asymmetric loss (Ridnik et al. 2021, arXiv:2009.14119) of each label, (rows, labels).

    A label is absent from most rows. Easy absences are played down by their own probability to the power of
    FOCUS, and cost nothing below MARGIN, so that the few presences of rare labels are heard.
    """
    present = torch.sigmoid(logits)
    absent = (present - MARGIN).clamp(min=0)
    missed = -functional.logsigmoid(logits)
    false = -torch.log((1 - absent).clamp(min=1e-6)) * absent**FOCUS
    return wanted * missed + (1 - wanted) * false


def token_loss(logits: torch.Tensor, wanted: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy of a token, the mean over real ones; all three are (rows, length)."""
    each = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return (each * real).sum() / real.sum()


def soft_loss(
    logits: torch.Tensor, taught: torch.Tensor, columns: Sequence[int], multi_label: bool, temperature: float
) -> torch.Tensor:
    """Return how far the student is from a teacher's probabilities `taught` (rows, teacher's labels).

    Hinton et al. 2015 (arXiv:1503.02531): both sides are softened by `temperature`, and the loss is scaled
    back by its square. `columns` says which of the student's labels each of the teacher's is; where the
    teacher knows fewer, nothing is said of the others.
    """
    logits = logits.float()[:, list(columns)]
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits, taught, reduction="none").sum(dim=1).mean()
    softened = torch.softmax(torch.log(taught.clamp(min=1e-6)) / temperature, dim=1)
    given = torch.log_softmax(logits / temperature, dim=1)
    return functional.kl_div(given, softened, reduction="batchmean") * temperature**2
