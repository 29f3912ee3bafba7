"""Measuring one model on one set of labelled texts: from scores to a result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from worker.heads import SINGLE, Head, Marks
from worker.lab.evaluate import calibration, metrics
from worker.lab.evaluate import spans as span_thresholds
from worker.lab.evaluate.examples import Examples
from worker.lab.evaluate.metrics import Bools, Figure, Floats, Ints, with_intervals
from worker.lab.evaluate.result import ADJUSTED, CROSS_FITTED, LARGEST, OWN, LabelResult, Result
from worker.lab.evaluate.score import Scorer, asked
from worker.lab.evaluate.spans import characters, marked_ranges, span_f1
from worker.lab.evaluate.thresholds import cross_fitted
from worker.model.heads import strengths

Thresholds = Literal["auto", "own", "cross-fitted"]
"""The thresholds for multi-label heads: the model's own, or cross-fitted on the set. `auto`: cross-fitted for
a set that our own are fitted on, since they would look too good there."""

_ERRORS = ("ece", "ece_equal_mass", "ece_crossfit")
_RULES: tuple[Marks, Marks] = ("gate", "flagged")
_FEWEST = 20  # rows from which fitting half of them on the other half means something


@dataclass(frozen=True, slots=True)
class _Answers:
    """Scores (rows, labels) of the gold's labels, and the decisions made from them."""

    labels: tuple[str, ...]
    scores: Floats
    gold: Ints | Bools
    hot: Bools
    """The gold as a table (rows, labels)."""
    chosen: Bools
    """The answers as a table (rows, labels)."""
    decisions: str


def evaluate(
    scorer: Scorer,
    sets: Iterable[Examples],
    thresholds: Thresholds = "auto",
    say: Callable[[str], None] = lambda _line: None,
) -> list[Result]:
    """Measure a model on sets that fit it (`examples.fitting` finds them)."""
    results = []
    for examples in sets:
        say(f"{scorer.title}: {examples.title}, {len(examples):,} rows")
        results.append(measure(scorer, examples, thresholds))
    return results


def measure(scorer: Scorer, examples: Examples, thresholds: Thresholds = "auto") -> Result:
    """Return every figure of one model on one set.

    Raises:
        ValueError: the set does not fit the head (see `Examples.misfit`).
    """
    head = scorer.heads[examples.head]
    if reason := examples.misfit(head):
        raise ValueError(reason)
    if examples.marked is not None:
        return _measure_spans(scorer, examples)
    scores = scorer(examples.texts, examples.max_tokens, head.name)
    answers = (
        _single(head, examples, scores)
        if head.problem_type == SINGLE
        else _many(head, examples, scores, thresholds)
    )
    return _result(head, examples, answers)


def _single(head: Head, examples: Examples, scores: Floats) -> _Answers:
    """Choose the strongest of the gold's labels; their scores are rescaled to add up to 1."""
    if examples.classes is None:
        raise ValueError("these examples have no classes")
    columns = [head.labels.index(label) for label in examples.labels]
    part = scores[:, columns] / scores[:, columns].sum(axis=1, keepdims=True)
    strongest = strengths(head, scores)[:, columns].argmax(axis=1)
    count = len(examples.labels)
    return _Answers(
        examples.labels,
        part,
        examples.classes,
        metrics.one_hot(examples.classes, count),
        metrics.one_hot(strongest, count),
        ADJUSTED if head.logit_adjustment else LARGEST,
    )


def _many(head: Head, examples: Examples, scores: Floats, thresholds: Thresholds) -> _Answers:
    """Choose every label whose score reaches its threshold."""
    if examples.table is None:
        raise ValueError("these examples have no table of labels")
    columns = [head.labels.index(label) for label in examples.labels]
    part = scores[:, columns]
    crosswise = thresholds == "cross-fitted" or (thresholds == "auto" and examples.tuned)
    own = np.array(head.thresholds)[columns]
    chosen = cross_fitted(part, examples.table) if crosswise else part >= own
    return _Answers(
        examples.labels,
        part,
        examples.table,
        examples.table,
        chosen,
        CROSS_FITTED if crosswise else OWN,
    )


def _result(head: Head, examples: Examples, answers: _Answers) -> Result:
    single = answers.gold.ndim == 1
    confidence, right = calibration.stated(answers.scores, answers.gold)
    groups = {} if single else _group_tables(head, answers)
    figures = _figures(answers, groups)
    gold, chosen = answers.hot.argmax(axis=1), answers.chosen.argmax(axis=1)
    logits = calibration.to_logits(answers.scores, multi_label=not single)
    return Result(
        data=examples.name,
        title=examples.title,
        head=head.name,
        rows=len(examples),
        decisions=answers.decisions,
        figures=figures,
        labels=_labels(answers),
        groups=_each_f1(tuple(groups), *_stacked(groups)) if groups else {},
        confusion=metrics.confusion(gold, chosen, len(answers.labels)).astype(int).tolist() if single else [],
        reliability=calibration.reliability(confidence, right),
        chance_ece=calibration.chance_error(confidence),
        temperature=calibration.fit_temperature(logits, answers.gold),
    )


def _figures(answers: _Answers, groups: dict[str, tuple[Bools, Bools]]) -> dict[str, Figure]:
    """Return all figures of a head that classifies whole texts, over the same resamples."""
    measures = [_decided(answers), _trusted(answers)]
    if len(answers.labels) == 2 and answers.gold.ndim == 1:
        ranked = metrics.auroc(answers.scores[:, 1], answers.hot[:, 1])
        measures.append(lambda weights: {"auroc": ranked(weights)})
    if groups:
        gold, chosen = _stacked(groups)
        measures.append(lambda weights: _group_figures(gold, chosen, weights))

    def every(weights: Floats) -> dict[str, float]:
        return {name: value for each in measures for name, value in each(weights).items()}

    return with_intervals(every, len(answers.scores), biased=_ERRORS)


def _decided(answers: _Answers) -> metrics.Measure:
    """Return a function that computes the figures of the decisions."""
    if answers.gold.ndim == 2:
        return lambda weights: metrics.multi_label(answers.hot, answers.chosen, weights)
    gold, chosen, count = answers.hot.argmax(axis=1), answers.chosen.argmax(axis=1), len(answers.labels)
    return lambda weights: metrics.single_label(gold, chosen, count, weights)


def _trusted(answers: _Answers) -> metrics.Measure:
    """Return a function for the figures of the probabilities: calibration errors, likelihood, Brier score."""
    rows, scores, gold = len(answers.scores), answers.scores, answers.gold
    likely, brier = calibration.losses(scores, gold)
    ways = {"ece": (scores, calibration.equal_width), "ece_equal_mass": (scores, calibration.equal_mass)}
    if rows >= _FEWEST:
        logits = calibration.to_logits(scores, multi_label=gold.ndim == 2)
        ways["ece_crossfit"] = (calibration.cross_fitted_scores(logits, gold), calibration.equal_width)
    cases = {}
    for name, (given, bins) in ways.items():
        confidence, right = calibration.stated(given, gold)
        cases[name] = _by_bin(bins(confidence).reshape(rows, -1), confidence, right)

    def trusted(weights: Floats) -> dict[str, float]:
        total = weights.sum()
        errors = {
            name: calibration.binned_error(*(weights @ table for table in three))
            for name, three in cases.items()
        }
        return {**errors, "brier": float(weights @ brier / total), "nll": float(weights @ likely / total)}

    return trusted


def _by_bin(place: Ints, confidence: Floats, right: Bools) -> tuple[Floats, Floats, Floats]:
    """Return each row's cases by bin, (rows, bins): how many, their confidence, how many were right.

    A resample's bins are then three products of its row counts. `place` is (rows, cases a row).
    """
    rows = len(place)
    flat = (np.arange(rows)[:, None] * calibration.BINS + place).ravel()

    def summed(values: Floats) -> Floats:
        return np.bincount(flat, values, rows * calibration.BINS).reshape(rows, -1).astype(np.float64)

    return summed(np.ones(len(flat))), summed(confidence), summed(right.astype(np.float64))


def _group_tables(head: Head, answers: _Answers) -> dict[str, tuple[Bools, Bools]]:
    """Return gold and answers of each derived group, (rows,) both: true if one of its labels is."""
    tables = {}
    for group, members in head.groups.items():
        columns = [answers.labels.index(label) for label in members if label in answers.labels]
        if columns:
            gold, chosen = (
                np.asarray(table[:, columns].any(axis=1)) for table in (answers.hot, answers.chosen)
            )
            tables[group] = (gold, chosen)
    return tables


def _group_figures(gold: Bools, chosen: Bools, weights: Floats) -> dict[str, float]:
    figures = metrics.multi_label(gold, chosen, weights)
    return {f"group_{name}": figures[name] for name in ("macro_f1", "micro_f1")}


def _stacked(groups: dict[str, tuple[Bools, Bools]]) -> tuple[Bools, Bools]:
    """Return the groups' gold and answers as tables (rows, groups)."""
    gold, chosen = (np.stack([pair[side] for pair in groups.values()], axis=1) for side in (0, 1))
    return gold, chosen


def _labels(answers: _Answers) -> dict[str, LabelResult]:
    """Return each label's figures."""
    both, wanted, given = (
        table.sum(axis=0) for table in (answers.hot & answers.chosen, answers.hot, answers.chosen)
    )
    f1 = _each_f1(answers.labels, answers.hot, answers.chosen)
    return {
        label: LabelResult(
            int(wanted[number]),
            int(given[number]),
            float(both[number] / max(1, given[number])),
            float(both[number] / max(1, wanted[number])),
            f1[label],
        )
        for number, label in enumerate(answers.labels)
    }


def _each_f1(names: tuple[str, ...], gold: Bools, chosen: Bools) -> dict[str, Figure]:
    """Return each column's F1, (rows, names) both."""

    def f1(weights: Floats) -> dict[str, float]:
        return dict(zip(names, metrics.label_f1(gold, chosen, weights).tolist(), strict=True))

    return with_intervals(f1, len(gold))


def _measure_spans(scorer: Scorer, examples: Examples) -> Result:
    """Return span F1 as in the service, and with more posts asked; and how often the head is asked.

    `span_f1` marks in flagged posts alone, the default; `span_f1_gate` in all that the gate lets through,
    `span_f1_no_gate` in all. `span_f1_crossfit` is `span_f1` with each post at the thresholds that are best
    for others. `flagged` and `gate_open` are the shares of the posts that are asked.
    """
    if examples.marked is None:
        raise ValueError("these examples have no marked characters")
    head, texts, longest = scorer.heads[examples.head], examples.texts, examples.max_tokens
    tokens = scorer.tokens(texts, longest, head.name)
    free = [
        marked_ranges(text, each.ranges, each.scores, head.thresholds[0], head.relative)
        for text, each in zip(texts, tokens, strict=True)
    ]
    opened, flagged = (asked(scorer, texts, longest, head.name, marks) for marks in _RULES)
    gated = [ranges if ask else () for ranges, ask in zip(free, opened, strict=True)]
    each = {
        "span_f1": span_f1(examples.marked, [*map(characters, scorer.ranges(texts, longest, head.name))]),
        "span_f1_gate": span_f1(examples.marked, [*map(characters, gated)]),
        "span_f1_no_gate": span_f1(examples.marked, [*map(characters, free)]),
        "flagged": flagged.astype(np.float64),
        "gate_open": opened.astype(np.float64),
    }
    if len(examples) >= _FEWEST:
        figures = span_thresholds.f1_by_cut(texts, tokens, examples.marked, flagged)
        each["span_f1_crossfit"] = span_thresholds.cross_fitted(figures)
    return Result(
        data=examples.name,
        title=examples.title,
        head=head.name,
        rows=len(examples),
        decisions=OWN,
        figures=with_intervals(
            lambda weights: {name: float(weights @ values / weights.sum()) for name, values in each.items()},
            len(examples),
        ),
    )
