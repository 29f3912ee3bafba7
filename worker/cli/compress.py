"""`moodstream compress`."""

from typing import Any

import click

from worker.cli import learning
from worker.cli.learning import PATH
from worker.cli.model import MODEL

_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("model", type=MODEL, metavar="CHECKPOINT|PACK")
@click.argument("out", type=PATH)
@click.option(
    "--layers",
    multiple=True,
    metavar="N|LIST",
    help="Layers to keep: a number or a list (from 1): 3, or 1,3,6.",
)
@click.option(
    "--heads", multiple=True, type=_COUNT, metavar="N", help="Attention heads to keep in each layer."
)
@click.option(
    "--hidden", multiple=True, type=_COUNT, metavar="N", help="Feed-forward columns to keep in each layer."
)
@click.option(
    "--vocabulary",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Keep only the tokens that occur in these texts.",
)
@click.option(
    "--recover",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Train the cut model on the original's answers to these texts.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Time limit for training one model with --recover.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=2e-4,
    show_default=True,
    help="Peak learning rate with --recover.",
)
@learning.quantised
@click.option(
    "--texts", multiple=True, type=PATH, metavar="FILE", help="Texts for measuring importance and the result."
)
@learning.text_field
@learning.data
@click.option(
    "--curve", type=PATH, metavar="FILE", help="Plot quality against speed and size: PNG, SVG or JSON."
)
@learning.work
@learning.name
@click.option("--seed", type=int, default=1, show_default=True, help="Seed for the texts and their order.")
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Processor threads; 0 leaves the choice to torch.",
)
@learning.resume
def compress(layers: tuple[str, ...], **given: Any) -> None:
    """Make a smaller pack from a model: fewer layers, attention heads, feed-forward columns or tokens.

    Options with several values make a model for each combination; all are timed side by side with the
    original, and the last is written to OUT. docs/how-to/smaller-models.md explains what each cut does.

    \b
      moodstream compress ./checkpoint small --layers 3 --recover posts.txt --minutes 20
      moodstream compress ./checkpoint small --heads 8 --hidden 1024 --texts posts.txt --curve c.png
      moodstream compress ./pack small --vocabulary posts.txt
    """
    from worker.lab import need
    from worker.lab.options import CompressOptions, read_layers

    options = CompressOptions(layers=tuple(map(read_layers, layers)), **given)
    need(options.extra, "training" if options.extra == "train" else "compress")
    from worker.lab.compress import run

    pack = run(options, lambda line: click.echo(line, err=True))
    click.echo(f"{pack.name}@{pack.revision} is in {options.out}")
