"""Command groups: one suggests the command that was meant, one imports its commands when they are used."""

import importlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import click

from worker.cli.errors import ReaderGone


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that a misspelt one probably means, or None."""
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.6)), None)


class Lazy(NamedTuple):
    """Where a command is defined (`module:name`), and its line in the list of commands."""

    target: str
    summary: str


class CommandGroup(click.Group):
    """A group that suggests the command that was meant; click does so only from 8.2 on."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command.

        Raises:
            click.UsageError: there is none of that name; it names the one that was probably meant.
        """
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            near = nearest(name, known)
            hint = f" Did you mean {near}?" if near else ""
            raise click.UsageError(f"No such command: {name}.{hint}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(CommandGroup):
    """A group whose commands are imported when they are used."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of the table, the most needed first."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - see above
        """Import a command."""
        entry = self._lazy.get(cmd_name)
        if entry is None:
            return None
        module, name = entry.target.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - see above
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises:
            ReaderGone: nobody reads the output any more.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None
