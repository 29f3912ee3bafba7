"""The loss of a batch: against labels, teachers' scores, and how a teacher relates its tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from worker.errors import TeacherError
from worker.heads import Head
from worker.lab.checkpoint import Checkpoint
from worker.lab.data.labels import NEUTRAL
from worker.lab.network import Attention, Network

FOCUS, MARGIN = 2.0, 0.05
"""Of the asymmetric loss: how far easy negatives are weighted down, and from which score they count."""


def targets(head: Head, labels: Sequence[tuple[int, ...]]) -> torch.Tensor:
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


def loss(head: Head, logits: torch.Tensor, wanted: torch.Tensor, form: Form) -> torch.Tensor:
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

    A label is absent from most rows. Easy absences are weighted down by their own probability to the power of
    FOCUS, and cost nothing below MARGIN, so that they do not drown the few presences of rare labels.
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


def teacher_loss(
    logits: torch.Tensor, scores: torch.Tensor, columns: Sequence[int], multi_label: bool, temperature: float
) -> torch.Tensor:
    """Return how far the student is from a teacher's probabilities `scores` (rows, teacher's labels).

    Hinton et al. 2015 (arXiv:1503.02531): both sides are softened by `temperature`, and the loss is scaled
    back by its square. `columns` says which of the student's labels each of the teacher's is; where the
    teacher knows fewer, nothing is said of the others.
    """
    logits = logits.float()[:, list(columns)]
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(dim=1).mean()
    softened = torch.softmax(torch.log(scores.clamp(min=1e-6)) / temperature, dim=1)
    given = torch.log_softmax(logits / temperature, dim=1)
    return functional.kl_div(given, softened, reduction="batchmean") * temperature**2


MOST_HEADS = 48
"""Relation heads at most; the authors found more of them better, up to 48 or 64."""


class Relations:
    """How a teacher's tokens relate to one another: what attention does, whatever its width and heads.

    Wang et al. 2021 (MiniLMv2, arXiv:2012.15828), after MiniLM (arXiv:2002.10957): the last layer's
    queries, keys and values are each cut into as many relation heads on both sides, and the student's
    softened products of tokens with tokens, as probabilities over the tokens, are drawn to the teacher's.
    Widths, depths and attention heads of the two need not agree; their tokens must. The teacher's side is
    computed for each batch.
    """

    def __init__(self, teacher: Checkpoint, network: Network, student: Checkpoint) -> None:
        """Raise TeacherError where the two read texts otherwise: their tokens could not be compared.

        `network` has the teacher's weights.
        """
        other = teacher
        if (other.tokenizer, other.config.get("text")) != (student.tokenizer, student.config.get("text")):
            raise TeacherError(
                f"--relations: {teacher.title} and the student cut texts into other tokens; leave it out"
            )
        self._network = network
        widths = math.gcd(other.sizes.attention_dim, student.sizes.attention_dim)
        self.heads = max(count for count in range(1, MOST_HEADS + 1) if widths % count == 0)

    def to(self, device: torch.device) -> None:
        """Compute on this device from now on."""
        nn.Module.to(self._network, device)

    def loss(
        self, student: Network, below: torch.Tensor, ids: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the mean divergence over texts, tokens, relation heads and the three kinds, a scalar.

        `below` is what the student's last layer reads, (texts, length, dim).
        """
        encoder = self._network.distilbert
        *below_last, last = encoder.transformer.layers
        with torch.no_grad():
            theirs = _logs(
                last.attention,
                encoder.hidden_states(ids, real, len(below_last))[-1],
                self.heads,
                real,
            )
        ours = _logs(student.distilbert.transformer.layers[-1].attention, below, self.heads, real)
        return torch.stack(
            [_divergence(one, two, real) for one, two in zip(theirs, ours, strict=True)]
        ).mean()


def _logs(
    attention: Attention, rows: torch.Tensor, heads: int, real: torch.Tensor | None
) -> list[torch.Tensor]:
    """Return log-probabilities (texts, heads, length, length): queries among themselves, keys, values."""
    found = []
    for linear in (attention.q_lin, attention.k_lin, attention.v_lin):
        parts = linear(rows).unflatten(-1, (heads, -1)).transpose(1, 2)
        scores = torch.matmul(parts, parts.transpose(2, 3)).float() * parts.shape[-1] ** -0.5
        if real is not None:
            scores = scores.masked_fill(real[:, None, None, :] == 0, torch.finfo(torch.float32).min)
        found.append(torch.log_softmax(scores, dim=-1))
    return found


def _divergence(theirs: torch.Tensor, ours: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of each real token's relations, the mean over them and heads."""
    each = (theirs.exp() * (theirs - ours)).sum(dim=-1).mean(dim=1)
    if real is None:
        return each.mean()
    return (each * real).sum() / real.sum()
