"""`python -m worker.lab.chain`: make the bundled packs again, from those before them or from the bases."""

import signal
import subprocess
import sys
from pathlib import Path

import click

from worker.errors import MoodstreamError
from worker.lab import need
from worker.lab.chain.places import BASES, PACKS, WORK, Layout
from worker.lab.chain.stages import chosen
from worker.lab.data.sets import data_root

_PATH = click.Path(path_type=Path)
_SMOKE = "worker.lab.chain.smoke"
_TERMINATED = 128 + signal.SIGTERM


@click.command()
@click.option("--data", metavar="DIR", help="Folder with the known data sets.  [default: MOODSTREAM_DATA]")
@click.option(
    "--work", type=_PATH, default=WORK, show_default=True, help="Folder for what each stage leaves."
)
@click.option("--packs", type=_PATH, default=PACKS, show_default=True, help="Folder for the packs that ship.")
@click.option(
    "--bases",
    type=_PATH,
    default=BASES,
    show_default=True,
    help="Folder with the teachers' base weights.",
)
@click.option(
    "--only", "names", multiple=True, metavar="STAGE", help="Run only this stage; several are possible."
)
@click.option("--again", is_flag=True, help="Make stages anew whose folders were made from something else.")
@click.option(
    "--from-base",
    is_flag=True,
    help="Train every stage from the base weights on, also those whose packs are in the history.",
)
@click.option("--smoke", is_flag=True, help="The whole chain on tiny models and made-up rows, in minutes.")
def main(
    *,
    data: str | None,
    work: Path,
    packs: Path,
    bases: Path,
    names: tuple[str, ...],
    again: bool,
    from_base: bool,
    smoke: bool,
) -> None:
    """Make the bundled packs again: every stage that is not done, and the rest of one that was broken off.

    It begins with the packs that shipped before, from the history of the repository. With `--from-base` it
    trains all stages.

    Before it starts it says what it needs, and what of that is missing.
    """
    try:
        stages = chosen(names)
        need("train", "training")
        from worker.lab.chain.history import from_history
        from worker.lab.chain.runner import in_processes, run_chain

        if smoke:
            raise SystemExit(subprocess.call([sys.executable, "-m", _SMOKE]))  # noqa: S603 - our own module
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
        layout = Layout(Path(data) if data else data_root(None), work, packs, bases)
        run_chain(
            stages if names or from_base else from_history(),
            layout,
            in_processes(layout),
            again=again,
            fetch=not from_base,
            say=_say,
        )
    except MoodstreamError as error:
        for line in str(error).splitlines():
            _say(line)
        raise SystemExit(error.exit_code) from None


def _say(line: str) -> None:
    click.echo(f"moodstream: {line}", err=True)


if __name__ == "__main__":
    main()
