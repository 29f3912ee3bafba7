"""`moodstream feed`."""

import signal
import threading
from typing import TYPE_CHECKING

import click

from worker.cli.flags import FilesCommand, settings_flags
from worker.errors import ExitCode, SettingsError, printable
from worker.settings.load import Loaded

if TYPE_CHECKING:
    from worker.tables.open import Format


@click.command(cls=FilesCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@click.option("--topic", metavar="NAME", help="Topic to send to.  [default: the first of source.topics]")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Messages a second.  [default: as fast as the broker takes them]",
)
@click.option(
    "--key", metavar="COLUMN", help="Column or field that becomes the message's key; dots go deeper."
)
@click.option("--limit", type=click.IntRange(min=1), help="The most messages to send.")
@click.option("--loop", is_flag=True, help="Send the files over and over, until Ctrl-C.")
@click.option(
    "--create", is_flag=True, help="Create the topic if it does not exist, with the broker's defaults."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "jsonl", "txt", "csv", "parquet"]),
    default="auto",
    show_default=True,
    help="Format of the files; auto goes by their names.",
)
@click.option("--encoding", metavar="NAME", default="utf-8", show_default=True, help="Encoding of the files.")
@settings_flags(hidden=True)
def feed(
    *,
    loaded: Loaded,
    inputs: tuple[str, ...],
    topic: str | None,
    rate: float | None,
    key: str | None,
    limit: int | None,
    loop: bool,
    create: bool,
    format_: "Format",
    encoding: str,
) -> int:
    """Send the rows of files to a topic, each as a JSON message, to try things out.

    Reads the files that `moodstream label` reads. A row of a table becomes an object with a field a column, a
    line of text {"text": …}; lines of JSON are sent as they are. Takes --config and every flag of `moodstream
    run`; kafka.* says where to send. A topic that does not exist is an error, unless --create is given.

    \b
      moodstream feed reviews.csv --topic posts --rate 20 --key customer
      moodstream feed posts.jsonl --topic posts --loop --rate 5 --kafka.bootstrap-servers broker1:9092

    Ctrl-C and SIGTERM end it with exit code 0. A row that cannot be read gives a line on standard error, and
    exit code 1 at the end.
    """
    from worker.stream.feed import Rows, Sender, prepare
    from worker.tables.open import check_inputs

    settings = loaded.settings
    target = topic or next(iter(settings.source.topics), None)
    if not target:
        raise SettingsError(["source.topic_pattern does not name a topic to send to; give --topic"])
    if loop and "-" in inputs:
        raise click.UsageError("--loop needs files: standard input cannot be read again")
    rows = Rows(check_inputs(inputs, format_, encoding), format_, encoding, key, loop)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    bad = 0

    def on_bad(name: str, place: int, reason: str) -> None:
        nonlocal bad
        bad += 1
        click.echo(printable(f"{name}:{place}: {reason}"), err=True)

    if not prepare(settings, target, create=create, say=_waiting, stop=stop):
        return ExitCode.OK
    with Sender(settings, target) as sender:
        try:
            sender.send(rows(on_bad), rate=rate, limit=limit, stop=stop)
        finally:
            unread = f", {bad} row{'' if bad == 1 else 's'} could not be read" if bad else ""
            click.echo(f"sent {sender.sent} messages to {printable(target)}{unread}", err=True)
    return ExitCode.INTERNAL if bad else ExitCode.OK


def _waiting(reason: str, waited_s: float) -> None:
    click.echo(f"moodstream: waiting for the brokers ({waited_s:.0f} s): {reason}", err=True)
