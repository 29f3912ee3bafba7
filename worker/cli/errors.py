"""From an exception to one line and an exit code. No command ends in a traceback."""

import os
import sys
import traceback

import click

from worker import exitcodes

INTERRUPTED = 130
"""Ctrl-C, as shells count it: 128 + SIGINT."""

BROKEN_PIPE = 141
"""The reader went away (`| head`): 128 + SIGPIPE."""

_DEBUG_VARIABLE = "MOODSTREAM_OBSERVE__LOG_LEVEL"

# Looked up in the modules that are loaded: an error cannot come from one that is not, and loading
# onnxruntime or the Kafka client for a look would take longer than most commands.
_KNOWN: tuple[tuple[str, str, int], ...] = (
    ("worker.settings.load", "SettingsError", exitcodes.USAGE),
    ("worker.files.rows", "InputError", exitcodes.USAGE),
    ("worker.language.errors", "LanguageError", exitcodes.USAGE),
    ("worker.evaluation.cases", "CasesError", exitcodes.USAGE),
    ("worker.training.errors", "TrainingError", exitcodes.USAGE),
    ("worker.convert.errors", "CheckpointError", exitcodes.MODEL),
    ("worker.export.errors", "ExportError", exitcodes.MODEL),
    ("worker.classify.errors", "PackError", exitcodes.MODEL),
    ("worker.connect.errors", "BrokerUnavailable", exitcodes.BROKER_UNAVAILABLE),
    ("worker.connect.errors", "BrokerRefused", exitcodes.BROKER_REFUSED),
    ("worker.observe.server", "PortInUse", exitcodes.USAGE),
    ("worker.demo.broker", "BrokerError", exitcodes.INTERNAL),
)


class ReaderGone(Exception):
    """Nobody reads our standard output any more."""


def report(error: Exception) -> int:
    """Write what went wrong to standard error, a line each; hand back the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, ReaderGone | BrokenPipeError):
        _silence_stdout()
        return BROKEN_PIPE
    for module, name, code in _KNOWN:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            for line in str(error).splitlines() or [name]:
                click.echo(f"moodstream: {line}", err=True)
            return code
    _unexpected(error)
    return exitcodes.INTERNAL


def _silence_stdout() -> None:
    """Python flushes standard output once more on its way out, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> None:
    if os.environ.get(_DEBUG_VARIABLE, "").lower() == "debug":
        traceback.print_exception(error)
        return
    first_line = str(error).partition("\n")[0]
    reason = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    click.echo(f"moodstream: internal error: {reason}", err=True)
    click.echo(f"moodstream: run again with {_DEBUG_VARIABLE}=debug for the traceback", err=True)
