"""A run of `moodstream label`: inputs, the worker's pipeline, and an output that can be resumed."""

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from worker import __version__
from worker.errors import InputError, OutputError, TextMissing, printable
from worker.expressions import parse_keep
from worker.heads import Head
from worker.messages.columns import Layout
from worker.messages.fields import Fields
from worker.messages.keep import read_keep
from worker.messages.places import Places
from worker.messages.scalars import names_of
from worker.messages.schema import output_columns
from worker.messages.watch import BODIES, Unmatched
from worker.model.pack import Pack
from worker.settings.groups import Settings
from worker.stream.labeller import WINDOW_ROWS, Labeller, RowResult
from worker.stream.router import PackRouter
from worker.tables.keep import KeepAll, KeepSome
from worker.tables.open import Format, Input, format_of, open_input
from worker.tables.output import Convert, Done, FileFormat, Output, is_stream, output_format
from worker.tables.rows import Row, from_json, listed
from worker.tables.write import FileWriter, ParquetToParquet
from worker.types import ColumnKind

_COLUMN = re.compile(r"\w[\w.-]{0,39}")


class FileOptions(NamedTuple):
    """What to label, and how.

    Fields:
        settings: groups `source`, `model`, `batch` and `language`; of `sink` `keep`, `columns`, `offsets`.
        inputs: files as `check_inputs` returns them.
        output: the file to write; None for standard output.
        format, encoding: of the inputs.
        keep_all: all columns of the inputs are kept where `sink.keep` names none.
        include_text: write the text beside its labels.
        resume: go on where the last run stopped.
        skip_bad: rows that cannot be labelled are expected.
    """

    settings: Settings
    inputs: Sequence[str]
    output: str | None = None
    format: Format = "auto"
    encoding: str = "utf-8"
    keep_all: bool = True
    include_text: bool = True
    resume: bool = False
    skip_bad: bool = False


class Watcher(Protocol):
    """Is told how far a run is."""

    def begin(self, name: str, size: int | None) -> None:
        """An input of so many bytes begins; None where nobody knows."""

    def advance(self, position: int, *, labelled: int, filtered: int) -> None:
        """So many bytes of the input are read, and so many rows more are labelled or left out."""

    def bad(self, name: str, place: int, reason: str) -> None:
        """A row could not be labelled."""


class FileRun:
    """Labels files into one output.

    Args:
        options: what to label.
        say: called with a line that the user should see.

    Raises:
        InputError: a column to keep is missing from a Parquet file.
        LanguageError, PackError: see `PackRouter.load`.
        OutputError: the name of the output does not say its format.
        SettingsError: `sink.keep` takes the name of one of our columns, or an extra is missing.
    """

    def __init__(self, options: FileOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._columns: tuple[str, ...] = ()
        self._packs: list[Pack] = []
        source, sink = options.settings.source, options.settings.sink
        copies = _copies(options, Fields.of(source, sink.keep).places)
        in_messages = [] if copies else sink.keep
        settings = options.settings.model_copy(
            update={"sink": sink.model_copy(update={"keep": in_messages})},
        )
        self._fields = Fields.of(source, in_messages, on_unmatched=self._say_unmatched)
        router = PackRouter.load(
            settings, topic="", include_text=options.include_text, on_pack=self._packs.append, warn=say
        )
        ours = _own_columns(router.heads, Layout.of(sink), include_text=options.include_text)
        keep = None if sink.keep or not options.keep_all else self._keep_all(self._fields.places, ours)
        some = KeepSome({column: name for name, column in _plain_keeps(sink.keep).items()})
        self._convert = self._writer(ours, some if copies and sink.keep else keep, copies=copies)
        self._labeller = Labeller(router, self._fields, keep=None if copies else keep)

    def _keep_all(self, places: Places, ours: "_OwnColumns") -> KeepAll:
        without_text = not self._options.include_text
        if without_text and places.holds_text is None:
            self._say(
                "the text may be in any column of the input, so without the text none of them is kept; "
                "choose with --keep"
            )
        return KeepAll(
            ours.names,
            repeated=places.only,
            hidden=places.holds_text if without_text else (),
            without_text=without_text,
        )

    def _writer(self, ours: "_OwnColumns", keep: KeepAll | KeepSome | None, *, copies: bool) -> Convert:
        if copies and keep is not None:
            inputs = [Path(name) for name in self._options.inputs]
            writer = ParquetToParquet(ours.written, ours.optional, inputs, keep)
            writer.kept()  # columns that cannot be kept are told before the work begins
            return self._unless_changed(writer)
        names = [column.name for column in read_keep(self._options.settings.sink.keep)]
        known = (lambda: keep.names) if isinstance(keep, KeepAll) else lambda: names
        return FileWriter(ours.written, ours.optional, known)

    def _unless_changed(self, writer: Convert) -> Convert:
        """Refuse to copy columns from inputs that are others by now."""
        before = _stats(self._options.inputs)

        def convert(partial: Path, ready: Path, form: FileFormat, done: Done) -> None:
            if _stats(self._options.inputs) != before:
                raise OutputError("the inputs have changed while they were being labelled")
            writer(partial, ready, form, done)

        return convert

    def output(self) -> Output:
        """Return the output, which is to be used in a `with` block."""
        options = self._options
        return Output(
            options.output,
            settings=_identity(options, self._packs),
            convert=self._convert,
            resume=options.resume,
            say=self._say,
        )

    def label(self, target: Output, watcher: Watcher) -> None:
        """Label all inputs that `target` does not have yet.

        Raises:
            InputError: an input breaks off, lacks a column, or none of its first rows has a text.
            OutputError: the output cannot be written.
        """
        options = self._options
        self._check_columns(options.inputs[len(target.done.ends) + 1 :])
        for name in options.inputs[len(target.done.ends) :]:
            wanted, keep = self._labeller.wanted, self._labeller.keep
            with contextlib.closing(
                open_input(name, wanted, options.format, options.encoding, keep)
            ) as source:
                self._columns = self._columns or source.columns
                self._label_one(source, target, watcher)
        self._fields.end()

    def _check_columns(self, names: Sequence[str]) -> None:
        """Read the columns of later inputs, before the work on earlier ones is done. Pipes are left alone.

        Raises:
            InputError: one of them has no column with a text, or lacks one that a setting names.
        """
        options = self._options
        for name in names:
            if Path(name).is_file():
                open_input(name, self._labeller.wanted, options.format, options.encoding).close()

    def _label_one(self, source: Input, target: Output, watcher: Watcher) -> None:
        watcher.begin(source.name, source.size)
        for results in self._labeller.label(source, start=target.done.rows):
            if not (target.done.labelled or target.done.failed or target.done.filtered):
                self._check_first(source, results)
            lines = [result.line for result in results if result.line is not None]
            filtered = sum(result.left_out for result in results)
            target.write(
                b"".join(lines),
                rows=results[-1].row.number + 1,
                labelled=len(lines),
                failed=len(results) - len(lines) - filtered,
                filtered=filtered,
            )
            for result in results:
                if result.message:
                    watcher.bad(source.name, result.place, result.message)
            watcher.advance(source.position, labelled=len(lines), filtered=filtered)
        target.end_input()

    def _check_first(self, source: Input, results: Sequence[RowResult]) -> None:
        """Look at the first rows of all for signs that the input is not what it is read as.

        Raises:
            InputError: the first rows of a file all lack the text, which must lie elsewhere; names their
                fields. Not for somebody who expects rows that cannot be labelled.
        """
        columns = _table_in_text(results[0], self._labeller.wanted.text)
        if columns:
            self._say(
                f"{printable(source.name)}: is read as lines of text, but begins like a table with the "
                f"columns {listed(columns)}: --format csv reads it as one"
            )
        missing = all(result.reason == TextMissing.reason for result in results)
        if not missing or source.size is None or self._options.skip_bad:
            return
        seen: dict[str, None] = {}
        for row in (result.row for result in results):
            if isinstance(row, Row):
                seen |= dict.fromkeys(names_of(from_json(row.value)))
        settings = self._options.settings.source
        where = f"at `{settings.text_field}`"
        if settings.preset is not None and "text_field" not in settings.model_fields_set:
            where = f"where the preset {settings.preset} has it"
        most = WINDOW_ROWS if source.position >= source.size else len(results)
        none = _none_of(len(results), most)
        raise InputError(
            f"{printable(source.name)}: {none} has a text {printable(where)}; there are: "
            f"{listed(source.columns or tuple(seen))} (choose with --text-field; --skip-bad goes on)"
        )

    def _say_unmatched(self, unmatched: Unmatched) -> None:
        fields = listed(self._columns or unmatched.fields)
        for setting in unmatched.settings:
            self._say(f"{setting} matches {_none_of(unmatched.objects, BODIES)}; there are: {fields}")


def _none_of(rows: int, most: int) -> str:
    """Say that none of these rows is as it should be; below `most` there were no more."""
    return "no row" if rows < most else f"none of the first {rows} rows"


def _table_in_text(first: RowResult, texts: Sequence[str]) -> list[str]:
    """Return the columns that a first line names, if it looks like that of a table with the text."""
    row = first.row
    if not isinstance(row, Row) or row.content_type is not None:
        return []
    for delimiter in ",;\t|":
        cells = [cell.strip('"') for cell in row.value.decode("utf-8", "replace").split(delimiter)]
        if len(cells) > 1 and not {*texts}.isdisjoint(cells) and all(map(_COLUMN.fullmatch, cells)):
            return cells
    return []


class _OwnColumns(NamedTuple):
    """Our columns: the names of all that any settings write, those written with what they hold, and which of
    these not every row has."""

    names: frozenset[str]
    written: dict[str, ColumnKind]
    optional: list[str]


def _own_columns(heads: Sequence[Sequence[Head]], layout: Layout, *, include_text: bool) -> _OwnColumns:
    """Return our columns for rows that may take different ways.

    Raises:
        SettingsError: `sink.keep` takes the name of one of them.
    """
    names: set[str] = set()
    written: dict[str, ColumnKind] = {}
    always: list[set[str]] = []
    for each in heads:
        layout.of_heads(each)  # checks the names of what is kept
        names.update(column.name for column in output_columns(each))
        columns = output_columns(each, layout._replace(keep=()), include_text=include_text)
        for column in columns:
            written.setdefault(column.name, column.kind)
        always.append({column.name for column in columns if column.always})
    optional = [name for name in written if name not in set.intersection(*always)]
    return _OwnColumns(frozenset(names), written, optional)


def _copies(options: FileOptions, places: Places) -> bool:
    """Whether what is kept is copied from Parquet to Parquet, so that each column keeps its type."""
    if options.output is None or is_stream(Path(options.output)):
        return False
    kinds = {options.format if options.format != "auto" else format_of(name) for name in options.inputs}
    if kinds != {"parquet"} or output_format(options.output).kind != "parquet":
        return False
    keep = options.settings.sink.keep
    return len(_plain_keeps(keep)) == len(keep) == sum(bool(ways) for ways in places.kept)


def _plain_keeps(entries: Sequence[str]) -> dict[str, str]:
    """Return those entries of `sink.keep` that are a column as it is: its name in the output, and the column.

    A number in a path goes into a list, which only a row as JSON can do.
    """
    found: dict[str, str] = {}
    for column in read_keep(entries):
        path = parse_keep(column.entry).expression.plain if column.type is None else None
        if path is not None and not any(step.isdigit() for step in path.steps):
            found[column.name] = path.text
    return found


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


_OF_SOURCE = ("text_field", "time_field", "id_field", "lang_field", "filter", "preset", "html")
_OF_MODEL = ("marks", "long_text")
_OF_SINK = ("keep", "columns", "offsets")


def _identity(options: FileOptions, packs: Sequence[Pack]) -> dict[str, Any]:
    """Return all that must be the same when a run is resumed."""
    settings = options.settings
    return {
        "input": _stats(options.inputs),
        "model": [f"{pack.name}@{pack.revision}" for pack in packs],
        **{f"model.{name}": getattr(settings.model, name) for name in _OF_MODEL},
        "--format": options.format,
        "--encoding": options.encoding,
        "--include-text": options.include_text,
        "--no-keep": not options.keep_all,
        **{f"source.{name}": getattr(settings.source, name) for name in _OF_SOURCE},
        **{f"sink.{name}": getattr(settings.sink, name) for name in _OF_SINK},
        "group of settings [language]": settings.language.model_dump(mode="json"),
        "version of moodstream": __version__,
    }
