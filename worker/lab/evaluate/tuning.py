"""Fitting each head's temperature and thresholds on dev splits.

They go into a checkpoint's `config.json`, and from there into its pack.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from worker.errors import TrainingError
from worker.heads import Head
from worker.lab.data.labels import EMOTION, NOT_TOXIC, TOXIC, TOXICITY
from worker.lab.data.sets import SOURCES
from worker.lab.evaluate import adjustment, calibration, thresholds
from worker.lab.evaluate import spans as span_thresholds
from worker.lab.evaluate.examples import BENCHMARKS, Benchmark, Examples, load_fitting
from worker.lab.evaluate.metrics import Bools, Floats
from worker.lab.evaluate.score import Scorer, asked_by

ADJUSTED = (
    Benchmark("goemotions", "GoEmotions dev"),
    Benchmark("posts_emotion", "our own held-out posts"),
    Benchmark("tweets_emotion", "held-out tweets with labels of our own"),
)
"""What the emotions are made comparable on: comments in many of which readers saw none, and posts and tweets
most of which show one."""

CALM = (
    Benchmark("posts_toxicity", "our own held-out posts"),
    Benchmark("tweets_toxicity", "held-out tweets with labels of our own"),
    Benchmark("comments_toxicity", "held-out comments with labels of our own"),
    Benchmark("reviews_calm", "product and airline reviews (every tenth of train)"),
    Benchmark("imdb_calm", "IMDB val (first 1,000 reviews)", rows=1_000),
)
"""Where the texts that are not toxic show from which score on a text may be called toxic."""

ALARMS = 0.05
"""The share of the calm texts of each kind that may be called toxic."""

RAISED = 1.0
"""The most that the logit of "toxic" is raised: no text is called toxic below a score of 0.27."""


def tune(
    scorer: Scorer,
    root: Path,
    say: Callable[[str], None] = lambda _line: None,
    *,
    kept: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """Fit every head for which there is a set to fit on; return the entries for each head's table.

    These are `temperature` for a head that classifies whole texts, `thresholds` (after that temperature) if
    it is multi-label, `logit_adjustment` for emotions and toxicity, `threshold` and `relative` for a token
    head. They replace the scorer's values; in which texts a token head may mark words follows from those
    fitted for its gate's head. A head whose set is missing or does not fit is left unchanged, and `say`
    reports it; the `kept` heads are left unchanged without a report.
    """
    fitted: dict[str, dict[str, Any]] = {}
    for benchmark in BENCHMARKS:
        head = SOURCES[benchmark.data].head
        if head in scorer.heads and head not in kept and benchmark.tuned:
            try:
                fitted[head] = tune_head(scorer, load_fitting(benchmark, scorer.heads, root), fitted)
            except TrainingError as error:
                say(f"head {head} is not tuned: {error}")
                continue
            if head in ADJUSTING:
                try:
                    numbers = ADJUSTING[head](scorer, root, fitted[head]["temperature"])
                    fitted[head]["logit_adjustment"] = numbers
                except TrainingError as error:
                    say(f"the labels of head {head} are not adjusted: {error}")
    return fitted


def adjust(scorer: Scorer, root: Path) -> dict[str, dict[str, Any]]:
    """Fit the adjustments of a finished model again, and what follows from them; as `tune`, entries by head.

    What follows are the thresholds of a token head whose gate is one of the adjusted heads. Raises
    TrainingError: a set is missing or does not fit its head.
    """
    fitted: dict[str, dict[str, Any]] = {}
    for name, adjusting in ADJUSTING.items():
        if name in scorer.heads:
            numbers = adjusting(scorer, root, scorer.heads[name].temperature)
            fitted[name] = {"logit_adjustment": numbers}
    for benchmark in BENCHMARKS:
        head = scorer.heads.get(SOURCES[benchmark.data].head)
        if head is not None and head.gate is not None and head.gate.head in fitted:
            fitted[head.name] = tune_head(scorer, load_fitting(benchmark, scorer.heads, root), fitted)
    return fitted


def adjust_emotions(scorer: Scorer, root: Path, temperature: float) -> list[float]:
    """Return the `logit_adjustment` of the emotion head, fitted at this temperature on ADJUSTED.

    Raises:
        TrainingError: there is no such head, or a set is missing or does not fit it.
    """
    sets = [
        adjustment.Rows(logits, examples.table)
        for examples, logits in _logits(ADJUSTED, scorer, root, temperature)
        if examples.table is not None
    ]
    return _for_head(scorer.heads[EMOTION.name], EMOTION.labels, adjustment.fit(sets).tolist())


def adjust_toxicity(scorer: Scorer, root: Path, temperature: float) -> list[float]:
    """Return the `logit_adjustment` of the toxicity head at this temperature, fitted on CALM.

    "toxic" is raised by at most RAISED, as far as at most ALARMS of the texts of each set that are not toxic
    are called toxic.

    Raises:
        TrainingError: there is no such head, or a set is missing or does not fit it.
    """
    margins = [
        (logits[:, TOXIC] - logits[:, NOT_TOXIC])[examples.classes == NOT_TOXIC]
        for examples, logits in _logits(CALM, scorer, root, temperature)
    ]
    numbers = [0.0, 0.0]
    numbers[TOXIC] -= min(adjustment.headroom(margins, ALARMS), RAISED)
    return _for_head(scorer.heads[TOXICITY.name], TOXICITY.labels, numbers)


def _logits(
    benchmarks: Sequence[Benchmark], scorer: Scorer, root: Path, temperature: float
) -> Iterator[tuple[Examples, Floats]]:
    """Yield each set with its head's logits at this temperature, (rows, labels), in the order of its labels.

    Raises TrainingError: a set is missing, or there is no head with exactly its labels.
    """
    for benchmark in benchmarks:
        examples = load_fitting(benchmark, scorer.heads, root)
        head = scorer.heads[examples.head]
        if set(examples.labels) != set(head.labels):
            raise TrainingError(f"data set {benchmark.data} does not have the labels of head {head.name}")
        columns = [head.labels.index(label) for label in examples.labels]
        scores = scorer(examples.texts, examples.max_tokens, head.name)[:, columns]
        logits = calibration.to_logits(scores, multi_label=head.multi_label)
        yield examples, logits * (head.temperature / temperature)


def _for_head(head: Head, labels: Sequence[str], numbers: Sequence[float]) -> list[float]:
    """Return one number for each label, in the head's order."""
    return [numbers[labels.index(label)] for label in head.labels]


ADJUSTING: Mapping[str, Callable[[Scorer, Path, float], list[float]]] = {
    EMOTION.name: adjust_emotions,
    TOXICITY.name: adjust_toxicity,
}
"""What fits the `logit_adjustment` of the heads that have one, at a temperature."""


def tune_head(
    scorer: Scorer, examples: Examples, fitted: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the entries for the table of the head that these examples are for.

    `fitted` holds the entries of other heads, one of which may be this head's gate.

    Raises:
        TrainingError: the examples lack labels of a multi-label head.
    """
    head = scorer.heads[examples.head]
    if examples.marked is not None:
        tokens = scorer.tokens(examples.texts, examples.max_tokens, head.name)
        may = _asked(scorer, examples, head, fitted or {})
        figures = span_thresholds.f1_by_cut(examples.texts, tokens, examples.marked, may)
        threshold, relative = span_thresholds.CUTS[span_thresholds.best(figures)]
        return {"threshold": threshold, "relative": relative}
    gold = examples.table if examples.table is not None else examples.classes
    if gold is None:
        raise ValueError("these examples have no gold labels")
    scores = scorer(examples.texts, examples.max_tokens, head.name)
    columns = [head.labels.index(label) for label in examples.labels]
    logits = calibration.to_logits(scores, multi_label=gold.ndim == 2) * head.temperature
    temperature = round(calibration.fit_temperature(logits[:, columns], gold), 4)
    if gold.ndim == 1:
        return {"temperature": temperature}
    if len(columns) != len(head.labels):
        raise TrainingError(f"head {head.name}: thresholds need rows for each of its labels")
    chosen = np.zeros(len(columns))
    chosen[columns] = thresholds.tune(
        calibration.to_scores(logits[:, columns], temperature, multi_label=True), gold.astype(np.bool_)
    )
    return {"temperature": temperature, "thresholds": [float(value) for value in chosen]}


def _asked(scorer: Scorer, examples: Examples, head: Head, fitted: Mapping[str, Mapping[str, Any]]) -> Bools:
    """Return in which texts a token head may mark words, (texts,), by what is fitted for its gate's head."""
    if head.gate is None:
        return np.ones(len(examples), dtype=np.bool_)
    judge = scorer.heads[head.gate.head]
    scores = scorer(examples.texts, examples.max_tokens, judge.name)
    logits = calibration.to_logits(scores, multi_label=judge.multi_label) * judge.temperature
    entry = fitted.get(judge.name, {})
    temperature = entry.get("temperature", judge.temperature)
    scores = calibration.to_scores(logits, temperature, multi_label=judge.multi_label)
    judge = replace(
        judge,
        thresholds=tuple(entry.get("thresholds", judge.thresholds)),
        logit_adjustment=tuple(entry.get("logit_adjustment", judge.logit_adjustment)),
    )
    return asked_by(head.gate, judge, scores)
