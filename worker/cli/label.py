"""`moodstream label`, with what it shows on standard error: a bar on a terminal, else only bad rows."""

import contextlib
import os
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import click

from worker import __version__
from worker.errors import ExitCode, OutputError, printable
from worker.expressions import column_of, parse_list
from worker.settings.groups import Settings, SinkSettings
from worker.settings.load import load_settings

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from worker.heads import Head
    from worker.model.pack import Pack
    from worker.stream.labeller import Labeller, RowResult
    from worker.tables.keep import Keep
    from worker.tables.open import Format, Input
    from worker.tables.output import Convert, Done, Output
    from worker.tables.write import Kind


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


_FORMATS = ["auto", "jsonl", "txt", "csv", "parquet"]


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True))
@click.option(
    "--text-field", metavar="FIELD", help="Field or column with the text; dots go deeper.  [default: text]"
)
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
    metavar="NAMES",
    help="Columns of the input to write beside the labels: names with commas between, each with or without "
    "`as OTHER`.  [default: all]",
)
@click.option("--no-keep", is_flag=True, help="Write no columns of the input.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run into the same --output.")
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
    output: str | None,
    model_path: str | None,
    format_: "Format",
    encoding: str,
    include_text: bool,
    keep: tuple[str, ...],
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
      echo "so good!" | moodstream label -

    Blank lines are passed over. A row that cannot be labelled gives a line on standard error with its place
    and the reason, and exit code 1 at the end. The file of --output is there when all is labelled; until then
    its rows are in NAME.partial, from which --resume continues.
    """
    stdout_open = _fill_closed_streams()
    flags = {"model.path": model_path, "source.text_field": text_field}
    settings = load_settings({name: value for name, value in flags.items() if value is not None}).settings
    from worker.tables.open import check_inputs, open_input
    from worker.tables.output import Output

    if output == "-":
        output = None
    _check_options(inputs, output, keep=keep, no_keep=no_keep, resume=resume)
    names = check_inputs(inputs, format_, encoding)
    if output is None and not stdout_open:
        raise OutputError("standard output is closed: name a file with --output")
    _check_output(output, names)
    kind = "jsonl" if output is None else _output_kind(output)
    packs: list[Pack] = []
    labeller = _labeller(settings, packs, include_text=include_text)
    options = _Options(settings, names, format_, encoding, keep, no_keep=no_keep, include_text=include_text)
    run = _planned(options, labeller.heads, kind)
    target = Output(output, settings=_identity(options, packs), convert=run.convert, resume=resume, say=_say)
    with target, Progress() as progress:
        progress.failed = target.done.failed
        for name in names[len(target.done.ends) :]:
            opened = open_input(
                name, labeller.text_field, format_, encoding, run.read, whole=_needs_rows(settings)
            )
            with contextlib.closing(opened) as source:
                _label_one(source, labeller, target, progress, run.read)
    for missing in sorted(run.keep.missing) if run.keep is not None else ():
        _say(f"--keep: no row has a field '{printable(missing)}'")
    return ExitCode.OK if skip_bad or not progress.failed else ExitCode.INTERNAL


def _needs_rows(settings: Settings) -> bool:
    """Whether the text is more than one column of a table."""
    text = parse_list(settings.source.text_field)
    return len(text) > 1 or text[0].plain is None


def _say(line: str) -> None:
    click.echo(f"moodstream: {line}", err=True)


def _check_options(
    inputs: Sequence[str], output: str | None, *, keep: Sequence[str], no_keep: bool, resume: bool
) -> None:
    if keep and no_keep:
        raise click.UsageError("--keep and --no-keep exclude each other")
    if resume and output is None:
        raise click.UsageError("--resume needs the --output of the interrupted run")
    if resume and any(name == "-" or Path(name).is_fifo() for name in inputs):
        raise click.UsageError("--resume needs files as inputs: a pipe cannot be read again")


class _Options(NamedTuple):
    """What the command was given."""

    settings: Settings
    names: list[str]
    format: "Format"
    encoding: str
    keep: tuple[str, ...]
    no_keep: bool
    include_text: bool


class _Planned(NamedTuple):
    """What is kept, what of it is read while labelling, and what writes the final file."""

    keep: "Keep | None"
    read: "Keep | None"
    """None also where the final file takes the columns from the inputs themselves."""
    convert: "Convert"


def _planned(options: _Options, heads: "Sequence[Sequence[Head]]", output: str) -> _Planned:
    from worker.tables.keep import Keep, wanted_columns
    from worker.tables.open import format_of
    from worker.tables.write import FileWriter, ParquetToParquet

    ours, optional = _own_columns(heads)
    keep = None
    if not options.no_keep:
        keep = Keep(
            ours,
            text_field=column_of(options.settings.source.text_field),
            include_text=options.include_text,
            wanted=wanted_columns(options.keep) if options.keep else None,
        )
    read = {options.format if options.format != "auto" else format_of(name) for name in options.names}
    if keep is None or output != "parquet" or read != {"parquet"}:
        return _Planned(keep, keep, FileWriter(ours, optional))
    writer = ParquetToParquet(ours, optional, [Path(name) for name in options.names], keep)
    writer.kept()  # columns that cannot be kept are told before the work begins
    before = _stats(options.names)

    def convert(partial: Path, ready: Path, form: Any, done: "Done") -> None:
        if _stats(options.names) != before:
            raise OutputError("the inputs have changed while they were being labelled")
        writer(partial, ready, form, done)

    return _Planned(keep, None, convert)


def _output_kind(output: str) -> str:
    from worker.tables.output import is_stream, output_format

    return "jsonl" if is_stream(Path(output)) else output_format(output).kind


def _own_columns(heads: "Sequence[Sequence[Head]]") -> "tuple[dict[str, Kind], list[str]]":
    """Return our columns with what each holds, and which of them not every row has."""
    from worker.messages.schema import output_schema

    schemas = [output_schema(each) for each in heads]
    found: dict[str, Kind] = {}
    for schema in schemas:
        for name, entry in schema["properties"].items():
            found.setdefault(name, _kind(entry))
    always = set.intersection(*(set(schema["required"]) for schema in schemas))
    return found, [name for name in found if name not in always]


def _kind(entry: dict[str, Any]) -> "Kind":
    """Return what a property of a JSON schema holds."""
    options = [entry, *entry.get("anyOf", ())]
    match next((each["type"] for each in options if each.get("type") not in {None, "null"}), "string"):
        case "array":
            return "ranges" if entry.get("items", {}).get("type") == "array" else "strings"
        case "boolean" | "integer" | "number" as kind:
            return kind
    return "string"


def _stats(names: Sequence[str]) -> list[list[Any]]:
    """Return what tells whether an input is still the same file with the same content."""
    found = []
    for name in names:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        try:
            status = Path(name).stat()
            found.append([shown, status.st_size, status.st_mtime_ns])
        except OSError:
            found.append([shown])
    return found


def _identity(options: _Options, packs: "Sequence[Pack]") -> dict[str, Any]:
    """Return all that must be the same when a run is resumed."""
    return {
        "input": _stats(options.names),
        "model": [f"{pack.name}@{pack.revision}" for pack in packs],
        "--text-field": options.settings.source.text_field,
        "--format": options.format,
        "--encoding": options.encoding,
        "--include-text": options.include_text,
        "--keep": [*options.keep, options.no_keep],
        "group of settings [language]": options.settings.language.model_dump(mode="json"),
        "version of moodstream": __version__,
    }


def _labeller(settings: Settings, packs: "list[Pack]", *, include_text: bool) -> "Labeller":
    from worker.stream.labeller import Labeller
    from worker.stream.router import PackRouter

    def warn(line: str) -> None:
        click.echo(f"moodstream: {line}", err=True)

    # What a topic's consumers want (sink.*) is not asked for in a file.
    settings = settings.model_copy(update={"sink": SinkSettings()})
    router = PackRouter.load(settings, topic="", include_text=include_text, on_pack=packs.append, warn=warn)
    return Labeller(router, text_field=settings.source.text_field)


def _label_one(
    source: "Input", labeller: "Labeller", target: "Output", progress: Progress, keep: "Keep | None"
) -> None:
    progress.begin(source.name, source.size)
    for results in labeller.label(source, start=target.done.rows):
        lines = [_with_kept(source.name, result, keep) for result in results if result.line is not None]
        failed = len(results) - len(lines)
        rows = results[-1].row.number + 1
        target.write(b"".join(lines), rows=rows, labelled=len(lines), failed=failed)
        for result in results:
            if result.line is None:
                progress.bad(source.name, result.place, result.reason)
        progress.advance(source.position, labelled=len(lines))
    target.end_input()


def _with_kept(name: str, result: "RowResult", keep: "Keep | None") -> bytes:
    """Return the line of a row with the kept columns in front of ours."""
    from worker.tables.rows import TEXT, Row, from_json, to_json

    row, line = result.row, result.line or b""
    if keep is None or not isinstance(row, Row) or row.content_type == TEXT:
        return line
    kept = row.kept
    if kept is None:
        try:
            body = from_json(row.value)
        except ValueError:  # a bare text
            body = None
        kept = keep.fields(name, body) if isinstance(body, dict) else {}
    return to_json(kept)[:-1] + b"," + line[1:] if kept else line


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


def _check_output(output: str | None, inputs: list[str]) -> None:
    """Refuse to write into a file that is being read, by whatever names the two go."""
    try:
        written = os.fstat(sys.stdout.fileno()) if output is None else Path(output).stat()
    except (OSError, ValueError):  # not there yet, or standard output is no descriptor
        return
    for name in inputs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            read = os.fstat(sys.stdin.fileno()) if name == "-" else Path(name).stat()
            if stat.S_ISREG(read.st_mode) and os.path.samestat(read, written):
                shown_output = "standard output" if output is None else f"--output {printable(output)}"
                raise click.UsageError(f"{shown_output} is an input too")
