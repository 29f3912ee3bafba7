"""`moodstream distill`."""

from typing import Any

import click

from worker.cli import learning
from worker.cli.learning import PATH
from worker.cli.model import MODEL


@click.command()
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    required=True,
    type=MODEL,
    metavar="FOLDER",
    help="Pack or checkpoint to learn from; several are averaged.",
)
@click.option(
    "--student",
    required=True,
    metavar="FOLDER|every-other|BASE",
    help="Checkpoint, pack or base weights; every-other: layers of the first teacher that is a checkpoint.",
)
@click.option(
    "--layers",
    metavar="N|LIST",
    help="Layers of the student to keep: a number or a list (from 1): 3, or 1,3,6.",
)
@click.option(
    "--texts",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Texts to learn from: lines, CSV, JSON lines, Parquet.",
)
@learning.text_field
@click.option("--labels", type=PATH, metavar="RECIPE", help="Recipe with labelled data sets to learn from.")
@learning.data
@click.option("--out", required=True, type=PATH, help="Folder of the new pack.")
@learning.work
@learning.name
@click.option("--minutes", type=click.FloatRange(min=0), help="Shorten the run to this time.")
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Passes over --texts.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=3),
    default=128,
    show_default=True,
    help="Cut --texts to this number of tokens.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Temperature that softens the scores on --texts.",
)
@click.option(
    "--first",
    "first_weight",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Weight of matching the teacher's last hidden state; 0 leaves it out.",
)
@click.option(
    "--relations",
    "relations_weight",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Weight of matching the teacher's token relations (MiniLMv2); runs the teacher in every step.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate of the encoder."
)
@click.option("--seed", type=int, help="Seed for the rows and their order.  [default: the recipe's, or 1]")
@click.option(
    "--threads", type=click.IntRange(min=0), help="Processor threads; 0 leaves the choice to torch."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes that share the batches; better than threads on a busy machine.",
)
@learning.quantised
@click.option(
    "--measure/--no-measure",
    default=True,
    show_default=True,
    help="Measure the pack on the data sets' dev splits.",
)
@learning.resume
def distill(**given: Any) -> None:
    """Train a small model on larger models' answers to many texts, and make a pack from it.

    The teachers' answers are computed once and kept in the work folder. Labelled rows come from the data sets
    of a recipe, unlabelled texts from files. docs/how-to/smaller-models.md explains how it works.

    \b
      moodstream distill --teacher ./big/checkpoint --student every-other --texts posts.txt --out small
      moodstream distill --teacher A --teacher B --student ./s --labels recipe.toml --out pack
    """
    from worker.lab import need
    from worker.lab.options import DistillOptions

    options = DistillOptions(**given)
    need("train", "training")
    from worker.lab.distill import run

    pack = run(options, lambda line: click.echo(line, err=True))
    click.echo(f"{pack.name}@{pack.revision} is in {options.out}")
