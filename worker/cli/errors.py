"""Turns an exception into one line and an exit code. No command ends in a traceback."""

import os
import sys
import traceback

import click

from worker.errors import ExitCode, MoodstreamError

INTERRUPTED = 130
"""After Ctrl-C, as shells report it: 128 + SIGINT."""

BROKEN_PIPE = 141
"""When the reader of a pipe is gone (`| head`): 128 + SIGPIPE."""

_DEBUG_VARIABLE = "MOODSTREAM_OBSERVE__LOG_LEVEL"


class ReaderGone(Exception):
    """Nobody reads our standard output any more. Click would turn a BrokenPipeError into exit code 1."""


def report(error: Exception) -> int:
    """Write what went wrong to standard error, one line for each mistake, and return the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, ReaderGone | BrokenPipeError):
        _silence_stdout()
        return BROKEN_PIPE
    if isinstance(error, MoodstreamError):
        for line in str(error).splitlines() or [type(error).__name__]:
            click.echo(f"moodstream: {line}", err=True)
        return error.exit_code
    _unexpected(error)
    return ExitCode.INTERNAL


def _silence_stdout() -> None:
    """Python flushes standard output once more at exit, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> None:
    if os.environ.get(_DEBUG_VARIABLE, "").lower() == "debug":
        traceback.print_exception(error)
        return
    first_line = str(error).partition("\n")[0]
    reason = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    click.echo(f"moodstream: internal error: {reason}", err=True)
    click.echo(f"moodstream: run again with {_DEBUG_VARIABLE}=debug for the traceback", err=True)
