"""Labelled texts for measuring: the dev splits of the known data sets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worker.errors import TrainingError
from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.lab.data import sets as data
from worker.lab.data.labels import NEGATIVE, POSITIVE, head_named
from worker.lab.evaluate.metrics import Bools, Ints

LONGEST = 512


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts and gold labels for one head.

    `labels` are the gold labels' names. A model may have more (a binary set has no neutral): then only the
    scores of these are compared. Exactly one of `classes` (rows,), `table` (rows, labels) and `marked` (the
    positions of each text's marked characters) is set.
    """

    name: str
    title: str
    head: str
    texts: Sequence[str]
    labels: tuple[str, ...]
    classes: Ints | None = None
    table: Bools | None = None
    marked: Sequence[frozenset[int]] | None = None
    max_tokens: int = LONGEST
    tuned: bool = False
    """Our thresholds and temperatures are fitted on this split, so it is judged by cross-fitted ones."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def problem_type(self) -> str:
        """The kind of head that these examples fit."""
        return SINGLE if self.classes is not None else MULTI if self.table is not None else TOKENS

    def misfit(self, head: Head) -> str:
        """Return why this head cannot be measured on these labels, or an empty string."""
        if head.problem_type != self.problem_type:
            return f"{self.problem_type} cannot judge its head {head.name}, which is {head.problem_type}"
        missing = [label for label in self.labels if label not in head.labels]
        return f"its head {head.name} has no label {missing[0]!r}" if missing else ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A dev split of a known data set."""

    data: str
    title: str
    max_tokens: int = LONGEST
    rows: int = 0
    tuned: bool = False


BENCHMARKS = (
    Benchmark("sst2", "SST-2 dev"),
    Benchmark("tweeteval_sentiment", "TweetEval sentiment val", tuned=True),
    Benchmark("airline_tweets", "airline tweets (every fifth of train)"),
    Benchmark("goemotions", "GoEmotions dev", tuned=True),
    Benchmark("offensive", "TweetEval offensive val", tuned=True),
    Benchmark("toxic_spans", "SemEval-2021 toxic spans trial", tuned=True),
    Benchmark("six_emotions", "six-emotion set val", tuned=True),
    Benchmark("imdb", "IMDB val (first 1,000 reviews)", rows=1_000),
    *(
        Benchmark(f"reviews_{name}", f"{name} reviews (every tenth of train)")
        for name in ("airline", "books", "dvd", "electronics", "kitchen")
    ),
)


def load(benchmark: Benchmark, root: Path, rows: int = 0) -> Examples:
    """Read a benchmark, or only its first `rows` rows if that is above 0. Raises TrainingError."""
    split = data.load(benchmark.data, "dev", root, min(filter(None, (rows, benchmark.rows)), default=0))
    head, name, title = head_named(split.head), benchmark.data, benchmark.title
    labels, classes, table, marked = head.labels, None, None, None
    if head.by_token:
        marked = [frozenset(row) for row in split.labels]
    elif head.multi_label:
        table = gold_table(split.labels, len(labels))
    else:
        classes = np.array([row[0] for row in split.labels], dtype=np.int64)
        if split.binary:
            labels = (labels[NEGATIVE], labels[POSITIVE])
            classes = (classes == POSITIVE).astype(np.int64)
    return Examples(
        name,
        title,
        split.head,
        split.texts,
        labels,
        classes,
        table,
        marked,
        benchmark.max_tokens,
        benchmark.tuned,
    )


def load_fitting(benchmark: Benchmark, heads: Mapping[str, Head], root: Path, rows: int = 0) -> Examples:
    """Read a benchmark for one of these heads. Raises TrainingError, also if it fits none of them."""
    head = heads.get(data.SOURCES[benchmark.data].head)
    if head is None:
        raise TrainingError(f"data set {benchmark.data} judges no head of {', '.join(heads)}")
    examples = load(benchmark, root, rows)
    if reason := examples.misfit(head):
        raise TrainingError(f"data set {benchmark.data} does not fit the model: {reason}")
    return examples


def gold_table(rows: Sequence[Iterable[int]], labels: int) -> Bools:
    """Return rows of label indices as a table (rows, labels)."""
    table = np.zeros((len(rows), labels), dtype=np.bool_)
    for number, row in enumerate(rows):
        table[number, list(row)] = True
    return table


def fitting(
    heads: Mapping[str, Head],
    root: Path,
    names: Sequence[str] = (),
    rows: int = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Examples]:
    """Read every benchmark that fits one of these heads.

    Named ones must exist and fit. Without names, missing or unsuitable ones are skipped and reported.

    Raises:
        TrainingError: an unknown name, or a named set that is missing or fits no head.
    """
    known = {benchmark.data: benchmark for benchmark in BENCHMARKS}
    for name in names:
        if name not in known:
            raise TrainingError(f"unknown data set {name!r}: there is {', '.join(known)}")
    found = []
    for benchmark in [known[name] for name in names] or BENCHMARKS:
        try:
            found.append(load_fitting(benchmark, heads, root, rows))
        except TrainingError as error:
            if names:
                raise
            if data.SOURCES[benchmark.data].head in heads:
                say(f"skipped: {error}")
    return found
