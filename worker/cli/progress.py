"""How far `moodstream label` is, on standard error: a bar on a terminal, else only bad rows."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from worker.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress:
    """Counts rows and shows how far they are. Use it in a `with` block.

    On a terminal one bar stands for one input; it is gone at the end, and a summary line stays.
    """

    def __init__(self) -> None:
        self.labelled = 0
        self.failed = 0
        self.filtered = 0
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
        if kind is None and (self._terminal or self.failed or self.filtered):
            click.echo(self.summary(), err=True)

    def begin(self, name: str, size: int | None) -> None:
        """Show a new input; `size` is its bytes, None where nobody knows."""
        if self._bars is not None:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._bar = self._bars.add_task(printable(name), total=size, rows=self._rows())

    def advance(self, position: int, *, labelled: int, filtered: int) -> None:
        """So many bytes of the input are read, and so many rows more are labelled or left out."""
        self.labelled += labelled
        self.filtered += filtered
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
        filtered = f", {self.filtered} filtered" if self.filtered else ""
        failed = f", {self.failed} could not be labelled" if self.failed else ""
        return (
            f"{self.labelled} labelled{filtered}{failed}, {seconds:.1f} s, {self._rate(seconds):.0f} a second"
        )

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
