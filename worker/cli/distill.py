"""`moodstream distill`."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    required=True,
    type=_PATH,
    metavar="FOLDER",
    help="A pack or checkpoint to learn from; several are averaged.",
)
@click.option(
    "--student",
    required=True,
    metavar="FOLDER|every-other|BASE",
    help="A checkpoint, every other layer of the first teacher that is a checkpoint, or base weights.",
)
@click.option(
    "--layers", metavar="N|LIST", help="Keep so many layers of the student, or these (from 1): 3, or 1,3,6."
)
@click.option(
    "--texts", multiple=True, type=_PATH, metavar="FILE", help="Texts: lines, CSV, JSON lines, Parquet."
)
@click.option("--text-field", default="text", show_default=True, help="Column or field with the text.")
@click.option(
    "--labels", type=_PATH, metavar="RECIPE", help="Recipe whose tasks' rows and labels are learnt from."
)
@click.option("--data", metavar="DIR", help="Folder of the known data sets.  [default: MOODSTREAM_DATA]")
@click.option("--out", required=True, type=_PATH, help="Folder of the new pack.")
@click.option("--work", type=_PATH, help="Folder for state, answers, checkpoint.  [default: OUT-work]")
@click.option("--name", help="Name of the pack.  [default: that of its folder]")
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
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Highest learning rate of the trunk."
)
@click.option("--seed", type=int, help="Draws rows and their order.  [default: the recipe's, or 1]")
@click.option("--threads", type=click.IntRange(min=0), help="Threads of torch; 0 leaves it to torch.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="So many processes share the batches; on a busy machine better than threads.",
)
@click.option(
    "--int8", "quantised", is_flag=True, help="Train with the rounding of the int8 form in the loop."
)
@click.option(
    "--measure/--no-measure",
    default=True,
    show_default=True,
    help="Measure the pack on the data sets' dev splits.",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stands.")
def distill(
    *,
    teachers: tuple[Path, ...],
    student: str,
    layers: str | None,
    texts: tuple[Path, ...],
    text_field: str,
    labels: Path | None,
    data: str | None,
    out: Path,
    work: Path | None,
    name: str | None,
    minutes: float | None,
    epochs: float,
    max_tokens: int,
    temperature: float,
    first_weight: float,
    relations_weight: float,
    rate: float | None,
    seed: int | None,
    threads: int | None,
    processes: int | None,
    quantised: bool,
    measure: bool,
    resume: bool,
) -> None:
    """Teach a small model what larger ones say of many texts, and make a pack of it.

    The teachers' answers are worked out once and kept in the work folder. Labelled rows come from the data
    sets of a recipe, unlabelled texts from files. docs/distill.md tells how it works.

    \b
      moodstream distill --teacher ./big/checkpoint --student every-other --texts posts.txt --out small
      moodstream distill --teacher A --teacher B --student ./s --labels recipe.toml --out pack
    """
    from worker.distill.order import Order, carry_out  # noqa: PLC0415 - loads the training room

    pack = carry_out(
        Order(
            teachers=teachers,
            student=student,
            layers=layers,
            texts=texts,
            text_field=text_field,
            labels=labels,
            data=data,
            out=out,
            work=work,
            name=name,
            minutes=minutes,
            epochs=epochs,
            max_tokens=max_tokens,
            temperature=temperature,
            first_weight=first_weight,
            relations_weight=relations_weight,
            rate=rate,
            seed=seed,
            threads=threads,
            processes=processes,
            quantised=quantised,
            measure=measure,
            resume=resume,
        ),
        lambda line: click.echo(line, err=True),
    )
    click.echo(f"{pack.name}@{pack.revision} is in {out}")
