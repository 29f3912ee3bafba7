"""The loss of a batch: against labels, teachers' scores, and a teacher's relations between tokens."""

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
from worker.lab.recipe import Task

FOCUS, MARGIN = 2.0, 0.05
"""The asymmetric loss: how strongly easy negatives are weighted down, and from which score they count."""


def targets(head: Head, labels: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Return class indices (rows,) for a single-label head, else zeros and ones (rows, labels)."""
    if not head.multi_label:
        return torch.tensor([row[0] for row in labels])
    hot = torch.zeros(len(labels), len(head.labels))
    for number, row in enumerate(labels):
        hot[number, list(row)] = 1.0
    return hot


def class_weights(labels: Sequence[tuple[int, ...]], classes: int, balance: float) -> torch.Tensor:
    """Return class weights (classes,): frequency to the power of -`balance`, averaging 1 over the rows."""
    counts = torch.bincount(torch.tensor([row[0] for row in labels]), minlength=classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -balance, torch.zeros(()))
    return weights * counts.sum() / (weights * counts).sum()


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a task's loss.

    `binary`: the set has no neutral label. `asymmetric`: the loss for multi-label heads. `weights`: class
    weights, (classes,). `smoothing`: share of the target that is spread over all classes (Szegedy et al.
    2016, arXiv:1512.00567).
    """

    binary: bool = False
    asymmetric: bool = False
    weights: torch.Tensor | None = None
    smoothing: float = 0.0


def form_of(task: Task, head: Head, labels: Sequence[tuple[int, ...]], *, binary: bool) -> Form:
    """Return the form of the loss on the rows that a task's set labels for this head."""
    weights = None
    if task.balance and not head.multi_label and not head.by_token and all(labels):
        weights = class_weights(labels, len(head.labels), task.balance)
    return Form(binary, task.loss == "asymmetric", weights, task.smoothing)


def loss(head: Head, logits: torch.Tensor, wanted: torch.Tensor, form: Form) -> torch.Tensor:
    """Return the mean loss over the rows, a scalar.

    Single label: cross-entropy; for a `binary` set the softmax covers only negative and positive, since the
    set contains no information about neutral. Multi-label: binary cross-entropy or the asymmetric loss,
    summed over the labels so that a label has the same weight in both kinds of head.
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

    A label is absent from most rows. Easy negatives are weighted down by their own probability to the power
    of FOCUS, and cost nothing below MARGIN, so that they do not outweigh the few positives of rare labels.
    """
    present = torch.sigmoid(logits)
    absent = (present - MARGIN).clamp(min=0)
    missed = -functional.logsigmoid(logits)
    false = -torch.log((1 - absent).clamp(min=1e-6)) * absent**FOCUS
    return wanted * missed + (1 - wanted) * false


def token_loss(logits: torch.Tensor, wanted: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy over the real tokens; all three are (rows, length)."""
    each = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return (each * real).sum() / real.sum()


def teacher_loss(
    logits: torch.Tensor, scores: torch.Tensor, columns: Sequence[int], multi_label: bool, temperature: float
) -> torch.Tensor:
    """Return the loss of the student against a teacher's probabilities `scores` (rows, teacher's labels).

    Hinton et al. 2015 (arXiv:1503.02531): both sides are softened by `temperature`, and the loss is scaled
    up by its square. `columns` maps the teacher's labels to the student's; labels that the teacher lacks do
    not take part.
    """
    logits = logits.float()[:, list(columns)]
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(dim=1).mean()
    softened = torch.softmax(torch.log(scores.clamp(min=1e-6)) / temperature, dim=1)
    given = torch.log_softmax(logits / temperature, dim=1)
    return functional.kl_div(given, softened, reduction="batchmean") * temperature**2


MOST_HEADS = 48
"""The largest number of relation heads; the authors found that more are better, up to 48 or 64."""


class Relations:
    """The loss against a teacher's relations between tokens, whatever its width and number of heads.

    Wang et al. 2021 (MiniLMv2, arXiv:2012.15828), after MiniLM (arXiv:2002.10957): on both sides, the last
    layer's queries, keys and values are each split into the same number of relation heads. Within a relation
    head, the scaled products of tokens with tokens give probabilities over the tokens, and the student's are
    trained towards the teacher's. The two models may differ in width, depth and attention heads, but must
    split texts into the same tokens. The teacher's side is computed for each batch.
    """

    def __init__(self, teacher: Checkpoint, network: Network, student: Checkpoint) -> None:
        """Raise TeacherError if the two models tokenise differently, so that their tokens cannot be compared.

        `network` has the teacher's weights.
        """
        other = teacher
        if (other.tokenizer, other.config.get("text")) != (student.tokenizer, student.config.get("text")):
            raise TeacherError(
                f"--relations: {teacher.title} and the student cut texts into different tokens; leave it out"
            )
        self._network = network
        widths = math.gcd(other.sizes.attention_dim, student.sizes.attention_dim)
        self.heads = max(count for count in range(1, MOST_HEADS + 1) if widths % count == 0)

    def to(self, device: torch.device) -> None:
        """Move the teacher to this device."""
        nn.Module.to(self._network, device)

    def loss(
        self, student: Network, below: torch.Tensor, ids: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the divergence, a scalar: the mean over texts, tokens, relation heads, and the three kinds.

        `below` is the input of the student's last layer, (texts, length, dim).
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
    """Return the log-probabilities (texts, heads, length, length) of query, key and value relations."""
    found = []
    for linear in (attention.q_lin, attention.k_lin, attention.v_lin):
        parts = linear(rows).unflatten(-1, (heads, -1)).transpose(1, 2)
        scores = torch.matmul(parts, parts.transpose(2, 3)).float() * parts.shape[-1] ** -0.5
        if real is not None:
            scores = scores.masked_fill(real[:, None, None, :] == 0, torch.finfo(torch.float32).min)
        found.append(torch.log_softmax(scores, dim=-1))
    return found


def _divergence(theirs: torch.Tensor, ours: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence over the real tokens and the relation heads."""
    each = (theirs.exp() * (theirs - ours)).sum(dim=-1).mean(dim=1)
    if real is None:
        return each.mean()
    return (each * real).sum() / real.sum()
