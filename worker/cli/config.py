"""`moodstream config check | show | reference`."""

import click

from worker.cli.flags import SettingsCommand, settings_flags
from worker.cli.lazy import CommandGroup
from worker.cli.show import as_toml
from worker.settings import Loaded, reference


@click.group(cls=CommandGroup)
def config() -> None:
    """Check and show the settings, and write their reference."""


@config.command(cls=SettingsCommand)
@settings_flags(hidden=True)
def check(loaded: Loaded) -> None:
    """Say what is wrong with the settings, a line each; exit code 2 if anything is.

    Takes --config and every flag of `moodstream run`. Nothing is connected to and no model is loaded.
    """
    given = sum(origin != "default" for origin in loaded.origins.values())
    click.echo(f"the settings are right: {given} given, {len(loaded.origins) - given} by default")


@config.command(cls=SettingsCommand)
@settings_flags(hidden=True)
def show(loaded: Loaded) -> None:
    """Print every setting, and where its value came from.

    The output is TOML and can be used with --config; secrets are not in it. Takes --config and every flag
    of `moodstream run`.
    """
    click.echo(as_toml(loaded), nl=False)


@config.command("reference")
def reference_() -> None:
    """Print the reference of all settings, in Markdown. It is docs/settings.md."""
    click.echo(reference(), nl=False)
