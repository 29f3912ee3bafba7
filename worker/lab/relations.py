"""Learning how a teacher's tokens relate to one another: what attention does, whatever its width and heads.

Wang et al. 2021 (MiniLMv2, arXiv:2012.15828), after MiniLM (arXiv:2002.10957): the last layer's queries,
keys and values are each cut into as many relation heads on both sides, and the student's softened products
of tokens with tokens, as probabilities over the tokens, are drawn to the teacher's. Widths, depths and
attention heads of the two need not agree; their tokens must.
"""

import math

import torch

from worker.errors import TrainingError
from worker.lab.checkpoint import Checkpoint
from worker.lab.network import Attention, Network
from worker.lab.teachers import CheckpointTeacher

MOST_HEADS = 48
"""Relation heads at most; the authors found more of them better, to 48 or 64."""


class Relations:
    """The teacher's side, worked out anew for each batch."""

    def __init__(self, teacher: CheckpointTeacher, student: Checkpoint) -> None:
        """Raise TrainingError where the two read texts otherwise: their tokens could not be compared."""
        other = teacher.checkpoint
        if (other.tokenizer, other.config.get("text")) != (student.tokenizer, student.config.get("text")):
            raise TrainingError(
                f"--relations: {teacher.title} and the student cut texts into other tokens; leave it out"
            )
        self._network = teacher.network
        widths = math.gcd(other.sizes.attention_dim, student.sizes.attention_dim)
        self.heads = max(count for count in range(1, MOST_HEADS + 1) if widths % count == 0)

    def loss(
        self, student: Network, below: torch.Tensor, ids: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the mean divergence over texts, tokens, relation heads and the three kinds, a scalar.

        `below` is what the student's last layer reads, (texts, length, dim).
        """
        trunk = self._network.distilbert
        last = len(trunk.transformer.layer) - 1
        with torch.no_grad():
            theirs = _logs(
                trunk.transformer.layer[last].attention,
                trunk.hidden_states(ids, real, last)[-1],
                self.heads,
                real,
            )
        layers = student.distilbert.transformer.layer
        ours = _logs(layers[len(layers) - 1].attention, below, self.heads, real)
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
