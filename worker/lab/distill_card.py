"""The card of a distilled model: who taught it, on which texts, and what it reaches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from worker.lab.build import behaviour
from worker.lab.card import Facts, hard_table, write_card
from worker.lab.checkpoint import specs
from worker.lab.evaluate.result import Result, shown
from worker.lab.recipe import Recipe
from worker.lab.texts import Part
from worker.model.classifier import Classifier

if TYPE_CHECKING:
    from worker.lab.distill_run import Distilled


def card(
    name: str,
    found: "Distilled",
    teachers: Mapping[str, str],
    parts: Sequence[Part],
    figures: Sequence[tuple[str, Sequence[Result]]],
) -> str:
    """Return MODEL_CARD.md. `teachers` holds each one's digest by title, `figures` the results by form."""
    sizes = found.student.sizes
    rows = "\n".join(
        f"| {part.name} | {len(part.texts):,} | {' and '.join(_learnt_from(part))} |" for part in parts
    )
    taught = "\n".join(f"- {title} ({identity})" for title, identity in teachers.items())
    return f"""# {name}

A DistilBERT of {sizes.n_layers} layers of {sizes.dim} ({sizes.n_heads} attention heads, feed-forward \
{sizes.hidden_dim}, {found.student.parameters:,} parameters), which learnt from larger models what they say \
of the texts below (Hinton et al. 2015, arXiv:1503.02531). Heads: {", ".join(found.student.heads)}. What its \
teachers got wrong, it learnt too; read their cards.

Teachers, with the digest of their files:

{taught}

| texts | rows | learnt from |
| --- | ---: | --- |
{rows}

{found.steps:,} of {found.planned:,} planned steps in {found.minutes:.1f} minutes, {found.precision}.
{_table(figures)}"""


def _learnt_from(part: Part) -> list[str]:
    own = [f"`{Path(folder).parent.name}` ({part.own_head})" for folder in part.own_teachers]
    return ["the teachers", *own, *(["labels"] if part.head else [])]


def card_of_recipe(
    recipe: Recipe,
    found: "Distilled",
    teachers: Mapping[str, str],
    parts: Sequence[Part],
    figures: Mapping[str, list[Result]],
    *,
    pack: Path,
) -> str:
    """Return the MODEL_CARD.md of a student that learnt a recipe's tasks: data, licences, limits and all.

    `figures` are those of `fp32` and `int8`; `pack` is asked for its behaviour. Raises TrainingError.
    """
    student = found.student
    facts = Facts(
        heads=tuple(specs(student.heads)),
        rows={part.name: len(part.texts) for part in parts},
        steps=found.steps,
        planned=found.planned,
        minutes=found.minutes,
        precision=found.precision,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__).partition("+")[0],
        parameters=student.parameters,
        layers=student.sizes.n_layers,
        dim=student.sizes.dim,
        reads=student.sizes.max_position_embeddings,
        general=tuple(f"`{title}` ({identity})" for title, identity in teachers.items()),
    )
    hard = hard_table(Classifier.load(pack).classify)
    return write_card(recipe, facts, figures["fp32"], figures["int8"], behaviour=behaviour(pack), hard=hard)


def _table(figures: Sequence[tuple[str, Sequence[Result]]]) -> str:
    if not figures:
        return "\nNot measured: the data sets were not at hand.\n"
    forms = {form: {result.data: result for result in results} for form, results in figures}
    first = next(iter(forms.values()))
    lines = ["", "Dev splits, 95 % bootstrap intervals, shares in per cent (`moodstream evaluate`):", ""]
    lines += [f"| set | figure | {' | '.join(forms)} |", "| --- | --- |" + " --- |" * len(forms)]
    for data, result in first.items():
        for figure in result.figures:
            cells = " | ".join(shown(figure, forms[form][data].figures[figure]) for form in forms)
            lines.append(f"| {result.title} | {figure} | {cells} |")
    return "\n".join(lines) + "\n"
