"""From flags, environment, TOML and `.env` to valid settings, with the origin of every value.

The sources are pydantic-settings' own. What is added here: a name that is not a setting is a mistake, a
secret may come from a file, and all mistakes are reported at once.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from worker.errors import SettingsError, printable
from worker.settings.base import CONFLICT, Conflict, WrongValue
from worker.settings.fields import DELIMITER, PREFIX, SettingField, all_fields, all_names, groups
from worker.settings.groups import Settings
from worker.settings.mistakes import Given, Mistakes, unknown_name
from worker.settings.values import check_file, expand_path

DEFAULT_ORIGIN = "default"

RESERVED: dict[str, str] = {
    "MOODSTREAM_DATA": "folder of the training data, for `make pack`",
    "MOODSTREAM_KAFKA_LIBS": "folder of the Apache Kafka that the tests start",
    "MOODSTREAM_REQUIRE_KAFKA": "a test run without a real Apache Kafka fails instead of skipping",
}
"""Variables with our prefix that are not settings, and what they are."""

_FILE_LIMIT = 1024 * 1024
"""Bytes. No file of settings is larger; `/dev/zero` is."""

# Kubernetes and old Docker links set these for a service or container called `moodstream…`.
_SERVICE_LINK = re.compile(
    r"(?:[A-Z0-9]+_)*(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_[A-Z]+(?:_(?:PROTO|PORT|ADDR))?)?)"
)


class Loaded(NamedTuple):
    """Settings, and for each dotted name where its value came from.

    `secrets` are all that were given anywhere, in plain text, so that they can be kept out of sight.
    """

    settings: Settings
    origins: dict[str, str]
    secrets: frozenset[str] = frozenset()


def load_settings(
    flags: Mapping[str, str] | None = None,
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
) -> Loaded:
    """Read the settings: flags win over the environment, then the TOML file, then `.env`, then defaults.

    `flags` maps dotted names or flags to texts. `env` is the process's environment when None. A `.env` that
    does not exist is not a mistake; a `config` that does not exist is one.

    Raises:
        SettingsError: with one line for each mistake found.
    """
    environment = os.environ if env is None else env
    places = [
        _read_flags(flags or {}),
        _read_variables(_Environment(environment), "environment"),
        _read_toml(config),
        _read_dotenv(dotenv),
    ]
    lines = [line for _, mistakes in places for line in mistakes]
    given: dict[str, Given] = {}
    for values, _ in reversed(places):
        lines += _merge(given, values)
    unread, mistakes = _read_secret_files(given)
    everywhere = [*(values for values, _ in places), given]
    secrets = frozenset(
        str(values[name].value)
        for values in everywhere
        for name, field in all_fields().items()
        if field.secret and name in values and values[name].value != ""
    )
    settings, more = _check(given, unread, secrets)
    if settings is None or lines or mistakes:
        raise SettingsError([*lines, *mistakes, *more])
    origins = {name: given[name].origin if name in given else DEFAULT_ORIGIN for name in all_fields()}
    return Loaded(settings, origins, secrets)


Place = tuple[dict[str, Given], list[str]]
"""What a source says, by dotted names, and one line for each mistake."""


class _Environment(EnvSettingsSource):
    """Variables of any mapping. `written` has their names as they were written."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.written = {name.lower(): name for name in env}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._env.items()}


class _DotEnv(DotEnvSettingsSource):
    """A `.env` file, taken literally: `$` has no meaning. `written` as above."""

    def __init__(self, path: Path) -> None:
        self.written: dict[str, str] = {}
        self.unreadable: list[int] = []
        """Lines that mean one of our settings and cannot be read."""
        super().__init__(Settings, env_file=path)

    def _read_env_file(self, file_path: Path) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {}
        for binding in parse_stream(StringIO(_read_text(file_path))):
            if binding.error and PREFIX in binding.original.string.upper():
                blank = len(binding.original.string) - len(binding.original.string.lstrip())
                before = binding.original.string[:blank].count("\n")
                self.unreadable.append(binding.original.line + before)
            if binding.key is not None and binding.value is not None:
                self.written[binding.key.lower()] = binding.key
                found[binding.key.lower()] = binding.value
        return found


class _Toml(TomlConfigSettingsSource):
    """A TOML file, which may be a pipe, and may begin with a byte order mark."""

    def _read_files(self, files: Any, deep_merge: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the signature is pydantic-settings'
        document = tomllib.loads(_read_text(files))
        if _has_huge_number(document):
            raise ValueError
        return document


def _has_huge_number(value: object) -> bool:
    """Whether TOML does not have such a number. tomllib takes any that is written in hexadecimal."""
    if isinstance(value, (list, dict)):
        return any(map(_has_huge_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and value.bit_length() > 64


class _TooLarge(OSError):
    strerror = f"it is larger than {_FILE_LIMIT} bytes"


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_FILE_LIMIT + 1)
    if len(content) > _FILE_LIMIT:
        raise _TooLarge
    return content.decode("utf-8-sig")


def _ask(source: PydanticBaseSettingsSource, origin: Callable[[SettingField], str]) -> dict[str, Given]:
    """What a source says of the settings."""
    values = source()
    found: dict[str, Given] = {}
    for name, field in all_names().items():
        group = values.get(field.group)
        if isinstance(group, dict) and field.leaf in group:
            found[name] = Given(group[field.leaf], origin(field))
    return found


def _read_flags(flags: Mapping[str, str]) -> Place:
    """Read `kafka.client_id` or `--kafka.client-id` with their values."""
    nested: dict[str, Any] = {}
    mistakes: list[str] = []
    for flag, value in flags.items():
        name = flag.lstrip("-").replace("-", "_")
        if name in all_names():
            field = all_names()[name]
            nested.setdefault(field.group, {})[field.leaf] = value
        else:
            mistakes.append(unknown_name(f"--{flag.lstrip('-')}", name, lambda near: near.flag))
    return _ask(InitSettingsSource(Settings, nested), lambda field: f"flag {field.flag}"), mistakes


def _read_variables(source: _Environment | _DotEnv, place: str) -> Place:
    """Read the variables that begin with MOODSTREAM_."""
    mistakes: list[str] = []
    known = {field.variable for field in all_names().values()}
    for lower, variable in sorted(source.written.items(), key=lambda item: item[1]):
        name = variable.upper()
        if not name.startswith(PREFIX) or name in known or _is_foreign(name, source.env_vars[lower] or ""):
            continue
        dotted = name.removeprefix(PREFIX).replace(DELIMITER, ".").lower()
        mistakes.append(unknown_name(f"{place} {variable}", dotted, lambda near: near.variable))
    return _ask(source, lambda field: f"{place} {source.written[field.variable.lower()]}"), mistakes


def _is_foreign(variable: str, value: str) -> bool:
    """Whether a variable with our prefix belongs to somebody else."""
    if variable in RESERVED:
        return True
    rest = variable.removeprefix(PREFIX)
    if DELIMITER in rest or _SERVICE_LINK.fullmatch(rest) is None:
        return False
    # MOODSTREAM_PORT=9464 is a person's slip; Kubernetes would write tcp://10.0.0.7:9464.
    return not rest.endswith("PORT") or "SERVICE_PORT" in rest or "://" in value or "_TCP" in rest


def _read_dotenv(path: Path | None) -> Place:
    """Read a `.env` file, if there is one. Other programs' variables are passed over."""
    try:
        if path is None or not path.exists():
            return {}, []
        source = _DotEnv(path)
    except (OSError, ValueError) as error:
        return {}, [printable(f"{path}: {_why_unreadable(error)}")]
    given, mistakes = _read_variables(source, str(path))
    mistakes += [
        printable(f"{path}: line {line} cannot be read; write NAME=value") for line in source.unreadable
    ]
    # One file, one origin: the name of the variable follows from that of the setting.
    return {name: Given(value, str(path)) for name, (value, _) in given.items()}, mistakes


def _read_toml(path: Path | None) -> Place:
    """Read a TOML file with a table for each group."""
    if path is None:
        return {}, []
    try:
        source = _Toml(Settings, toml_file=path)
        given = _ask(source, lambda _: str(path))
    except (OSError, ValueError, RuntimeError) as error:
        return {}, [printable(f"{path}: {_why_unreadable(error)}")]
    names: list[str] = []
    for group, value in source.toml_data.items():
        if isinstance(value, dict) and (value or group in groups()):
            names += [f"{group}.{leaf}" for leaf in value]
        else:
            names.append(group)
    unknown = [name for name in names if name not in all_names()]
    return given, [unknown_name(f"{path}: {name}", name, lambda near: near.name) for name in unknown]


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"is not TOML: {error}"
    # Too large for Python: the digits of a number, and calls within calls.
    return "holds a number with too many digits, or is nested too deeply"


def _merge(given: dict[str, Given], values: Mapping[str, Given]) -> list[str]:
    """Lay a source over those behind it. A secret and its file replace one another."""
    mistakes = []
    for name, field in all_names().items():
        if name in values and field.file_of is not None:
            given.pop(field.file_of, None)
            if field.file_of in values:
                origin = values[name].origin
                mistakes.append(printable(f"{name} ({origin}): {field.file_of} is given there too; drop one"))
        elif name in values and field.secret:
            given.pop(field.from_file.name, None)
    given.update(values)
    return mistakes


def _read_secret_files(given: dict[str, Given]) -> tuple[set[str], list[str]]:
    """Put the content of the files in place of their names; the secrets that could not be read, and why."""
    unread: set[str] = set()
    lines: list[str] = []
    for name, field in all_names().items():
        if field.file_of is None or name not in given or given[name].value == "":
            continue
        try:
            given[field.file_of] = Given(_read_secret(given[name].value), given[name].origin)
        except WrongValue as error:
            unread.add(field.file_of)
            lines.append(Mistakes(given, ()).wrong_file(field, str(error)))
    return unread, lines


def _read_secret(path: object) -> str:
    if not isinstance(path, str):
        raise WrongValue("is not a path")
    try:
        text = _read_text(check_file(Path(str(expand_path(path)))))
    except UnicodeDecodeError:
        raise WrongValue("is not UTF-8") from None
    except OSError as error:
        raise WrongValue(f"cannot be read: {error.strerror}") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise WrongValue("is empty")
    return secret


def _check(
    given: Mapping[str, Given], unread: set[str], secrets: frozenset[str]
) -> tuple[Settings | None, list[str]]:
    """Validate, and again without what is wrong, so that no mistake hides another.

    `unread` are settings whose values could not be read: they cause no second mistake.
    """
    write = Mistakes(given, secrets)
    values = _nested(given)
    bad = set(unread)
    lines: list[tuple[str, str]] = []
    order = [*groups(), ""]
    while True:
        try:
            settings = Settings.model_validate(values)
        except ValidationError as error:
            details = error.errors(include_url=False)
        else:
            lines.sort(key=lambda line: order.index(line[0]))
            return (settings if not lines and not unread else None), [line for _, line in lines]
        faulty = [
            (str(d["loc"][0]), f"{d['loc'][0]}.{d['loc'][1]}", d) for d in details if d["type"] != CONFLICT
        ]
        lines += [(group, write.wrong_value(name, detail)) for group, name, detail in faulty]
        bad.update(name for _, name, _ in faulty)
        for detail in details:
            if detail["type"] == CONFLICT:
                group = str(detail["loc"][0]) if detail["loc"] else ""
                lines += [
                    (group, write.conflict(conflict))
                    for conflict in detail["ctx"]["conflicts"]
                    if not _hangs_on(conflict, bad, whole_groups=not group)
                ]
                if not group:
                    values = {}
                bad.update(name for name in all_fields() if name.startswith(f"{group}."))
        for name in bad:
            group, _, leaf = name.partition(".")
            values.get(group, {}).pop(leaf, None)


def _hangs_on(conflict: Conflict, bad: set[str], *, whole_groups: bool) -> bool:
    """Whether a conflict may be gone once what is `bad` is mended."""
    if whole_groups:
        groups_of = {name.partition(".")[0] for name in bad}
        return any(name.partition(".")[0] in groups_of for name in conflict.settings)
    return not bad.isdisjoint(conflict.settings)


def _nested(given: Mapping[str, Given]) -> dict[str, dict[str, Any]]:
    """Values by group and leaf. Empty text means none where that is allowed: a shell has no other way."""
    nested: dict[str, dict[str, Any]] = {}
    for name, field in all_fields().items():
        if name in given:
            value = given[name].value
            nested.setdefault(field.group, {})[field.leaf] = None if value == "" and field.nullable else value
    return nested
