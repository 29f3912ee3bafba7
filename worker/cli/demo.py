"""`moodstream demo`."""

from pathlib import Path

import click


@click.command()
@click.option("--once", is_flag=True, help="Send every sample once, wait for all answers, and end.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000, min_open=True),
    help="Messages a second on average.  [default: 4, and with --once as fast as they go]",
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the last picture of the view to a file.",
)
def demo(once: bool, rate: float | None, svg: Path | None) -> int:
    """Watch it work: an embedded broker, a worker of its own, sample posts and a live view.

    Needs the extra: pip install 'moodstream[demo]'. Ctrl-C drains and ends with a summary line.

    With --once no terminal is needed, and the exit code is 0 only if every sample came back exactly once,
    labelled or as a dead letter.
    """
    try:
        import noida_db  # noqa: F401 - an extra: ask before anything is started
    except ModuleNotFoundError:
        raise click.ClickException("the demo needs: pip install 'moodstream[demo]'") from None
    from worker.demo import main

    return main(once=once, rate=rate, svg=svg)
