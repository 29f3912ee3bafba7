"""`moodstream label`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli.flags import FilesCommand, settings_flags
from worker.cli.progress import Progress
from worker.errors import ExitCode, OutputError
from worker.settings.groups import Settings
from worker.settings.load import DEFAULT_ORIGIN, Loaded

if TYPE_CHECKING:
    from worker.stream.files import FileOptions
    from worker.tables.open import Format

_SHORT = {
    "text_field": "source.text_field",
    "preset": "source.preset",
    "filter_": "source.filter",
    "keep": "sink.keep",
    "model_path": "model.path",
}
"""Settings that have a short option here."""


@click.command(cls=FilesCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True))
@click.option(
    "--text-field",
    metavar="EXPRESSION",
    help="Field or column with the text; dots go deeper. source.text_field.  [default: text]",
)
@click.option("--preset", metavar="NAME", help="Shape of the rows, such as mastodon. source.preset.")
@click.option("--filter", "filter_", metavar="EXPRESSION", help="True for the rows to label. source.filter.")
@click.option(
    "--output",
    "-o",
    type=click.Path(allow_dash=True),
    help="File to write, in the format of its name: .jsonl .csv .tsv .parquet, also .jsonl.gz and .csv.gz; a "
    "folder of parts if it ends with /.  [default: standard output, JSON lines]",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="LIST",
    help="Fields of the input to write beside the labels, with commas between: each EXPRESSION or EXPRESSION "
    "as NAME. sink.keep.  [default: all columns]",
)
@click.option("--no-keep", is_flag=True, help="Write no fields of the input.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run into the same --output.")
@click.option(
    "--model",
    "model_path",
    metavar="PACK,…",
    help="Model pack, or several. model.path.  [default: the bundled one]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "jsonl", "txt", "csv", "parquet"]),
    default="auto",
    show_default=True,
    help="Format of the inputs; auto goes by their names.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    default="utf-8",
    show_default=True,
    help="Encoding of the inputs, such as utf-16 or windows-1252.",
)
@click.option(
    "--include-text/--no-include-text",
    default=None,
    help="Write the text beside its labels.  [default: sink.include_text if it is set, else yes]",
)
@click.option("--skip-bad", is_flag=True, help="Exit with 0 though rows could not be labelled.")
@settings_flags(hidden=True, short=_SHORT)
def label(
    *,
    loaded: Loaded,
    inputs: tuple[str, ...],
    output: str | None,
    format_: "Format",
    encoding: str,
    include_text: bool | None,
    no_keep: bool,
    resume: bool,
    skip_bad: bool,
) -> int:
    """Label the texts in files, or from standard input (-), without a broker.

    Writes the columns of the input, and beside them the fields that `moodstream run` writes to its output
    topic, with the input's name as source_topic and the row, counted from 0, as source_offset. A column with
    the name of one of these fields is called input_NAME.

    \b
    .jsonl .ndjson .json   a JSON object a line; the text lies at --text-field
    .csv .tsv .tab         a line of column names, then the rows; --text-field is the column
    .parquet               --text-field is the column (pip install 'moodstream[parquet]')
    .txt                   a text a line
    -                      lines: those that begin with { are JSON, others are the text itself

    All but Parquet may be gzipped. A folder stands for its files, as Spark writes them.

    \b
      moodstream label reviews.csv -o labelled.csv
      moodstream label posts.jsonl --text-field body.text --keep id,author.name -o labelled.parquet
      moodstream label toots.jsonl --preset mastodon --filter "language == 'en'"
      echo "so good!" | moodstream label -

    Takes --config and every flag of `moodstream run`: the groups source, model, batch and language count, and
    of sink keep, columns, offsets and include_text.

    Blank lines are passed over. A row that the filter drops is left out, and counted in the last line on
    standard error. A row that cannot be labelled gives a line there with its place and the reason, and exit
    code 1 at the end. The file of --output is there when all is labelled; until then its rows are in
    NAME.partial, from which --resume continues.
    """
    stdout_open = _fill_closed_streams()
    from worker.stream.files import FileOptions
    from worker.tables.open import check_inputs
    from worker.tables.output import refuse_inputs

    if output == "-":
        output = None
    names = check_inputs(inputs, format_, encoding)
    _check_resume(names, output, resume=resume)
    if output is None and not stdout_open:
        raise OutputError("standard output is closed: name a file with --output")
    refuse_inputs(output, names)
    if loaded.origins["sink.keep"].startswith("flag "):
        _check_keep(loaded.settings, no_keep=no_keep)
    options = FileOptions(
        _without_keep(loaded.settings) if no_keep else loaded.settings,
        names,
        output,
        format_,
        encoding,
        keep_all=not no_keep,
        include_text=_includes_text(loaded) if include_text is None else include_text,
        resume=resume,
        skip_bad=skip_bad,
    )
    failed = _run(options)
    return ExitCode.OK if skip_bad or not failed else ExitCode.INTERNAL


def _run(options: "FileOptions") -> int:
    """Label the files, and return how many rows could not be labelled."""
    from worker.stream.files import FileRun

    run = FileRun(options, _say)
    with run.output() as target, Progress() as progress:
        progress.failed, progress.filtered = target.done.failed, target.done.filtered
        run.label(target, progress)
    return progress.failed


def _includes_text(loaded: Loaded) -> bool:
    """Whether the text is written where no option says so: unlike in a topic, unless a setting forbids it."""
    given = loaded.origins["sink.include_text"] != DEFAULT_ORIGIN
    return loaded.settings.sink.include_text if given else True


def _without_keep(settings: Settings) -> Settings:
    return settings.model_copy(update={"sink": settings.sink.model_copy(update={"keep": []})})


def _say(line: str) -> None:
    click.echo(f"moodstream: {line}", err=True)


def _check_resume(inputs: Sequence[str], output: str | None, *, resume: bool) -> None:
    if resume and output is None:
        raise click.UsageError("--resume needs the --output of the interrupted run")
    if resume and any(name == "-" or Path(name).is_fifo() for name in inputs):
        raise click.UsageError("--resume needs files as inputs: a pipe cannot be read again")


def _check_keep(settings: Settings, *, no_keep: bool) -> None:
    """Refuse a `--keep` without a field, or beside `--no-keep`; what a file keeps is overruled by that."""
    if no_keep:
        raise click.UsageError("--keep and --no-keep exclude each other")
    if not settings.sink.keep:
        raise click.UsageError("--keep names no field; write it as in --keep product,'author.name as author'")


def _fill_closed_streams() -> bool:
    """Open the null device for standard streams that are closed; return whether standard output was open.

    Otherwise the next file that is opened takes the number of the closed one, and is written to in its place.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is not None:
        return True
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for the rest of the process
    return False
