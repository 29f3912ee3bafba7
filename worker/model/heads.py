"""Turns the logits of text heads into scores and labels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worker.errors import InferenceError
from worker.heads import Head
from worker.types import HeadResult


def text_results(head: Head, logits: NDArray[np.float32]) -> list[HeadResult]:
    """Turn a head's logits of shape (batch, labels) into one result per row.

    Raises:
        InferenceError: the shape is different, or a logit is not finite.
    """
    if logits.ndim != 2 or logits.shape[1] != len(head.labels):
        raise InferenceError(
            f"head {head.name}: logits of shape {logits.shape} for {len(head.labels)} labels"
        )
    if not np.isfinite(logits).all():
        raise InferenceError(f"head {head.name}: the model gave a logit that is not finite")
    return results_of(head, probabilities(head, logits))


def results_of(head: Head, scores: NDArray[np.float64]) -> list[HeadResult]:
    """Turn a head's probabilities of shape (batch, labels) into one result per row."""
    return _multi(head, scores) if head.multi_label else _single(head, scores)


def probabilities(head: Head, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a head's probabilities from its logits, (batch, labels) both."""
    cooled = logits.astype(np.float64) / head.temperature
    return sigmoid(cooled) if head.multi_label else softmax(cooled)


def called(head: Head, label: str, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return to which texts a head gives a label, (texts,), from its probabilities (texts, labels).

    That is the strongest label, or for a multi-label head one that reaches its threshold.
    """
    column = head.labels.index(label)
    if head.multi_label:
        return np.asarray(scores[:, column] >= head.thresholds[column])
    return np.asarray(strengths(head, scores).argmax(axis=1) == column)


def _single(head: Head, scores: NDArray[np.float64]) -> list[HeadResult]:
    best = strengths(head, scores).argmax(axis=1).tolist()
    return [
        HeadResult(head.labels[top], row[top], dict(zip(head.labels, row, strict=True)))
        for top, row in zip(best, scores.tolist(), strict=True)
    ]


def strengths(head: Head, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a head's labels are ranked by, from its probabilities, (texts, labels) both.

    These are the probabilities themselves, or where the pack makes them comparable, their logits less the
    head's `logit_adjustment`.
    """
    if not head.logit_adjustment:
        return scores
    with np.errstate(divide="ignore"):  # a score of 0 or 1 has an infinite logit, which ranks as it should
        # Of a softmax the logarithms are the logits, but for one number that all labels share.
        logits = np.log(scores) - np.log1p(-scores) if head.multi_label else np.log(scores)
        return np.asarray(logits - np.asarray(head.logit_adjustment))


def _multi(head: Head, scores: NDArray[np.float64]) -> list[HeadResult]:
    ranked = strengths(head, scores)
    # A stable sort: labels of equal strength keep the pack's order, so a replay gives the same list.
    order = np.argsort(-ranked, axis=1, kind="stable").tolist()
    group_of: dict[str, str] = {}
    for name, members in head.groups.items():
        for member in members:
            group_of.setdefault(member, name)
    passed = (scores >= np.asarray(head.thresholds)).tolist()
    results = []
    for ranks, row, over in zip(order, scores.tolist(), passed, strict=True):
        labels = tuple(head.labels[index] for index in ranks if over[index])
        top = ranks[0]
        named = dict(zip(head.labels, row, strict=True))
        # That of the strongest label; a label that is in no group leaves it to the next.
        group = next(
            (group_of[head.labels[index]] for index in ranks if head.labels[index] in group_of), None
        )
        results.append(HeadResult(head.labels[top], row[top], named, labels, _grouped(head, named), group))
    return results


def _grouped(head: Head, scores: Mapping[str, float]) -> dict[str, float] | None:
    """Return each group's score, the largest among its labels; None where there are no groups."""
    if not head.groups:
        return None
    return {name: max(scores[label] for label in labels) for name, labels in head.groups.items()}


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities that add up to 1 in each row, (rows, labels)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-logits)), of any shape."""
    # exp() of a negative number only: it cannot overflow, however large the logit.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
