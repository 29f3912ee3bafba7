"""The loss of a batch, from logits and label indexes."""

import torch
from torch.nn import functional

from worker.training.labels import NEUTRAL, HeadSpec


def targets(head: HeadSpec, labels: list[tuple[int, ...]]) -> torch.Tensor:
    """Return class numbers (rows,) for a single-label head, zeros and ones (rows, labels) for another."""
    if not head.multi_label:
        return torch.tensor([row[0] for row in labels])
    hot = torch.zeros(len(labels), len(head.labels))
    for number, row in enumerate(labels):
        hot[number, list(row)] = 1.0
    return hot


def loss(head: HeadSpec, logits: torch.Tensor, wanted: torch.Tensor, binary: bool) -> torch.Tensor:
    """Return the mean loss over the rows, a scalar.

    Single label: cross-entropy; with `binary` the softmax runs over negative and positive alone, since a set
    without a neutral class says nothing about where neutral lies. Many labels: binary cross-entropy, summed
    over the labels so that a label weighs the same in either kind of head.
    """
    logits = logits.float()
    if head.multi_label:
        each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return each.sum(dim=1).mean()
    if binary:
        masked = torch.zeros_like(logits)
        masked[:, NEUTRAL] = float("-inf")
        logits = logits + masked
    return functional.cross_entropy(logits, wanted)
