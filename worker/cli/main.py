"""The root of all commands, and the one place where every command ends."""

import sys
from collections.abc import Sequence

import click

from worker import __version__
from worker.cli.errors import INTERRUPTED, report
from worker.cli.group import Lazy, LazyGroup
from worker.errors import ExitCode

COMMANDS = {
    "demo": Lazy("worker.cli.demo:demo", "Watch it work: embedded broker, sample posts, live view."),
    "label": Lazy("worker.cli.label:label", "Label texts in files, without a broker."),
    "run": Lazy("worker.cli.run:run", "Run a worker: Kafka in, labels out."),
    "feed": Lazy("worker.cli.feed:feed", "Send the rows of a file to a topic, to try things out."),
    "broker": Lazy("worker.cli.broker:broker", "Run a small Kafka broker, to try things out."),
    "dashboard": Lazy("worker.cli.dashboard:dashboard", "Watch the output topic in a browser."),
    "config": Lazy("worker.cli.config:config", "Check and show the settings, and write their reference."),
    "schema": Lazy("worker.cli.schema:schema", "Print the schema of the output, or describe all topics."),
    "topics": Lazy("worker.cli.topics:topics", "Create the topics that a worker needs."),
    "model": Lazy("worker.cli.model:model", "Show, verify, import, export and compare model packs."),
    "evaluate": Lazy("worker.cli.evaluate:evaluate", "Measure packs on labelled texts, with intervals."),
    "compress": Lazy(
        "worker.cli.compress:compress", "Make a smaller pack from a model, and plot what it costs."
    ),
    "distill": Lazy("worker.cli.distill:distill", "Train a small model on the answers of larger ones."),
    "train": Lazy("worker.cli.train:train", "Train a pack on labelled text: a table of yours, or a recipe."),
    "completion": Lazy("worker.cli.completion:completion", "Print the completion script for a shell."),
}

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings=CONTEXT)
@click.version_option(__version__, message="moodstream %(version)s")
def cli() -> None:
    """Label a stream of texts with sentiment and emotion: Kafka in, Kafka out, exactly once.

    \b
    See it work, with nothing else installed:       moodstream demo
    Label a file:                                   moodstream label posts.jsonl > labelled.jsonl
    Label a topic of your own:                      moodstream topics create
                                                    moodstream run --kafka.bootstrap-servers broker1:9092

    Settings come from flags, MOODSTREAM_… variables, a TOML file (--config) and .env, in this order of
    precedence; `moodstream config reference` lists them all.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: its arguments; those of the process when None.

    Returns:
        The exit code: 0, 130 after Ctrl-C, or one of `worker.errors.ExitCode`. Never raises an error.
    """
    try:
        code = cli.main(args=args, prog_name="moodstream", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a line
        return report(error)
    return code if isinstance(code, int) else ExitCode.OK
