"""`moodstream compress`."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("model", type=_PATH, metavar="CHECKPOINT|PACK")
@click.argument("out", type=_PATH)
@click.option(
    "--layers", multiple=True, metavar="N|LIST", help="Keep so many layers, or these (from 1): 1,3,6."
)
@click.option(
    "--heads", multiple=True, type=_COUNT, metavar="N", help="Keep so many attention heads a layer."
)
@click.option(
    "--hidden", multiple=True, type=_COUNT, metavar="N", help="Keep so many feed-forward columns a layer."
)
@click.option(
    "--vocabulary", multiple=True, type=_PATH, metavar="FILE", help="Keep only the tokens of these texts."
)
@click.option(
    "--recover",
    multiple=True,
    type=_PATH,
    metavar="FILE",
    help="Then learn from the original on these texts.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Longest recovery of one model.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=2e-4,
    show_default=True,
    help="Highest learning rate of the recovery.",
)
@click.option(
    "--int8", "quantised", is_flag=True, help="Recover with the rounding of the int8 form in the loop."
)
@click.option(
    "--texts", multiple=True, type=_PATH, metavar="FILE", help="Texts to judge importance and to measure on."
)
@click.option("--text-field", default="text", show_default=True, help="Column or field with the text.")
@click.option("--data", metavar="DIR", help="Folder of the known data sets.  [default: MOODSTREAM_DATA]")
@click.option(
    "--curve", type=_PATH, metavar="FILE", help="Draw quality over speed and size: PNG, SVG or JSON."
)
@click.option("--work", type=_PATH, help="Folder for everything in between.  [default: OUT-work]")
@click.option("--name", help="Name of the pack.  [default: that of its folder]")
@click.option("--seed", type=int, default=1, show_default=True, help="Draws texts and their order.")
@click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="Threads of torch; 0 leaves it to torch."
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted recovery stands.")
def compress(
    *,
    model: Path,
    out: Path,
    layers: tuple[str, ...],
    heads: tuple[int, ...],
    hidden: tuple[int, ...],
    vocabulary: tuple[Path, ...],
    recover: tuple[Path, ...],
    minutes: float,
    rate: float,
    quantised: bool,
    texts: tuple[Path, ...],
    text_field: str,
    data: str | None,
    curve: Path | None,
    work: Path | None,
    name: str | None,
    seed: int,
    threads: int,
    resume: bool,
) -> None:
    """Make a smaller pack of a model: fewer layers, attention heads, feed-forward columns or words.

    Options with several values make a model of each combination; all are timed side by side with the
    original, and the last goes to OUT. docs/compress.md tells what each cut does.

    \b
      moodstream compress ./checkpoint small --layers 3 --recover posts.txt --minutes 20
      moodstream compress ./checkpoint small --heads 8 --hidden 1024 --texts posts.txt --curve c.png
      moodstream compress ./pack small --vocabulary posts.txt
    """
    from worker.compress.order import Order  # noqa: PLC0415 - loads the training room
    from worker.compress.start import carry_out, read_layers  # noqa: PLC0415 - likewise

    pack = carry_out(
        Order(
            model=model,
            out=out,
            layers=tuple(read_layers(each) for each in layers),
            heads=heads,
            hidden=hidden,
            vocabulary=vocabulary,
            recover=recover,
            texts=texts,
            text_field=text_field,
            minutes=minutes,
            rate=rate,
            quantised=quantised,
            data=data,
            curve=curve,
            work=work,
            name=name,
            seed=seed,
            threads=threads,
            resume=resume,
        ),
        lambda line: click.echo(line, err=True),
    )
    click.echo(f"{pack.name}@{pack.revision} is in {out}")
