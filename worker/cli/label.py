"""`moodstream label`.

What `moodstream label` shows on standard error while it works: a bar on a terminal, else only bad rows.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import click

from worker.errors import ExitCode
from worker.settings.groups import Settings
from worker.settings.load import load_settings

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from worker.stream.labeller import Labeller
    from worker.tables.open import Format


class Progress:
    """Counts rows and shows how far they are. Use it in a `with` block.

    On a terminal one bar stands for one input; it is gone at the end, and a summary line stays.
    """

    def __init__(self) -> None:
        self.labelled = 0
        self.failed = 0
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._bars: RichProgress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        if self._terminal:
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        if kind is None and (self._terminal or self.failed):
            click.echo(self.summary(), err=True)

    def begin(self, name: str, size: int | None) -> None:
        """Show a new input; `size` is its bytes, None where nobody knows."""
        if self._bars is not None:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._bar = self._bars.add_task(name, total=size, rows=self._rows())

    def advance(self, position: int, *, labelled: int) -> None:
        """So many bytes of the input are read, and so many rows more are labelled."""
        self.labelled += labelled
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=position, rows=self._rows())

    def bad(self, name: str, place: int, reason: str) -> None:
        """Count a row that could not be labelled, and say why."""
        self.failed += 1
        line = f"{name}:{place}: {reason}"
        if self._bars is not None:
            # Above the bar. No markup: a file may be called `[red].csv`.
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(line, err=True)

    def summary(self) -> str:
        """One line with the counts, the time and the rate."""
        seconds = time.monotonic() - self._started
        failed = f", {self.failed} could not be labelled" if self.failed else ""
        return f"{self.labelled} labelled{failed}, {seconds:.1f} s, {self._rate(seconds):.0f} a second"

    def _rows(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{self.labelled} labelled, {self._rate(seconds):.0f}/s"

    def _rate(self, seconds: float) -> float:
        return self.labelled / seconds if seconds > 0 else 0.0


def _bars() -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rows]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


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
    from worker.tables.open import check_inputs

    check_inputs(inputs, format_)
    _check_output(output, inputs)
    labeller = _labeller(settings, include_text=include_text)
    with _writer(output) as stream, Progress() as progress:
        for name in inputs:
            _label_one(name, format_, labeller, stream, progress)
    return ExitCode.OK if skip_bad or not progress.failed else ExitCode.INTERNAL


def _labeller(settings: Settings, *, include_text: bool) -> "Labeller":
    from worker.stream.labeller import Labeller
    from worker.stream.router import PackRouter

    router = PackRouter.load(settings, topic="", include_text=include_text)
    return Labeller(router, text_field=settings.source.text_field)


def _label_one(
    name: str,
    format_: "Format",
    labeller: "Labeller",
    stream: BinaryIO,
    progress: Progress,
) -> None:
    from worker.tables.open import open_input

    with contextlib.closing(open_input(name, labeller.text_field, format_)) as source:
        progress.begin(source.name, source.size)
        for results in labeller.label(source):
            lines = [result.line for result in results if result.line is not None]
            stream.write(b"".join(lines))
            stream.flush()
            for result in results:
                if result.line is None:
                    progress.bad(source.name, result.place, result.reason)
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
