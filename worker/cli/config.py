"""`moodstream config check | show | reference`, and columns as other commands print them too."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from pydantic import SecretStr

from worker.cli.flags import SettingsCommand, settings_flags
from worker.cli.group import CommandGroup
from worker.errors import ExitCode, printable
from worker.settings.fields import all_fields, groups
from worker.settings.load import DEFAULT_ORIGIN, Loaded
from worker.settings.mistakes import hides
from worker.settings.reference import reference


def as_toml(loaded: Loaded) -> str:
    """All settings as TOML; behind each value, as a comment, where it came from.

    A setting without a value is a comment as a whole, and so is one that holds a secret.
    """
    parts: list[str] = []
    for group in groups():
        values = getattr(loaded.settings, group)
        rows: list[tuple[str, str]] = []
        for field in all_fields().values():
            if field.group == group:
                value, origin = getattr(values, field.leaf), loaded.origins[field.name]
                hidden = origin != DEFAULT_ORIGIN and hides(str(value), loaded.secrets)
                rows.append((_assignment(field.leaf, SecretStr("-") if hidden else value), printable(origin)))
        width = min(60, max(len(row) for row, _ in rows))
        parts.append(f"[{group}]\n" + "".join(f"{row:<{width}}  # {origin}\n" for row, origin in rows))
    return "\n".join(parts)


def _assignment(leaf: str, value: object) -> str:
    if value is None:
        return f"# {leaf} ="
    if isinstance(value, SecretStr):
        return f"# {leaf} = **********"
    return f"{leaf} = {_literal(value)}"


def _literal(value: object) -> str:
    """A value in TOML, which writes texts, lists, numbers and booleans as JSON does, but not tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)} = {_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns under a header, for people and for awk."""
    table = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines) + "\n"


@click.group(cls=CommandGroup)
def config() -> None:
    """Check and show the settings, and write their reference."""


@config.command(cls=SettingsCommand)
@click.option(
    "--online", is_flag=True, help="Look at the brokers, the topics and the schema registry as well."
)
@settings_flags(hidden=True)
def check(loaded: Loaded, online: bool) -> int:
    """Say what would stop a worker with these settings, a line for each mistake; exit code 2 if there is one.

    Looks at the settings, at the model packs and at the packages that the settings need. Takes --config and
    every flag of `moodstream run`. Nothing is connected to without --online.
    """
    from worker.stream.check import problems  # noqa: PLC0415 - it loads the model's packages: not for --help

    def warn(line: str) -> None:
        click.echo(f"moodstream: warning: {line}", err=True)

    found = list(problems(loaded.settings, online=online, warn=warn))
    for line in found:
        click.echo(f"moodstream: {line}", err=True)
    if found:
        return ExitCode.USAGE
    given = sum(origin != DEFAULT_ORIGIN for origin in loaded.origins.values())
    click.echo(f"the settings are right: {given} given, {len(loaded.origins) - given} by default")
    return ExitCode.OK


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
    """Print the reference of all settings, in Markdown. It is docs/reference/settings.md."""
    click.echo(reference(), nl=False)
