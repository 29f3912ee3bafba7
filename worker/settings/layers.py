"""The places that values come from, each read into a list of what it says. Only names are checked here."""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_settings import DotEnvSettingsSource

from worker.settings.fields import PREFIX, SettingField, all_fields, groups
from worker.settings.model import Settings
from worker.settings.names import from_flag, from_variable, group_hint, is_foreign, nearest


class Given(NamedTuple):
    """One value: the dotted name, what was written, and where, in words that a person can follow."""

    name: str
    value: Any
    origin: str


Layer = tuple[list[Given], list[str]]
"""What a place says, and one line a mistake."""


def read_flags(flags: Mapping[str, str]) -> Layer:
    """Read `kafka.client_id` or `--kafka.client-id` with their values."""
    given: list[Given] = []
    mistakes: list[str] = []
    for flag, value in flags.items():
        name = from_flag(flag)
        field = all_fields().get(name)
        if field is None:
            mistakes.append(_unknown(f"--{flag.lstrip('-')}", name, lambda near: near.flag))
        else:
            given.append(Given(name, value, f"flag {field.flag}"))
    return given, mistakes


def read_environment(env: Mapping[str, str] | None) -> Layer:
    """Read the variables that begin with MOODSTREAM_, the process's own when `env` is None."""
    return _variables(os.environ if env is None else env, "environment")


def read_dotenv(path: Path | None) -> Layer:
    """Read a `.env` file; without one there is nothing to say. Other programs' variables are passed over."""
    if path is None or not path.exists():
        return [], []
    try:
        variables = DotEnvSettingsSource(Settings, env_file=path, case_sensitive=True).env_vars
    except OSError as error:
        return [], [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return [], [f"{path}: is not UTF-8"]
    present = {name: value for name, value in variables.items() if value is not None}
    given, mistakes = _variables(present, str(path))
    # One file, one origin: the name of the variable follows from that of the setting.
    return [Given(name, value, str(path)) for name, value, _ in given], mistakes


def read_toml(path: Path | None) -> Layer:
    """Read a TOML file with a table a group."""
    if path is None:
        return [], []
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return [], [f"{path}: no such file"]
    except OSError as error:
        return [], [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return [], [f"{path}: is not UTF-8"]
    except tomllib.TOMLDecodeError as error:
        return [], [f"{path}: is no TOML: {error}"]
    given: list[Given] = []
    mistakes: list[str] = []
    for name, value in _flatten(document):
        if name in all_fields():
            given.append(Given(name, value, str(path)))
        else:
            mistakes.append(_unknown(f"{path}: {name}", name, lambda near: near.name))
    return given, mistakes


def _flatten(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if key in groups() and isinstance(value, dict):
            for leaf, item in value.items():
                yield f"{key}.{leaf}", item
        elif isinstance(value, dict) and value:
            for leaf in value:
                yield f"{key}.{leaf}", None
        else:
            yield key, value


def _variables(variables: Mapping[str, str], place: str) -> Layer:
    given: list[Given] = []
    mistakes: list[str] = []
    for variable in sorted(variables):
        value = variables[variable]
        if not variable.upper().startswith(PREFIX) or is_foreign(variable, value):
            continue
        name = from_variable(variable)
        if name in all_fields():
            given.append(Given(name, value, f"{place} {variable}"))
        else:
            mistakes.append(_unknown(f"{place} {variable}", name, lambda near: near.variable))
    return given, mistakes


def _unknown(written: str, name: str, spell: Callable[[SettingField], str]) -> str:
    hint = group_hint(name)
    if hint:
        return f"{written}: {hint}"
    near = nearest(name)
    if near is None:
        return f"{written}: no such setting; `moodstream config reference` lists them"
    return f"{written}: no such setting; did you mean {spell(near)}?"
