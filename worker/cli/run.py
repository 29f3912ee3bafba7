"""`moodstream run`."""

import click

from worker.cli.flags import SettingsCommand, settings_flags
from worker.settings.load import Loaded


@click.command(cls=SettingsCommand)
@settings_flags()
def run(loaded: Loaded) -> int:
    """Run a worker until it is told to stop.

    Reads texts from the input topics, labels them, and writes one message for each to the output topic, or
    to the dead-letter topic if the text cannot be labelled. On SIGTERM or Ctrl-C it drains: it finishes and
    commits what it has read, and ends with exit code 0.

    \b
      moodstream run --kafka.bootstrap-servers broker1:9092 --source.topics posts,reviews
      moodstream run --config worker.toml
      MOODSTREAM_SINK__TOPIC=feelings moodstream run

    Workers that share the work have the same source.group-id. Each takes a free slot in the group by itself,
    or keeps the one that delivery.slot names.

    \b
    Exit codes: 0 drained, 1 fault, 2 wrong setting, 3 no broker answers, 4 broker refused,
    5 another worker in this slot, 6 hung, 7 model missing or damaged, 8 topic missing.
    """
    from worker.stream.app import run as run_worker  # noqa: PLC0415 - it loads the model's runtime: not for --help

    return run_worker(loaded.settings)
