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
    help="A pack or checkpoint to learn from; several are averaged.",
)
@click.option(
    "--student",
    required=True,
    metavar="FOLDER|every-other|BASE",
    help="A checkpoint or pack, every other layer of the first teacher with a checkpoint, or base weights.",
)
@click.option(
    "--layers", metavar="N|LIST", help="Keep so many layers of the student, or these (from 1): 3, or 1,3,6."
)
@click.option(
    "--texts", multiple=True, type=PATH, metavar="FILE", help="Texts: lines, CSV, JSON lines, Parquet."
)
@learning.text_field
@click.option(
    "--labels", type=PATH, metavar="RECIPE", help="Recipe whose tasks' rows and labels are learnt from."
)
@learning.data
@click.option("--out", required=True, type=PATH, help="Folder of the new pack.")
@learning.work
@learning.name
@click.option("--minutes", type=click.FloatRange(min=0), help="Shorten the schedule to end after so long.")
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Passes over --texts.",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=3), default=128, show_default=True, help="Cut --texts to so many."
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Soften scores of --texts by it.",
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
    help="Weight of matching how the teacher's tokens relate (MiniLMv2); it runs in every step then.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Highest learning rate of the encoder."
)
@click.option("--seed", type=int, help="Draws rows and their order.  [default: the recipe's, or 1]")
@click.option("--threads", type=click.IntRange(min=0), help="Threads of torch; 0 leaves it to torch.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="So many processes share the batches; on a busy machine better than threads.",
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
    """Teach a small model what larger ones say of many texts, and make a pack of it.

    The teachers' answers are worked out once and kept in the work folder. Labelled rows come from the data
    sets of a recipe, unlabelled texts from files. docs/how-to/smaller-models.md tells how it works.

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
