"""The card of a distilled model: who taught it, on which texts, and what it reaches."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from worker.distill.texts import Part
from worker.evaluation.result import Result, shown

if TYPE_CHECKING:
    from worker.distill.run import Distilled


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
        f"| {part.name} | {len(part.texts):,} | the teachers{' and labels' if part.head else ''} |"
        for part in parts
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
