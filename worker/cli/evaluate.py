"""`moodstream evaluate`: measure packs on labelled texts or with behaviour cases."""

import json
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from worker.cli.model import MODEL
from worker.errors import ExitCode

if TYPE_CHECKING:
    from worker.lab import Progress
    from worker.lab.evaluate.behaviour import FamilyResult, Report
    from worker.lab.evaluate.examples import Examples
    from worker.lab.evaluate.measure import Thresholds
    from worker.lab.evaluate.result import Result
    from worker.lab.evaluate.score import Scorer, Tick

    Measured = list[tuple[str, list[Result]]]

_WIDTH = 100


def report_behaviour(packs: Sequence[Path], cases: Path, *, as_json: bool) -> int:
    """Run the cases in a folder against packs; return exit code 1 if a family falls short of its rate."""
    from worker.lab.evaluate.behaviour import measure
    from worker.lab.evaluate.score import check_folder

    for pack in packs:
        check_folder(pack)
    reports = [measure(cases, pack) for pack in packs]
    if as_json:
        click.echo(json.dumps([report.as_dict() for report in reports], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(_text(report) for report in reports))
    held = all(result.holds for report in reports for result in report.results)
    return ExitCode.OK if held else ExitCode.INTERNAL


def _text(report: "Report") -> str:
    """Return a line for each family, followed by its failed cases if it falls short."""
    width = max(len(report.model), *(len(result.family.name) for result in report.results))
    lines = [f"{report.model:<{width}}  {'required':>9}  {'reached':>7}"]
    for result in report.results:
        family = result.family
        reached = "-" if result.skipped else f"{result.rate:.0%}"
        line = f"{family.name:<{width}}  {family.rate:>9.0%}  {reached:>7}"
        lines.append(f"{line}  {_remark(result)}".rstrip())
        if not result.holds:
            lines += [_short(f"    {miss.text} => {miss.said}") for miss in result.misses]
    return "\n".join(lines)


def _remark(result: "FamilyResult") -> str:
    if result.skipped:
        return f"not asked: {result.skipped}"
    moved = f"{result.moved.column} moves by {result.moved.by:.3f}" if result.moved else ""
    return ", ".join(part for part in ("" if result.holds else "falls short", moved) if part)


def _short(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("models", nargs=-1, metavar="PACK...", type=MODEL)
@click.option("--data", metavar="DIR", help="Folder of the known data sets.  [default: MOODSTREAM_DATA]")
@click.option("--set", "names", multiple=True, metavar="NAME", help="A known data set; may be repeated.")
@click.option("--rows", type=click.IntRange(min=1), help="Use only the first N rows of each set.")
@click.option(
    "--file",
    type=_FOLDER,
    metavar="FILE",
    help="A file with your own labelled rows: CSV, JSON lines, Parquet.",
)
@click.option("--text-column", default="", help="Column of FILE with the text.  [default: guessed by name]")
@click.option("--label-column", default="", help="Column of FILE with the label.  [default: guessed by name]")
@click.option(
    "--encoding",
    metavar="NAME",
    default="utf-8",
    show_default=True,
    help="Encoding of FILE, such as utf-16 or windows-1252.",
)
@click.option("--head", help="The head to measure on FILE.  [default: the one with its labels]")
@click.option(
    "--thresholds",
    type=click.Choice(["auto", "own", "cross-fitted"]),
    default="auto",
    show_default=True,
    help="Thresholds for multi-label heads: the model's own, or cross-fitted on the set.",
)
@click.option(
    "--behaviour",
    type=_FOLDER,
    metavar="DIR",
    help="Run the behaviour cases in this folder instead of measuring.",
)
@click.option(
    "--posts", is_flag=True, help="Measure on the held-out posts of our own instead, family by family."
)
@click.option(
    "--details", "with_details", is_flag=True, help="Also print every label and the confusion matrices."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--plots", type=_FOLDER, metavar="DIR", help="Write plots of the figures to this folder.")
def evaluate(
    *,
    models: tuple[Path, ...],
    data: str | None,
    names: tuple[str, ...],
    rows: int | None,
    file: Path | None,
    text_column: str,
    label_column: str,
    encoding: str,
    head: str | None,
    thresholds: "Thresholds",
    behaviour: Path | None,
    posts: bool,
    with_details: bool,
    as_json: bool,
    plots: Path | None,
) -> int:
    """Measure packs or checkpoints on labelled texts, side by side, with 95 % intervals.

    PACK is a folder with a pack or a checkpoint (needs 'moodstream[train]'), or the name of a pack that
    ships, such as compact-fast; the default is the bundled pack. The texts are the dev splits of the known
    data sets that fit a model's heads, or the rows of a file of your own. docs/how-to/evaluate.md explains
    the figures.

    \b
      moodstream evaluate ./my-pack --data ./data
      moodstream evaluate ./old ./new --set sst2 --set goemotions --json > figures.json
      moodstream evaluate --file mine.csv --text-column body --label-column topic
      moodstream evaluate ./my-pack --behaviour tests/behaviour/cases
      moodstream evaluate ./old ./new --posts

    With --behaviour the exit code is 1 if a family of cases does not reach its rate. Shares are in per cent.
    Progress goes to standard error.
    """
    from worker.lab.evaluate.measure import evaluate as measure_all

    if behaviour is not None:
        _refuse("--behaviour cannot be used with {}", but={"models", "behaviour", "as_json"})
        return report_behaviour(models or (_bundled(),), behaviour, as_json=as_json)
    if posts:
        _refuse("--posts cannot be used with {}", but={"models", "posts", "as_json"})
        return _report_posts(models or (_bundled(),), as_json=as_json)
    if file is None:
        _refuse("{} would be ignored without --file", but=_NOT_OF_A_FILE)
    elif names:
        raise click.UsageError("--file and --set cannot be used together")
    if plots is not None:
        _need_matplotlib()
    measured = []
    with _progress() as (say, tick):
        for folder in models or (_bundled(),):
            scorer = _scorer(folder, tick)
            sets = _sets(
                scorer,
                file,
                (text_column, label_column),
                head=head,
                data=data,
                names=names,
                rows=rows or 0,
                encoding=encoding,
                say=say,
            )
            measured.append((scorer.title, measure_all(scorer, sets, thresholds, say)))
    if plots is not None:
        _draw(measured, plots)
    click.echo(_as_json(measured) if as_json else _as_text(measured, with_details))
    return ExitCode.OK


_NOT_OF_A_FILE = {"models", "data", "names", "rows", "thresholds", "with_details", "as_json", "plots"}
"""The options that mean something without a file of one's own."""


def _refuse(message: str, *, but: Container[str]) -> None:
    """Refuse all options that were given but these. `message` has a place for them. Raises UsageError."""
    context = click.get_current_context()
    given = [
        max(option.opts, key=len)
        for option in context.command.params
        if option.name is not None
        and option.name not in but
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(message.format(", ".join(given)))


def _report_posts(models: Sequence[Path], *, as_json: bool) -> int:
    from worker.lab.evaluate.posts import COLUMNS, measure_posts, posts_table

    with _progress() as (say, tick):
        results = []
        for folder in models:
            scorer = _scorer(folder, tick)
            say(f"{scorer.title}: our own held-out posts")
            results.append(measure_posts(scorer))
    if as_json:
        click.echo(json.dumps([result.as_json() for result in results], indent=2, ensure_ascii=False))
        return ExitCode.OK
    told = "\n".join(f"{name}: {about}" for name, about in COLUMNS.items())
    click.echo("\n\n".join([*map(posts_table, results), told]))
    return ExitCode.OK


def _draw(measured: "Measured", folder: Path) -> None:
    from worker.lab.evaluate.plots import draw

    for path in draw(measured, folder):
        click.echo(f"drawn: {path}", err=True)


def _as_json(measured: "Measured") -> str:
    from worker.lab.evaluate.result import (
        differences,
        figure_json,
    )

    value = []
    first = {result.data: result for result in measured[0][1]}
    for number, (title, results) in enumerate(measured):
        sets = [result.as_json() for result in results]
        for entry, result in zip(sets, results, strict=True):
            if number and result.data in first:
                pairs = differences(first[result.data], result)
                entry["against_first"] = {name: figure_json(figure) for name, figure in pairs.items()}
        value.append({"model": title, "sets": sets})
    return json.dumps(value, indent=2, ensure_ascii=False)


def _as_text(measured: "Measured", with_details: bool) -> str:
    from worker.lab.evaluate.result import (
        details,
        table,
    )

    return f"{table(measured)}\n\n{details(measured)}".rstrip() if with_details else table(measured)


def _bundled() -> Path:
    from worker.model.pack import bundled_pack

    return bundled_pack()


def _scorer(folder: Path, tick: "Tick") -> "Scorer":
    from worker.lab.evaluate.score import scorer_of

    return scorer_of(folder, tick)


def _sets(
    scorer: "Scorer",
    file: Path | None,
    columns: tuple[str, str],
    *,
    head: str | None,
    data: str | None,
    names: tuple[str, ...],
    rows: int,
    encoding: str,
    say: "Progress",
) -> "list[Examples]":
    """Read the sets that a model is measured on.

    Raises:
        TrainingError: no set fits the model, or a named set or file does not fit.
    """
    from worker.errors import TrainingError
    from worker.lab.data.sets import data_root
    from worker.lab.evaluate.examples import fitting
    from worker.lab.evaluate.table import table_examples

    if file is not None:
        return [table_examples(file, scorer.heads, *columns, head=head, rows=rows, encoding=encoding)]
    root = data_root(data)
    found = fitting(scorer.heads, root, names, rows, say)
    if not found:
        raise TrainingError(f"no data set in {root} fits a head of {scorer.title}: {', '.join(scorer.heads)}")
    return found


def _need_matplotlib() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise click.ClickException("--plots needs: pip install 'moodstream[plots]'")


@contextmanager
def _progress() -> "Iterator[tuple[Progress, Tick]]":
    """Report progress on standard error: as lines, or as one live line on a terminal."""
    if not sys.stderr.isatty():
        yield lambda line: click.echo(line, err=True), lambda _rows: None
        return
    from rich.console import Console

    with Console(stderr=True).status("loading") as status:
        now, done = "", 0

        def say(line: str) -> None:
            nonlocal now, done
            now, done = line, 0
            status.update(line)

        def tick(rows: int) -> None:
            nonlocal done
            done += rows
            status.update(f"{now}: {done:,} texts done")

        yield say, tick
