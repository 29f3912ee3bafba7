"""The command line: a file a command group; thin. Only `main` is for others."""

import sys

from worker.stream.signals import listen

if sys.argv[1:2] == ["run"]:
    listen()  # the imports below take most of a second, and a stop must be a clean one from the start

from worker.cli.main import main

__all__ = ["main"]
