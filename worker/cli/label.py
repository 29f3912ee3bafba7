"""`moodstream label`, with what it shows on standard error: a bar on a terminal, else only bad rows."""

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import click

from worker.errors import ExitCode, OutputError, printable
from worker.settings.groups import Settings
from worker.settings.load import load_settings

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from worker.stream.labeller import Labeller
    from worker.tables.open import Format, Input


class Progress:
    """Counts rows and shows how far they are. Use it in a `with` block.

    On a terminal one bar stands for one input; it is gone at the end, and a summary line stays.
    """

    def __init__(self) -> None:
        self.labelled = 0
        self.failed = 0
        self._started = time.monotonic()
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
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
            self._bar = self._bars.add_task(printable(name), total=size, rows=self._rows())

    def advance(self, position: int, *, labelled: int) -> None:
        """So many bytes of the input are read, and so many rows more are labelled."""
        self.labelled += labelled
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=position, rows=self._rows())

    def bad(self, name: str, place: int, reason: str) -> None:
        """Count a row that could not be labelled, and say why."""
        self.failed += 1
        line = printable(f"{name}:{place}: {reason}")
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


_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Output:
    """Where the labelled rows go: standard output, or a file. Use it in a `with` block.

    A file is written under another name beside it and renamed at the end, so that what stood there before is
    there until the new one is complete. What an interrupted run has labelled stays under that other name. A
    pipe or a device is written to as it is.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        self._part: Path | None = None
        self._written = False

    def __enter__(self) -> Self:
        if self._path is None:
            self._stream = sys.stdout.buffer
            return self
        try:
            self._stream = self._opened(self._path.resolve())
        except OSError as error:
            raise click.UsageError(f"--output {printable(str(self._path))}: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._path is None or self._stream is None:
            return
        if self._part is None:
            with contextlib.suppress(OSError):  # what was written has been flushed
                self._stream.close()
        elif kind is None:
            self._finish(self._stream, self._part)
        else:
            with contextlib.suppress(OSError):
                self._stream.close()
            if self._written:
                click.echo(
                    f"moodstream: what was labelled so far is in {printable(str(self._part))}", err=True
                )
            else:
                self._part.unlink(missing_ok=True)

    def write(self, lines: bytes) -> None:
        """Write whole lines.

        Raises:
            OutputError: they cannot be written.
            BrokenPipeError: nobody reads standard output any more.
        """
        if self._stream is None:
            raise RuntimeError("outside of the with block")
        try:
            self._stream.write(lines)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._path is None:
                # Python flushes standard output once more on its way out, and would complain again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._written = self._written and error.errno not in _NO_SPACE  # give back what was taken
            raise OutputError(f"{self._name()}: {error.strerror}") from None
        self._written = self._written or bool(lines)

    def _name(self) -> str:
        return "standard output" if self._path is None else printable(str(self._path))

    def _opened(self, path: Path) -> BinaryIO:
        """Open the file, or one beside it where it is or becomes a file on disk."""
        mode = path.stat().st_mode if path.exists() else None
        if mode is not None and not stat.S_ISREG(mode):
            return path.open("wb")
        if mode is not None and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        part = path.with_name(f"{path.name[:40]}.{secrets.token_hex(4)}.part")
        stream = part.open("xb")
        self._part = part
        if mode is not None:
            os.fchmod(stream.fileno(), stat.S_IMODE(mode))
        return stream

    def _finish(self, stream: BinaryIO, part: Path) -> None:
        try:
            os.fsync(stream.fileno())
            stream.close()
            part.replace((self._path or part).resolve())
        except OSError as error:
            raise OutputError(
                f"{self._name()}: {error.strerror}; what was labelled is in {printable(str(part))}"
            ) from None


_FORMATS = ["auto", "jsonl", "txt", "csv", "parquet"]


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True))
@click.option(
    "--text-field", metavar="FIELD", help="Field or column with the text; dots go deeper.  [default: text]"
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write.  [default: standard output]"
)
@click.option(
    "--model", "model_path", metavar="PACK,…", help="Model pack, or several.  [default: the bundled one]"
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
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
    encoding: str,
    include_text: bool,
    skip_bad: bool,
) -> int:
    """Label the texts in files, or from standard input (-), without a broker.

    Writes a JSON object a line: the fields that `moodstream run` writes to its output topic, with the
    input's name as source_topic and the row, counted from 0, as source_offset.

    \b
    .jsonl .ndjson .json   a JSON object a line; the text lies at --text-field
    .csv .tsv .tab         a line of column names, then the rows; --text-field is the column
    .parquet               --text-field is the column (pip install 'moodstream[parquet]')
    .txt                   a text a line
    -                      lines: those that begin with { are JSON, others are the text itself

    All but Parquet may be gzipped. A folder stands for its files, as Spark writes them.

    \b
      moodstream label posts.jsonl --text-field body.text -o labelled.jsonl
      echo "so good!" | moodstream label -

    Blank lines are passed over. A row that cannot be labelled gives a line on standard error with its place
    and the reason, and exit code 1 at the end. The file of --output is there when all is labelled.
    """
    stdout_open = _fill_closed_streams()
    flags = {"model.path": model_path, "source.text_field": text_field}
    settings = load_settings({name: value for name, value in flags.items() if value is not None}).settings
    from worker.tables.open import check_inputs, open_input

    names = check_inputs(inputs, format_, encoding)
    if output is None and not stdout_open:
        raise OutputError("standard output is closed: name a file with --output")
    _check_output(output, names)
    labeller = _labeller(settings, include_text=include_text)
    with Output(output) as target, Progress() as progress:
        for name in names:
            with contextlib.closing(open_input(name, labeller.text_field, format_, encoding)) as source:
                _label_one(source, labeller, target, progress)
    return ExitCode.OK if skip_bad or not progress.failed else ExitCode.INTERNAL


def _labeller(settings: Settings, *, include_text: bool) -> "Labeller":
    from worker.stream.labeller import Labeller
    from worker.stream.router import PackRouter

    def warn(line: str) -> None:
        click.echo(f"moodstream: {line}", err=True)

    router = PackRouter.load(settings, topic="", include_text=include_text, warn=warn)
    return Labeller(router, text_field=settings.source.text_field)


def _label_one(source: "Input", labeller: "Labeller", target: Output, progress: Progress) -> None:
    progress.begin(source.name, source.size)
    for results in labeller.label(source):
        lines = [result.line for result in results if result.line is not None]
        target.write(b"".join(lines))
        for result in results:
            if result.line is None:
                progress.bad(source.name, result.place, result.reason)
        progress.advance(source.position, labelled=len(lines))


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


def _check_output(output: Path | None, inputs: list[str]) -> None:
    """Refuse to write into a file that is being read, by whatever names the two go."""
    try:
        written = os.fstat(sys.stdout.fileno()) if output is None else output.stat()
    except (OSError, ValueError):  # not there yet, or standard output is no descriptor
        return
    for name in inputs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            read = os.fstat(sys.stdin.fileno()) if name == "-" else Path(name).stat()
            if stat.S_ISREG(read.st_mode) and os.path.samestat(read, written):
                shown_output = "standard output" if output is None else f"--output {printable(str(output))}"
                raise click.UsageError(f"{shown_output} is an input too")
