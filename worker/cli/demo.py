"""`moodstream demo`."""

from importlib.util import find_spec
from pathlib import Path

import click

from worker import demo as package
from worker.dashboard import PACKAGES


@click.command()
@click.option("--once", is_flag=True, help="Send every sample once, wait for all answers, and end.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000, min_open=True),
    help="Messages a second on average.  [default: 4, and with --once as fast as possible]",
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the view, as it is at the end, to a file.",
)
def demo(once: bool, rate: float | None, svg: Path | None) -> int:
    """Watch it work: an embedded broker, a worker of its own, sample posts and a live view.

    The live page (moodstream dashboard) starts beside it if the extra `dashboard` is installed; its address
    stands at the bottom.

    Needs the extra: pip install 'moodstream[demo]'. Ctrl-C drains the worker and prints a summary line.

    With --once no terminal is needed, and the exit code is 0 only if every sample came back exactly once,
    labelled or as a dead letter.
    """
    if find_spec("noida_db") is None:
        raise click.ClickException("the demo needs: pip install 'moodstream[demo]'")
    page = all(find_spec(name) is not None for name in PACKAGES)
    return package.main(once=once, rate=rate, svg=svg, page=page)
