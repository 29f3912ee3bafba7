"""The command line: a file a command group; thin. Only `main` is for others."""

from worker.cli.main import main

__all__ = ["main"]
