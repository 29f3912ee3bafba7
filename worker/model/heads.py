"""The heads of a pack that judge a whole text: their labels, and how logits become scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.errors import InferenceError
from worker.types import HeadResult

ProblemType = Literal["single_label_classification", "multi_label_classification"]
"""As transformers names them: one label that wins (softmax), or any number of labels (sigmoid)."""

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Head:
    """One head.

    `thresholds` holds one probability a label; None for a single-label head. Logits are divided by
    `temperature` before they become probabilities, so that these are as often right as they say (Guo et al.
    2017, arXiv:1706.04599). `groups` gathers labels under coarser names: a group scores what the strongest
    of its labels does.
    """

    name: str
    problem_type: ProblemType
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None
    temperature: float = 1.0
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def results(self, logits: NDArray[np.float32]) -> list[HeadResult]:
        """Turn logits of shape (batch, labels) into one result a row.

        Raises:
            InferenceError: the shape is another one, or a logit is not finite.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise InferenceError(
                f"head {self.name}: logits of shape {logits.shape} for {len(self.labels)} labels"
            )
        if not np.isfinite(logits).all():
            raise InferenceError(f"head {self.name}: the model gave a logit that is not finite")
        wide = logits.astype(np.float64) / self.temperature
        if self.thresholds is None:
            return self._single(_softmax(wide))
        return self._multi(sigmoid(wide), np.asarray(self.thresholds))

    def _single(self, scores: NDArray[np.float64]) -> list[HeadResult]:
        best = scores.argmax(axis=1).tolist()
        return [
            HeadResult(self.labels[top], row[top], dict(zip(self.labels, row, strict=True)))
            for top, row in zip(best, scores.tolist(), strict=True)
        ]

    def _multi(self, scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> list[HeadResult]:
        # A stable sort: labels of equal score keep the pack's order, so a replay gives the same list.
        order = np.argsort(-scores, axis=1, kind="stable").tolist()
        passed = (scores >= thresholds).tolist()
        results = []
        for ranks, row, over in zip(order, scores.tolist(), passed, strict=True):
            labels = tuple(self.labels[index] for index in ranks if over[index])
            top = ranks[0]
            named = dict(zip(self.labels, row, strict=True))
            results.append(HeadResult(self.labels[top], row[top], named, labels, self._grouped(named)))
        return results

    def _grouped(self, scores: Mapping[str, float]) -> dict[str, float] | None:
        """Return each group's score, the largest among its labels; None where there are no groups."""
        if not self.groups:
            return None
        return {name: max(scores[label] for label in labels) for name, labels in self.groups.items()}


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-logits)), of any shape."""
    # exp() of a negative number only: it cannot overflow, however large the logit.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
