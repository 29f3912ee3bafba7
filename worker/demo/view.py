"""The live view: the latest messages with their labels, shares, rate, dead letters.

It only draws what it is given and what is in the ledger. 80 columns and 24 lines are enough.
"""

import re
import time
import unicodedata
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.bar import Bar
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.demo.ledger import Ledger, milliseconds, share
from worker.demo.reader import Answer, DeadLetter, Labelled, PassedThrough
from worker.types import Range

COLOURS = {"positive": "green", "neutral": "cyan", "negative": "red"}
_ORDER = ("positive", "neutral", "negative")
_MARK = "bold underline magenta"
_KEPT = 200
_LETTERS_SHOWN = 3
_SHARE_ROWS = 6
_OTHER_LINES = 1 + 2 + (_SHARE_ROWS + 2) + (_LETTERS_SHOWN + 2) + 1
"""Header, frame of the messages, shares, dead letters, and the cursor's own line."""

_WIDE = 110
_FONT_FACES = re.compile(r"@font-face\s*\{[^}]*\}\s*")


class View:
    """Draws a run; a rich renderable, so that `Live` and `Console.print` take it at any size.

    Args:
        ledger: what was sent and answered so far.
        source: the input topic.
        sink: the output topic.
        clock: seconds, for the duration of the run.
    """

    def __init__(
        self, ledger: Ledger, *, source: str, sink: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._route = f"{source} → {sink}"
        self._clock = clock
        self._started = clock()
        self._latest: deque[Labelled | PassedThrough] = deque(maxlen=_KEPT)
        self._letters: deque[DeadLetter] = deque(maxlen=_LETTERS_SHOWN)
        self._model = ""
        self.status = "starting"
        self.addresses: tuple[str, ...] = ()
        """What else can be looked at, as `page http://…`."""

    def add(self, answer: Answer) -> None:
        """Show an answer."""
        if isinstance(answer, DeadLetter):
            self._letters.append(answer)
            return
        if isinstance(answer, Labelled):
            self._model = answer.model
        self._latest.append(answer)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = options.height or console.height
        yield Group(
            self._header(),
            self._messages(max(3, lines - _OTHER_LINES), wide=options.max_width >= _WIDE),
            self._shares(),
            self._dead_letters(),
        )

    def _header(self) -> RenderableType:
        minutes, seconds = divmod(int(self._clock() - self._started), 60)
        left = Text.assemble((" Moodstream", "bold"), f"  {self._route}", (f"  {self._model}", "dim"))
        right = Text(f"{self.status}  {minutes}:{seconds:02d} ", style="dim", justify="right")
        header = Table.grid(expand=True)
        header.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        header.add_column(no_wrap=True)
        header.add_row(left, right)
        return header

    def _messages(self, rows: int, *, wide: bool) -> RenderableType:
        table = Table.grid(expand=True, padding=(0, 2, 0, 0))
        table.add_column(width=8, no_wrap=True)
        table.add_column(width=4, no_wrap=True, justify="right")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        room = 34 if wide else 24
        table.add_column(width=room, no_wrap=True, overflow="ellipsis")
        shown = list(self._latest)[-rows:]
        for answer in shown:
            table.add_row(*_message_row(answer, room))
        for _ in range(rows - len(shown)):
            table.add_row("")
        return Panel(table, title="what people write", title_align="left", border_style="dim")

    def _shares(self) -> RenderableType:
        both = Table.grid(expand=True)
        both.add_column(ratio=1)
        both.add_column(ratio=1)
        both.add_row(self._sentiments(), self._emotions())
        return both

    def _sentiments(self) -> RenderableType:
        ledger, latency = self._ledger, self._ledger.latency()
        delay = f"{milliseconds(latency.p50)} · p95 {milliseconds(latency.p95)}" if latency else "-"
        facts = Table.grid(padding=(0, 2, 0, 0))
        facts.add_column(width=8, style="dim", no_wrap=True)
        facts.add_column(no_wrap=True, overflow="ellipsis")
        facts.add_row("pace", f"{ledger.rate():.1f} messages/s")
        facts.add_row("latency", f"p50 {delay}" if latency else delay)
        toxic = f" · {ledger.toxic} toxic" if ledger.toxic else ""
        facts.add_row("messages", f"{ledger.inputs} in · {ledger.answers} out{toxic}")
        bars = _bars(ledger.sentiments, list(_ORDER), COLOURS)
        return Panel(Group(bars, facts), title="sentiment", title_align="left", border_style="dim")

    def _emotions(self) -> RenderableType:
        counts = self._ledger.emotions
        names = [name for name, _ in counts.most_common(_SHARE_ROWS)]
        bars = _bars(counts, names + [""] * (_SHARE_ROWS - len(names)), {})
        return Panel(bars, title="strongest emotion", title_align="left", border_style="dim")

    def _dead_letters(self) -> RenderableType:
        table = Table.grid(expand=True, padding=(0, 2, 0, 0))
        table.add_column(width=15, no_wrap=True, style="magenta")
        table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=2, no_wrap=True, overflow="ellipsis", style="dim")
        for letter in self._letters:
            table.add_row(letter.reason, _plain(letter.message), _plain(repr(letter.value)[2:-1]))
        for _ in range(_LETTERS_SHOWN - len(self._letters)):
            table.add_row("")
        title = f"dead letters: {self._ledger.dead_letters}"
        return Panel(
            table,
            title=title,
            title_align="left",
            subtitle=" · ".join(self.addresses) or None,
            subtitle_align="right",
            border_style="dim",
        )


def export_svg(view: View, path: Path, *, width: int = 110, height: int = 36) -> None:
    """Write the view, as it is now, to an SVG file, which uses common fonts and loads none from a server."""
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(
            record=True,
            width=width,
            height=height,
            file=nowhere,
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(view)
        svg = console.export_svg(title="moodstream demo")
    svg = _FONT_FACES.sub("", svg).replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, encoding="utf-8")


def _message_row(answer: Labelled | PassedThrough, room: int) -> tuple[Text, Text, Text, Text]:
    if isinstance(answer, PassedThrough):
        key = answer.key.decode(errors="replace")
        return Text("deleted", style="dim"), Text(""), Text(_plain(key), style="dim"), Text("")
    colour = COLOURS[answer.sentiment]
    score = Text(f"{answer.score:.0%}", style=colour)
    text = _marked(answer.text, answer.spans)
    return Text(answer.sentiment, style=f"bold {colour}"), score, text, _emotions(answer, room)


def _marked(text: str, spans: Sequence[Range]) -> Text:
    """The text as `_plain` writes it, with the spans highlighted."""
    places = _shown(text)
    row = Text("".join(" " if _blank(text[place]) else text[place] for place in places))
    for start, end in spans:
        row.stylize(_MARK, bisect_left(places, start), bisect_left(places, end))
    return row


def _emotions(answer: Labelled, room: int) -> Text:
    """The labels, toxic first, then the strongest emotions, as many as fit into `room` columns."""
    shown = [] if answer.toxic is None else [("toxic", answer.toxic, "bold magenta")]
    shown += [(name, score, "bold") for name, score in answer.emotions]
    if not shown:  # none passes its threshold: the strongest, in brackets
        return Text(f"({answer.emotion})", style="dim")
    row = Text()
    for name, score, style in shown:
        gap = "  " if row else ""
        part = Text.assemble(gap, (name, style), (f" {score:.0%}", "dim"))
        if row and row.cell_len + part.cell_len > room:
            break
        row.append_text(part)
    return row


def _bars(counts: Counter[str], names: list[str], colours: dict[str, str]) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    table.add_column(width=14, no_wrap=True, overflow="ellipsis")
    table.add_column(width=4, justify="right", no_wrap=True)
    table.add_column(ratio=1)
    total = counts.total()
    for name in names:
        part = share(counts[name], total)
        bar: RenderableType = Bar(1.0, 0.0, part, color=colours.get(name, "blue")) if part else ""
        table.add_row(Text(name, style=colours.get(name, "")), f"{part:.0%}" if name else "", bar)
    return table


def _plain(text: str) -> str:
    """One line without control sequences: control characters and line ends become spaces."""
    return _marked(text, ()).plain


def _shown(text: str) -> list[int]:
    """Indices of the characters to show: only the first of several blanks, and no blank at either end."""
    places: list[int] = []
    for place, sign in enumerate(text):
        if not _blank(sign) or (places and not _blank(text[place - 1])):
            places.append(place)
    return places[:-1] if places and _blank(text[places[-1]]) else places


def _blank(sign: str) -> bool:
    return sign.isspace() or unicodedata.category(sign) in ("Cc", "Zl", "Zp")
