"""A text that was read in several windows: what their results give together."""

from collections.abc import Sequence

import numpy as np

from worker.heads import Head, Marks
from worker.model.heads import results_of
from worker.model.spans import joined
from worker.model.tokens import Tokens
from worker.types import HeadResult, Prediction, SpanResult


def mean_prediction(
    row: Tokens,
    heads: Sequence[Head],
    token_heads: Sequence[Head],
    windows: Sequence[Prediction],
    marks: Marks = "flagged",
) -> Prediction:
    """Return the prediction for a text from those for its windows.

    A score is the mean of the windows' scores, and labels follow from it as ever. What is marked in any
    window is marked, if the mean passes the token head's gate and, where `marks` asks for it, the whole text
    is called what the gate is about.
    """
    results = {head.name: _mean(head, [window.heads[head.name] for window in windows]) for head in heads}
    spans = {
        head.name: _joined(row.text, head, results, [window.spans[head.name] for window in windows], marks)
        for head in token_heads
    }
    return Prediction(results, row.token_count, row.truncated, spans)


def _mean(head: Head, results: Sequence[HeadResult]) -> HeadResult:
    scores = np.array([[result.scores[label] for label in head.labels] for result in results])
    return results_of(head, scores.mean(axis=0, keepdims=True))[0]


def _joined(
    text: str, head: Head, results: dict[str, HeadResult], windows: Sequence[SpanResult], marks: Marks
) -> SpanResult:
    if (gate := head.gate) is not None:
        whole = results[gate.head]
        called = gate.label in ((whole.label,) if whole.labels is None else whole.labels)
        if whole.scores[gate.label] < gate.threshold or (marks == "flagged" and not called):
            return SpanResult()
    marked = sorted(found for window in windows for found in window.ranges)
    return SpanResult(joined(text, marked), read=any(window.read for window in windows))
