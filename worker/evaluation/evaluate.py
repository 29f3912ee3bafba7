"""How good a checkpoint or a pack is on the dev splits, with 95 % bootstrap intervals.

`python -m worker.evaluation.evaluate FOLDER [--data DIR]` prints the figures of one.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from worker.evaluation.metrics import Bools, Figure, Floats, multi_label, single_label, with_intervals
from worker.evaluation.score import Scorer, checkpoint_scorer, pack_scorer
from worker.evaluation.thresholds import cross_fitted
from worker.training import data
from worker.training.errors import TrainingError
from worker.training.labels import EMOTION, NEGATIVE, POSITIVE, HeadSpec, head_named


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A dev split to score."""

    data: str
    title: str
    max_tokens: int = 512
    rows: int = 0


BENCHMARKS = (
    Benchmark("sst2", "SST-2 dev"),
    Benchmark("tweeteval_sentiment", "TweetEval sentiment val"),
    Benchmark("goemotions", "GoEmotions dev"),
    Benchmark("imdb", "IMDB val (first 1,000 reviews, 256 tokens)", max_tokens=256, rows=1_000),
)


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one split."""

    data: str
    title: str
    rows: int
    figures: dict[str, Figure]


def gold_table(split: data.Labelled, labels: int) -> Bools:
    """Return the gold labels of a multi-label split, (rows, labels)."""
    table = np.zeros((len(split), labels), dtype=np.bool_)
    for number, row in enumerate(split.labels):
        table[number, list(row)] = True
    return table


def benchmarks_for(heads: Iterable[HeadSpec]) -> tuple[Benchmark, ...]:
    """Return the benchmarks that a model with these heads can be scored on."""
    names = {head.name for head in heads}
    return tuple(benchmark for benchmark in BENCHMARKS if data.SOURCES[benchmark.data].head in names)


def evaluate(scorer: Scorer, root: Path, benchmarks: tuple[Benchmark, ...] = BENCHMARKS) -> list[Result]:
    """Score every benchmark. Raises TrainingError where a data set is missing.

    A binary set is judged between negative and positive alone, as it was trained. Many-label decisions come
    from thresholds fitted crosswise on the split, which is what a user of tuned thresholds can expect.
    """
    results = []
    for benchmark in benchmarks:
        split = data.load(benchmark.data, "dev", root, benchmark.rows)
        scores = scorer(split.texts, benchmark.max_tokens, split.head)
        results.append(Result(benchmark.data, benchmark.title, len(split), _figures(split, scores)))
    return results


def _figures(split: data.Labelled, scores: Floats) -> dict[str, Figure]:
    """Return one split's figures."""
    head = head_named(split.head)
    if head.multi_label:
        table = gold_table(split, len(head.labels))
        decisions = cross_fitted(scores, table)
        return with_intervals(lambda weights: multi_label(table, decisions, weights), len(split))
    gold = np.array([row[0] for row in split.labels], dtype=np.int64)
    if split.binary:
        gold = (gold == POSITIVE).astype(np.int64)
        chosen = (scores[:, POSITIVE] > scores[:, NEGATIVE]).astype(np.int64)
    else:
        chosen = scores.argmax(axis=1).astype(np.int64)
    classes = 2 if split.binary else len(head.labels)
    return with_intervals(lambda weights: single_label(gold, chosen, classes, weights), len(split))


def dev_emotions(scorer: Scorer, root: Path) -> tuple[Floats, Bools]:
    """Return scores and gold of the whole GoEmotions dev split: what the final thresholds are tuned on."""
    split = data.load("goemotions", "dev", root)
    return scorer(split.texts, 512, EMOTION.name), gold_table(split, len(EMOTION.labels))


def table(results: list[Result]) -> str:
    """Return the figures as lines of text, in per cent."""
    lines = []
    for result in results:
        for name, figure in result.figures.items():
            value, low, high = (100 * x for x in (figure.value, figure.low, figure.high))
            lines.append(
                f"{result.title:<44} {result.rows:>5}  {name:<12} {value:6.2f}  ({low:.1f} to {high:.1f})"
            )
    return "\n".join(lines)


def as_json(results: list[Result]) -> list[dict[str, object]]:
    """Return the figures as JSON values."""
    return [asdict(result) for result in results]


def scorer_of(folder: Path) -> Scorer:
    """Return a pack's scorer where the folder holds a graph, else a checkpoint's."""
    return pack_scorer(folder) if (folder / "model.onnx").is_file() else checkpoint_scorer(folder)


def main(arguments: list[str]) -> int:
    """Print the figures of the checkpoint or pack in a folder: `FOLDER [--data DIR] [--json]`."""
    import argparse  # noqa: PLC0415 - only the command needs it

    parser = argparse.ArgumentParser(prog="python -m worker.evaluation.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        results = evaluate(scorer_of(options.folder), data.data_root(options.data))
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write((json.dumps(as_json(results), indent=2) if options.json else table(results)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
