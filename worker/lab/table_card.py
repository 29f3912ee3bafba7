"""The card of a pack that was trained on tables of one's own. The prose stands in `own_card.md`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.lab.card import Facts, figures_table, head_lines, teachers_text
from worker.lab.data.table import TableRows
from worker.lab.evaluate.result import Result
from worker.lab.recipe import Recipe
from worker.lab.validation import ENOUGH

_FEW = 200
"""Held-out rows below which the card says in words how little figures of so few tell."""


def write_own_card(
    recipe: Recipe,
    facts: Facts,
    tables: Mapping[str, TableRows],
    fp32: Sequence[Result],
    int8: Sequence[Result],
) -> str:
    """Return the card as Markdown. `fp32` and `int8` hold the same splits' figures in the same order."""
    template = Path(__file__).with_name("own_card.md").read_text(encoding="utf-8")
    judged = min(len(table.held.texts) for table in tables.values())
    return template.format(
        name=recipe.name,
        base=Path(recipe.base).name,
        seed=recipe.run.seed,
        heads=head_lines(facts),
        text=f"`{recipe.text}`, version {recipe.text_version}",
        reads=facts.reads,
        longest=max(task.max_tokens for task in recipe.tasks),
        figures=figures_table(list(fp32), list(int8)),
        fitted=_fitted(judged),
        labels=_labels(int8),
        rows=_rows(tables),
        teachers=teachers_text(recipe),
        drawn=_drawn(recipe),
        few=_few(judged),
        parameters=facts.parameters / 1e6,
        layers=facts.layers,
        dim=facts.dim,
        torch=facts.torch,
        steps=facts.steps,
        planned=facts.planned,
        minutes=facts.minutes,
        threads=facts.threads,
        precision=facts.precision,
    )


def _fitted(judged: int) -> str:
    if judged < ENOUGH:
        return (
            f"With fewer than {ENOUGH} held-out rows no temperature and no thresholds were fitted: scores "
            "say which label is likelier, not how often they are right."
        )
    return (
        "The temperature (and thresholds, where a text takes several labels) in the pack are fitted on the "
        "held-out rows. Figures that such a fit would flatter come from fits on other rows than they judge "
        "(`ece_crossfit`, cross-fitted thresholds)."
    )


def _few(judged: int) -> str:
    if judged < _FEW:
        return f"{judged} rows judge this model: each is {100 / judged:.1f} points of accuracy."
    return f"{judged:,} rows judge this model; the intervals say how far their choice could move a figure."


def _drawn(recipe: Recipe) -> str:
    if all(task.dev for task in recipe.tasks):
        return "came from a file of their own"
    return "were drawn from the same table as the rows to learn from"


def _labels(results: Sequence[Result]) -> str:
    lines = ["| rows of | label | rows | F1 |", "| --- | --- | ---: | ---: |"]
    for result in results:
        for name, label in result.labels.items():
            value, low, high = (100 * x for x in (label.f1.value, label.f1.low, label.f1.high))
            lines.append(
                f"| {result.title} | {_cell(name)} | {label.rows:,} | {value:.1f} ({low:.1f} to {high:.1f}) |"
            )
    return "\n".join(lines)


def _rows(tables: Mapping[str, TableRows]) -> str:
    lines = ["| table | label | learnt from | held out |", "| --- | --- | ---: | ---: |"]
    for title, table in tables.items():
        learnt = Counter(label for row in table.labels for label in row)
        held = Counter(label for row in table.held.labels for label in row)
        lines.append(f"| {_cell(title)} | all | {len(table.labels):,} | {len(table.held.labels):,} |")
        lines.extend(
            f"| | {_cell(name)} | {learnt[number]:,} | {held[number]:,} |"
            for number, name in enumerate(table.head.labels)
        )
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a label as it may stand in a table."""
    return text.replace("|", "\\|").replace("\n", " ")
