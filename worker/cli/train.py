"""`moodstream train`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from worker.lab.recipe import Recipe

_PATH = click.Path(path_type=Path)


_WITH_A_TABLE = (
    click.option("--name", help="Name of the pack.  [default: the table's name]"),
    click.option(
        "--text-column",
        default="",
        metavar="COLUMN",
        help="Column with the text.  [default: guessed by name]",
    ),
    click.option(
        "--label-column",
        default="",
        metavar="COLUMN",
        help="Column with the label.  [default: guessed by name]",
    ),
    click.option(
        "--labels",
        type=click.Choice(["auto", "one", "several"]),
        default="auto",
        show_default=True,
        help="Labels per row; several are written as a;b, a|b or a list.",
    ),
    click.option("--head", default="", help="Name of the head.  [default: the label column's]"),
    click.option("--dev", type=_PATH, metavar="FILE", help="A second table to measure on."),
    click.option(
        "--held-out",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.2,
        show_default=True,
        help="Without --dev: share of the rows to measure on.",
    ),
    click.option(
        "--rows",
        type=click.IntRange(min=1),
        help="The most rows to use, drawn at random.  [default: 500000]",
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        default="utf-8",
        show_default=True,
        help="Encoding of FILE, such as utf-16 or windows-1252.",
    ),
    click.option("--skip-bad", is_flag=True, help="Skip rows that cannot be read, instead of stopping."),
    click.option(
        "--base",
        metavar="FOLDER",
        default="",
        help="Checkpoint or pack to start from.  [default: the compact base weights]",
    ),
    click.option(
        "--frozen",
        is_flag=True,
        help="Train only the new head: the encoder and the other heads of --base do not change.",
    ),
    click.option(
        "--epochs",
        type=click.FloatRange(min=0, min_open=True),
        help="Passes over the rows.  [default: 3 to 40, depending on their number]",
    ),
    click.option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="Shorten the run to this time.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(8, 512),
        default=128,
        show_default=True,
        help="Cut texts to this number of tokens.",
    ),
    click.option(
        "--seed",
        type=int,
        default=1,
        show_default=True,
        help="Seed for the rows, their order and the initial weights.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=0),
        default=0,
        help="Processor threads.  [default: torch's choice]",
    ),
)
"""Options that describe one table, as a recipe can describe several."""


def _with_a_table(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_WITH_A_TABLE):
        command = option(command)
    return command


@click.command()
@click.argument("recipe", required=False, metavar="[RECIPE]", type=_PATH)
@click.option(
    "--data",
    metavar="FILE|DIR",
    type=_PATH,
    help="Your labelled table; with a RECIPE, the folder of the known data sets.",
)
@click.option(
    "--out", "-o", type=_PATH, metavar="DIR", help="Folder of the pack.  [default: build/train/NAME/pack]"
)
@click.option(
    "--work",
    type=_PATH,
    metavar="DIR",
    help="Folder for state, checkpoint, report and plot.  [default: build/train/NAME]",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@_with_a_table
@click.pass_context
def train(
    ctx: click.Context,
    /,
    *,
    recipe: Path | None,
    data: Path | None,
    out: Path | None,
    work: Path | None,
    resume: bool,
    **flags: Any,
) -> None:
    """Train a model on labelled text, measure it, and make a pack from it.

    With --data FILE: on a table of your own (CSV, JSON lines or Parquet, also gzipped) with a text column and
    a label column. Part of the rows is held out for measuring. With a RECIPE: as described in that file, on
    several tasks at once; see docs/reference/recipes.md.

    \b
      moodstream train --data news.csv --label-column topic --out ./news-pack
      moodstream train --data mails.jsonl --text-column body --label-column team --minutes 20
      moodstream train my-recipe.toml --data ./data --resume

    A run may be killed at any time: --resume continues from the last state. Needs 'moodstream[train]'.
    """
    if recipe is None:
        if data is None:
            raise click.UsageError("give a RECIPE, or a table of your own with --data FILE")
        chosen, root = _of_table(data, **flags), None
    else:
        _refuse_table_options(ctx)
        from worker.lab.recipe import load_recipe

        chosen = load_recipe(recipe)
        root = _root(data, chosen)
    _train(chosen, root, out, work, resume=resume)


def _refuse_table_options(ctx: click.Context) -> None:
    """Refuse a recipe together with options for a table, which would silently be ignored."""
    table = {parameter.name for parameter in ctx.command.params} - {"recipe", "data", "out", "work", "resume"}
    for name in table:
        if name and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} goes with --data FILE; a RECIPE has its own entry for it")


def _of_table(file: Path, *, name: str | None, **flags: Any) -> "Recipe":
    """Return the recipe of one table. A wrong file, column or option is reported before torch is loaded."""
    from worker.lab.data.table_rows import TableOptions, open_table

    opened = open_table(
        TableOptions(file, flags["text_column"], flags["label_column"], encoding=flags["encoding"])
    )
    from worker.lab.recipe import recipe_of_table

    flags |= {"text_column": opened.text, "label_column": opened.label, "dev": str(flags["dev"] or "")}
    given = {option: value for option, value in flags.items() if value is not None}
    return recipe_of_table(file, name or file.name.partition(".")[0], **given)


def _root(data: Path | None, recipe: "Recipe") -> Path | None:
    """Return the folder of the known data sets; a recipe with only tables does not need it."""
    from worker.lab.data.sets import data_root

    if data is None and all(task.file for task in recipe.tasks):
        return None
    return data_root(str(data) if data else None, recipe.data)


def _train(recipe: "Recipe", root: Path | None, out: Path | None, work: Path | None, *, resume: bool) -> None:
    """Train. torch is loaded only now, so that a wrong recipe or folder is reported without it."""
    from worker.lab import need

    need("train", "training")
    from worker.lab.build import Places, make_pack

    work = work or Path("build/train") / recipe.name
    make_pack(recipe, Places(data=root, work=work, pack=out or work / "pack"), resume=resume)
