"""All settings, read off the model: names, types, defaults. Flags, loader and reference use this list."""

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings.groups import Group
from worker.settings.model import Settings

PREFIX: str = Settings.model_config["env_prefix"]
DELIMITER: str = Settings.model_config["env_nested_delimiter"] or "__"


@dataclass(frozen=True)
class SettingField:
    """One setting. `kind` is its type in words, `choices` its allowed values where they can be counted."""

    group: str
    leaf: str
    description: str
    kind: str
    default: Any
    choices: tuple[str, ...]
    nullable: bool
    secret: bool

    @property
    def name(self) -> str:
        """The dotted name, as in TOML: `kafka.bootstrap_servers`."""
        return f"{self.group}.{self.leaf}"

    @property
    def flag(self) -> str:
        """The flag: `--kafka.bootstrap-servers`."""
        return f"--{self.group}.{self.leaf.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable: `MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS`."""
        return f"{PREFIX}{self.group.upper()}{DELIMITER}{self.leaf.upper()}"

    @property
    def default_text(self) -> str:
        """The default as one would write it in a variable; empty when there is none."""
        return render(self.default)


def render(value: object) -> str:
    """Write a value as one would in a variable; a secret as stars, nothing as an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(render(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{name}={render(item)}" for name, item in value.items())
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@cache
def groups() -> dict[str, type[Group]]:
    """All groups by their names, in order."""
    found: dict[str, type[Group]] = {}
    for name, info in Settings.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            found[name] = kind
    return found


@cache
def all_fields() -> dict[str, SettingField]:
    """All settings by their dotted names, in order."""
    found = [
        _setting(group, leaf, info)
        for group, cls in groups().items()
        for leaf, info in cls.model_fields.items()
    ]
    return {field.name: field for field in found}


def _setting(group: str, leaf: str, info: FieldInfo) -> SettingField:
    kind, nullable = _without_none(info.annotation)
    return SettingField(
        group=group,
        leaf=leaf,
        description=info.description or "",
        kind=_kind(kind, info),
        default=info.default,
        choices=_choices(kind),
        nullable=nullable,
        secret=kind is SecretStr,
    )


def _without_none(kind: Any) -> tuple[Any, bool]:
    nullable = False
    if get_origin(kind) in {Union, types.UnionType}:
        parts = [part for part in get_args(kind) if part is not type(None)]
        nullable = len(parts) < len(get_args(kind))
        kind = parts[0]
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind, nullable


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return tuple(get_args(kind))
    return ("true", "false") if kind is bool else ()


def _kind(kind: Any, info: FieldInfo) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    words = {
        bool: "`true` or `false`",
        int: "whole number",
        float: "number",
        SecretStr: "secret",
        str: "text",
    }
    text = words.get(kind) or {list: "list", dict: "table"}.get(get_origin(kind), "path")
    bounds = _bounds(info)
    return f"{text}, {bounds}" if bounds else text


def _bounds(info: FieldInfo) -> str:
    """The limits of a number in words. A length limit says no more than «not empty»: the error tells."""
    found: dict[str, Any] = {}
    for item in info.metadata:
        for name in ("ge", "gt", "le"):
            if getattr(item, name, None) is not None:
                found[name] = getattr(item, name)
    if "ge" in found and "le" in found:
        return f"{render(found['ge'])} to {render(found['le'])}"
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    return ", ".join(f"{words[name]} {render(value)}" for name, value in found.items())
