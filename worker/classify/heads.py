"""The classification heads of a pack: their labels, and how logits become scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from worker.classify.errors import InferenceError, PackError
from worker.types import HeadResult

ProblemType = Literal["single_label_classification", "multi_label_classification"]
"""As transformers names them: one label that wins (softmax), or any number of labels (sigmoid)."""

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Head:
    """One head. `thresholds` holds one probability a label; None for a single-label head."""

    name: str
    problem_type: ProblemType
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None

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
        wide = logits.astype(np.float64)
        if self.thresholds is None:
            return self._single(_softmax(wide))
        return self._multi(_sigmoid(wide), np.asarray(self.thresholds))

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
            results.append(
                HeadResult(self.labels[top], row[top], dict(zip(self.labels, row, strict=True)), labels)
            )
        return results


def read_heads(config: Mapping[str, Any], path: Path) -> tuple[Head, ...]:
    """Read the `heads` table of a pack's configuration; `path` is named in errors.

    Raises:
        PackError: no head, an unknown problem type, labels or thresholds that do not fit.
    """
    table = config.get("heads")
    if not isinstance(table, dict) or not table:
        raise PackError(f"{path}: needs a table of `heads`")
    return tuple(_read_head(str(name), entry, path) for name, entry in table.items())


def _read_head(name: str, entry: object, path: Path) -> Head:
    where = f"{path}: head {name!r}"
    if not isinstance(entry, dict):
        raise PackError(f"{where} must be a table")
    problem = entry.get("problem_type")
    labels = read_labels(entry.get("id2label"), where)
    if problem == "single_label_classification":
        return Head(name, problem, labels, None)
    if problem == "multi_label_classification":
        return Head(name, problem, labels, _read_thresholds(entry.get("thresholds"), len(labels), where))
    raise PackError(
        f"{where} has the problem type {problem!r}, which is none of single_ or multi_label_classification"
    )


def read_labels(id2label: object, where: str) -> tuple[str, ...]:
    """Read an `id2label` table, whose keys must count from "0" on, into labels in their order.

    Raises:
        PackError: a gap in the numbers, a label that is no text, or one that occurs twice.
    """
    if not isinstance(id2label, dict) or not id2label:
        raise PackError(f"{where} needs `id2label`")
    found = [id2label.get(str(index)) for index in range(len(id2label))]
    labels = tuple(label for label in found if isinstance(label, str) and label)
    if len(labels) != len(found):
        raise PackError(f"{where}: `id2label` must name labels 0 to {len(found) - 1}")
    if len(set(labels)) != len(labels):
        raise PackError(f"{where}: `id2label` names a label twice")
    return labels


def _read_thresholds(value: object, count: int, where: str) -> tuple[float, ...]:
    if value is None:
        return (DEFAULT_THRESHOLD,) * count
    if not isinstance(value, list) or len(value) != count:
        raise PackError(f"{where}: `thresholds` needs one number for each of its {count} labels")
    if not all(isinstance(item, int | float) and 0 <= item <= 1 for item in value):
        raise PackError(f"{where}: `thresholds` must lie between 0 and 1")
    return tuple(float(item) for item in value)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # exp() of a negative number only: it cannot overflow, however large the logit.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
