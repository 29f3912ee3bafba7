"""How good a smaller model still is: its figures on dev splits, and how far it agrees with the original."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from worker.evaluation.evaluate import evaluate
from worker.evaluation.examples import Examples
from worker.evaluation.heads import HeadInfo
from worker.evaluation.metrics import Floats
from worker.evaluation.result import Result
from worker.evaluation.score_pack import PackScorer

Say = Callable[[str], None]


def main_figure(result: Result) -> str:
    """Return the name of the figure that stands for a set: its own, as the field reports it."""
    for name in ("span_f1", "macro_f1") if len(result.labels) > 3 or not result.labels else ():
        if name in result.figures:
            return name
    return "macro_recall" if len(result.labels) == 3 else "accuracy"


def dev_figures(pack: Path, sets: Sequence[Examples], say: Say) -> dict[str, float]:
    """Return the main figure of each set, a share, by the set's name."""
    scorer = PackScorer(pack, lambda _rows: None)
    fitting = [
        each for each in sets if each.head in scorer.heads and not each.misfit(scorer.heads[each.head])
    ]
    return {
        f"{result.data} {main_figure(result)}": result.figures[main_figure(result)].value
        for result in evaluate(scorer, fitting, say=say)
    }


def agreement(original: Path, smaller: Path, texts: Sequence[str], max_tokens: int = 512) -> dict[str, float]:
    """Return for each head that both packs have the share of texts on which they decide alike.

    One label: the same label wins. Many labels: the mean over labels of equal decisions. Marks of a token
    head: the mean F1 of the marked characters, texts that neither marks left out.
    """
    ones, twos = PackScorer(original, lambda _rows: None), PackScorer(smaller, lambda _rows: None)
    first, second = (scorer.predictions(texts, max_tokens) for scorer in (ones, twos))
    found = {}
    for name, head in ones.heads.items():
        if name not in twos.heads:
            continue
        if head.by_token:
            marks = [[prediction.spans[name].ranges for prediction in given] for given in (first, second)]
            found[name] = _marks_alike(*marks)
        else:
            both = [_decisions(head, [row.heads[name].scores for row in given]) for given in (first, second)]
            found[name] = float((both[0] == both[1]).mean())
    return found


def _decisions(head: HeadInfo, scores: Sequence[dict[str, float]]) -> Floats:
    """Return the winning label's number (texts,), or what passes its threshold (texts, labels)."""
    table = np.array([[row[label] for label in head.labels] for row in scores])
    decided = table >= np.array(head.thresholds) if head.multi_label else table.argmax(axis=1)
    return np.asarray(decided, np.float64)


def _marks_alike(
    ones: Sequence[Sequence[tuple[int, int]]], twos: Sequence[Sequence[tuple[int, int]]]
) -> float:
    from worker.evaluation.spans import characters, post_f1  # noqa: PLC0415 - beside its use

    both = [
        (one, two)
        for one, two in zip(map(characters, ones), map(characters, twos), strict=True)
        if one or two
    ]
    return float(np.mean([post_f1(one, two) for one, two in both])) if both else 1.0
