"""From the layers to valid settings, with the origin of every value and every mistake in one go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from worker.errors import SettingsError
from worker.settings.checks import CONFLICT, Conflict
from worker.settings.fields import all_fields, groups
from worker.settings.groups import Group
from worker.settings.layers import Given, read_dotenv, read_environment, read_flags, read_toml
from worker.settings.mistakes import describe
from worker.settings.model import Settings

DEFAULT_ORIGIN = "default"


class Loaded(NamedTuple):
    """Settings, and for each dotted name where its value came from."""

    settings: Settings
    origins: dict[str, str]


def load_settings(
    flags: Mapping[str, str] | None = None,
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
) -> Loaded:
    """Read the settings: flags win over the environment, then the TOML file, then `.env`, then defaults.

    `flags` maps dotted names or flags to texts. `env` is the process's environment when None. A `.env`
    that is not there is no mistake; a `config` that is not there is one.

    Raises:
        SettingsError: with one line for each mistake found.
    """
    layers = [read_dotenv(dotenv), read_toml(config), read_environment(env), read_flags(flags or {})]
    lines = [line for _, mistakes in reversed(layers) for line in mistakes]
    given: dict[str, Given] = {}
    for layer, _ in layers:
        given.update({item.name: item for item in layer})
    settings, wrong = _validate(given)
    if lines or settings is None:
        raise SettingsError([*lines, *wrong])
    origins = {name: given[name].origin if name in given else DEFAULT_ORIGIN for name in all_fields()}
    return Loaded(settings, origins)


def _validate(given: Mapping[str, Given]) -> tuple[Settings | None, list[str]]:
    """Check each group by itself, so that a mistake in one hides none in another; then all together."""
    built: dict[str, Group] = {}
    lines: list[str] = []
    for group, cls in groups().items():
        values = {name: item for name, item in given.items() if name.startswith(f"{group}.")}
        result, mistakes = _validate_group(group, cls, values)
        lines += mistakes
        if result is not None:
            built[group] = result
    # A group that is wrong stands aside with its defaults, so that what the others get wrong together shows.
    try:
        settings = Settings.model_validate(built)
    except ValidationError as error:
        wrong = groups().keys() - built.keys()
        for conflict in _conflicts(error):
            if not wrong.intersection(name.split(".")[0] for name in conflict.settings):
                lines.append(_conflict_line(conflict, given))
        return None, lines
    return (None, lines) if lines else (settings, [])


def _validate_group(
    group: str, cls: type[Group], given: Mapping[str, Given]
) -> tuple[Group | None, list[str]]:
    lines: list[str] = []
    try:
        return cls.model_validate(_values(given)), []
    except ValidationError as error:
        conflicts = _conflicts(error)
        faulty: set[str] = set()
        for detail in error.errors(include_url=False):
            if detail["type"] != CONFLICT:
                name = f"{group}.{detail['loc'][0]}"
                faulty.add(name)
                lines.append(_line(name, describe(detail, all_fields()[name]), given))
    if faulty:
        # What does not fit together shows only once every value is one: look again without the faulty.
        sound = {name: item for name, item in given.items() if name not in faulty}
        try:
            cls.model_validate(_values(sound))
        except ValidationError as error:
            conflicts = [c for c in _conflicts(error) if not faulty.intersection(c.settings)]
    return None, lines + [_conflict_line(conflict, given) for conflict in conflicts]


def _values(given: Mapping[str, Given]) -> dict[str, Any]:
    """Leaf names and values. An empty text means «none» where that is allowed: a shell has no other way."""
    fields = all_fields()
    return {
        fields[name].leaf: None if item.value == "" and fields[name].nullable else item.value
        for name, item in given.items()
    }


def _conflicts(error: ValidationError) -> list[Conflict]:
    found: list[Conflict] = []
    for detail in error.errors(include_url=False):
        if detail["type"] == CONFLICT:
            found += detail["ctx"]["conflicts"]
    return found


def _conflict_line(conflict: Conflict, given: Mapping[str, Given]) -> str:
    return _line(conflict.settings[0], conflict.message, given)


def _line(name: str, message: str, given: Mapping[str, Given]) -> str:
    origin = f" ({given[name].origin})" if name in given else ""
    return f"{name}{origin}: {message}"
