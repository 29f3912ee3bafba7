"""`moodstream label`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from worker import exitcodes
from worker.cli.progress import Progress
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from worker.files import Format, Labeller

_FORMATS = ["auto", "jsonl", "txt", "csv", "parquet"]


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True))
@click.option(
    "--text-field", metavar="FIELD", help="Field or column with the text; dots go deeper.  [default: text]"
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write.  [default: standard output]"
)
@click.option("--model", "model_path", metavar="FOLDER", help="Model pack.  [default: the bundled one]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    default="auto",
    show_default=True,
    help="Format of the inputs; auto goes by their names.",
)
@click.option(
    "--include-text/--no-include-text",
    default=True,
    show_default=True,
    help="Write the text beside its labels.",
)
@click.option("--skip-bad", is_flag=True, help="Exit with 0 though rows could not be labelled.")
def label(
    *,
    inputs: tuple[str, ...],
    text_field: str | None,
    output: Path | None,
    model_path: str | None,
    format_: "Format",
    include_text: bool,
    skip_bad: bool,
) -> int:
    """Label the texts in files, or from standard input (-), without a broker.

    Writes a JSON object a line: the fields that `moodstream run` writes to its output topic, with the
    input's name as source_topic and the row, counted from 0, as source_offset.

    \b
    .jsonl .ndjson .json   a JSON object a line; the text lies at --text-field
    .csv .tsv              a header and rows; --text-field is the column
    .parquet               --text-field is the column (pip install 'moodstream[parquet]')
    .txt                   a text a line
    -                      lines: those that begin with { are JSON, others are the text itself

    \b
      moodstream label posts.jsonl --text-field body.text -o labelled.jsonl
      echo "so good!" | moodstream label -

    Blank lines are passed over. A row that cannot be labelled gives a line on standard error with its place
    and the reason, and exit code 1 at the end.
    """
    flags = {"model.path": model_path, "source.text_field": text_field}
    settings = load_settings({name: value for name, value in flags.items() if value is not None}).settings
    from worker.files import check_inputs  # noqa: PLC0415 - loads onnxruntime

    check_inputs(inputs, format_)
    _check_output(output, inputs)
    labeller = _labeller(settings, include_text=include_text)
    with _writer(output) as stream, Progress() as progress:
        for name in inputs:
            _label_one(name, format_, labeller, stream, progress)
    return exitcodes.OK if skip_bad or not progress.failed else exitcodes.INTERNAL


def _labeller(settings: Settings, *, include_text: bool) -> "Labeller":
    from worker.desks import Desks  # noqa: PLC0415 - loads onnxruntime
    from worker.files import Labeller  # noqa: PLC0415 - see above

    desks = Desks.load(settings, topic="", include_text=include_text)
    return Labeller(desks, text_field=settings.source.text_field)


def _label_one(
    name: str,
    format_: "Format",
    labeller: "Labeller",
    stream: BinaryIO,
    progress: Progress,
) -> None:
    from worker.files import open_input  # noqa: PLC0415 - loads onnxruntime

    with contextlib.closing(open_input(name, labeller.text_field, format_)) as source:
        progress.begin(source.name, source.size)
        for answers in labeller.label(source):
            lines = [answer.line for answer in answers if answer.line is not None]
            stream.write(b"".join(lines))
            stream.flush()
            for answer in answers:
                if answer.line is None:
                    progress.bad(source.name, answer.place, answer.reason)
            progress.advance(source.position, labelled=len(lines))


def _check_output(output: Path | None, inputs: tuple[str, ...]) -> None:
    """Opening the output empties it: not when it is an input."""
    if output is not None and output.exists():
        for name in inputs:
            if name != "-" and output.samefile(name):
                raise click.UsageError(f"--output {output} is an input too")


@contextlib.contextmanager
def _writer(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        stream = output.open("wb")
    except OSError as error:
        raise click.UsageError(f"--output {output}: {error.strerror}") from None
    with stream:
        yield stream
