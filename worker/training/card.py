"""The model card: what the pack is, what it was made of, how good it is, and where it fails.

The prose stands in `card.md` beside this file; here its figures and tables are filled in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from worker.evaluation.result import Result, shown
from worker.training.labels import HeadSpec
from worker.training.recipe import Recipe


class Licence(NamedTuple):
    """A data set, who made it, and what its source says of its use."""

    title: str
    source: str
    licence: str


LICENCES = {
    "sst2": Licence(
        "SST-2, movie-review phrases (as in GLUE)",
        "Socher and others 2013",
        "no explicit licence stated; research use",
    ),
    "tweeteval_sentiment": Licence(
        "TweetEval sentiment, tweets (train rebuilt from SemEval-2017 task 4A)",
        "Barbieri and others 2020; Rosenthal and others 2017",
        "no restrictions of its own; those of single tasks and of Twitter may apply; research use",
    ),
    "goemotions": Licence(
        "GoEmotions, Reddit comments",
        "Demszky and others 2020",
        "repository Apache-2.0; data CC BY 4.0 from memory, not read again at its source",
    ),
    "reviews": Licence(
        "Product reviews (books, dvd, electronics, kitchen) and airline reviews",
        "Blitzer and others 2007 (products); not stated (airline)",
        "none stated for the data; research use",
    ),
    "imdb": Licence(
        "Large Movie Review Dataset (IMDB)",
        "Maas and others 2011",
        "none stated; its authors ask to be cited",
    ),
}
"""As the README.txt of each data folder gives it."""

_HEADS = {
    "sentiment": "**sentiment**: negative, neutral or positive",
    "emotion": "**emotion**: the 28 GoEmotions labels, any number of them, a threshold each",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the run and the network have to say."""

    heads: tuple[HeadSpec, ...]
    rows: dict[str, int]
    steps: int
    planned: int
    minutes: float
    precision: str
    threads: int
    torch: str
    parameters: int
    layers: int
    dim: int
    reads: int
    """Tokens that the pack reads of a text."""


def write_card(recipe: Recipe, facts: Facts, fp32: list[Result], int8: list[Result]) -> str:
    """Return the card as Markdown. `fp32` and `int8` hold the same splits' figures in the same order."""
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return template.format(
        name=recipe.name,
        base=recipe.base,
        seed=recipe.run.seed,
        heads="\n".join(f"- {_HEADS[head.name]}" for head in facts.heads),
        longest=max(task.max_tokens for task in recipe.tasks),
        figures=figures_table(fp32, int8),
        sources=_sources(recipe, facts.rows),
        parameters=facts.parameters / 1e6,
        layers=facts.layers,
        dim=facts.dim,
        reads=facts.reads,
        steps=facts.steps,
        planned=facts.planned,
        minutes=facts.minutes,
        precision=facts.precision,
        threads=facts.threads,
        torch=facts.torch,
    )


def figures_table(fp32: list[Result], int8: list[Result]) -> str:
    """Return the figures as a Markdown table, a line each."""
    lines = ["| split | rows | figure | fp32 | int8 |", "| --- | ---: | --- | ---: | ---: |"]
    for wide, narrow in zip(fp32, int8, strict=True):
        for name, figure in wide.figures.items():
            if name not in narrow.figures:
                continue
            cells = " | ".join(shown(name, each) for each in (figure, narrow.figures[name]))
            title = name.replace("_", "-").replace("f1", "F1")
            lines.append(f"| {wide.title} | {wide.rows:,} | {title} | {cells} |")
    return "\n".join(lines)


def _sources(recipe: Recipe, rows: dict[str, int]) -> str:
    """Return the train splits with their licences as a Markdown table."""
    lines = [
        "| data set | rows | passes planned | source | licence as stated |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for task in recipe.tasks:
        entry = LICENCES[task.data]
        lines.append(
            f"| {entry.title} | {rows[task.data]:,} | {task.epochs:g} | {entry.source} | {entry.licence} |"
        )
    return "\n".join(lines)
