"""The settings as flags, one for each, as `--kafka.bootstrap-servers`. They are made from the model."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from worker.settings.fields import SettingField, all_names, groups
from worker.settings.load import Loaded, load_settings

_SEPARATOR = "__"
_METAVARS = {
    "list": "LIST",
    "list of paths": "LIST",
    "table": "TABLE",
    "path": "PATH",
    "secret": "SECRET",
    "text": "TEXT",
    "number": "NUMBER",
}


class SettingOption(click.Option):
    """One setting as a flag. Its value stays text: the settings check it, and report all mistakes at once."""

    def __init__(self, field: SettingField, *, hidden: bool) -> None:
        # `--sink.include-text` alone means true; every other flag needs a value.
        alone: dict[str, Any] = {}
        if field.choices == ("true", "false"):
            alone = {"is_flag": False, "flag_value": "true"}
        super().__init__(
            [field.flag, field.name.replace(".", _SEPARATOR)],
            metavar=_metavar(field),
            help=_help(field),
            hidden=hidden,
            **alone,
        )
        self.field = field

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the allowed values; for a path, files."""
        if self.field.kind in {"path", "list of paths"}:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(choice) for choice in self.field.choices if choice.startswith(incomplete)] or (
            super().shell_complete(ctx, incomplete)
        )


def _metavar(field: SettingField) -> str:
    if field.choices:
        return "[" + "|".join(field.choices) + "]"
    return _METAVARS.get(field.kind.partition(",")[0].removeprefix("whole "), "TEXT")


def _help(field: SettingField) -> str:
    default = f"  [default: {field.default_text}]" if field.default_text else ""
    return field.description.replace("`", "") + default


class SettingsCommand(click.Command):
    """A command with no arguments, whose help shows the settings group by group."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the flags.

        Raises:
            click.UsageError: there is an argument. It is not quoted: it may be half of a password.
        """
        ctx.allow_extra_args = True
        extra = super().parse_args(ctx, args)
        if ctx.args:
            raise click.UsageError("this command takes only flags", ctx)
        return extra

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options first, then a section for each group."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for name, cls in groups().items():
            purpose = (cls.__doc__ or "").partition(".")[0]
            sections[f"{name} ({purpose[:1].lower()}{purpose[1:]})"] = []
        titles = dict(zip(groups(), list(sections)[1:], strict=True))
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                group = parameter.field.group if isinstance(parameter, SettingOption) else None
                sections[titles[group] if group else "Options"].append(row)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class FilesCommand(SettingsCommand):
    """A command with settings as flags and with files as arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse flags and files."""
        return click.Command.parse_args(self, ctx, args)


def settings_flags(
    *, hidden: bool = False, short: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config` and a flag for every setting. The command gets one argument, `loaded`.

    Args:
        hidden: leave the settings out of the help; they work all the same.
        short: options of the command that stand for a setting, by their parameters' names.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(config_file: Path | None, **values: Any) -> Any:
            _take_short(values, short or {})
            return function(loaded=load(config_file, values), **values)

        return _with_options(command, hidden=hidden)

    return decorate


def _with_options(command: Callable[..., Any], *, hidden: bool) -> Callable[..., Any]:
    options: list[click.Option] = list(getattr(command, "__click_params__", []))
    flags = [SettingOption(field, hidden=hidden) for field in all_names().values()]
    # click keeps them in reverse, as decorators are applied.
    command.__click_params__ = [*reversed(flags), *options]  # type: ignore[attr-defined]  # click's own place
    help_text = "TOML file with settings, a table for each group."
    return click.option("--config", "config_file", type=click.Path(path_type=Path), help=help_text)(command)


def _take_short(values: dict[str, Any], short: Mapping[str, str]) -> None:
    """Give the values of short options to the settings that they stand for.

    Raises:
        click.UsageError: the setting has a flag too.
    """
    for parameter, name in short.items():
        value = values.pop(parameter)
        if value is None or value == ():
            continue
        long = name.replace(".", _SEPARATOR)
        if values[long] is not None:
            option = "--" + parameter.partition("_path")[0].rstrip("_").replace("_", "-")
            raise click.UsageError(f"{option} and {all_names()[name].flag} are the same setting")
        values[long] = ",".join(value) if isinstance(value, tuple) else value


def load(config: Path | None, values: dict[str, Any]) -> Loaded:
    """Take the settings' flags out of `values`, and load.

    Raises:
        SettingsError: with one line for each mistake.
    """
    names = [name for name in values if name.replace(_SEPARATOR, ".") in all_names()]
    flags = {name.replace(_SEPARATOR, "."): values.pop(name) for name in names}
    return load_settings({name: value for name, value in flags.items() if value is not None}, config)
