"""`moodstream dashboard`."""

import re
from importlib.util import find_spec
from pathlib import Path

import click

from worker.cli.flags import SettingsCommand, settings_flags
from worker.dashboard import PACKAGES
from worker.settings.load import Loaded

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Duration(click.ParamType[float]):
    """A length of time, as in `24h`. Becomes seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number and a unit."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is not a length of time; write it as 90m, 24h or 7d", param, ctx)
        return int(found[1]) * _UNITS_S[found[2]]


@click.command(cls=SettingsCommand)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8_765,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@click.option(
    "--keep",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="How long to keep posts.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the posts in a file, and go on from it after a restart.  [default: in memory]",
)
@settings_flags(hidden=True)
def dashboard(loaded: Loaded, host: str, port: int, keep: float, store: Path | None) -> int:
    """Watch the output topic in a browser: sentiment, emotions, toxicity, and the newest posts.

    Reads sink.topic and sink.dead-letter-topic, and is in no consumer group, so it never takes work from a
    worker. It begins with what the topics still hold. The text of a post is there only if the workers
    write it (sink.include-text), and the filters are the fields that they keep. Takes --config and every flag
    of `moodstream run`. Needs the extra: pip install 'moodstream[dashboard]'.

    \b
      moodstream dashboard --kafka.bootstrap-servers broker1:9092 --keep 7d --store moods.duckdb

    Ctrl-C and SIGTERM end it with exit code 0.

    The page has no login: on another address than 127.0.0.1 everyone who reaches it can read the posts.
    """
    if any(find_spec(name) is None for name in PACKAGES):
        raise click.ClickException("the dashboard needs: pip install 'moodstream[dashboard]'")
    from worker.dashboard.app import Dashboard  # noqa: PLC0415 - it needs the extra
    from worker.observe.logs import configure  # noqa: PLC0415 - as above

    configure(loaded.settings.observe.log_level, loaded.settings.observe.log_format)
    page = Dashboard(loaded.settings, store=store, keep_s=keep, host=host, port=port)
    click.echo(f"Moodstream dashboard: {page.url}  (Ctrl-C ends it)")
    page.run()
    return 0
