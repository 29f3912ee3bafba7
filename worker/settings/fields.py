"""All settings, read off the model: names, types, defaults; and what a misspelt name probably means.

Flags, loader and reference use this list.
"""

import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings.base import Group
from worker.settings.groups import Settings

PREFIX: str = Settings.model_config["env_prefix"]
DELIMITER: str = Settings.model_config["env_nested_delimiter"] or "__"

_NAME_LIMIT = 100
"""Characters. Nothing longer is compared with the names of settings, which would take long."""


@dataclass(frozen=True)
class SettingField:
    """One setting.

    `kind` is its type in words, `choices` its allowed values where there are few. `file_of` is the dotted
    name of the secret that is read from the file, for a setting that is no part of the model.
    """

    group: str
    leaf: str
    description: str
    kind: str
    default: Any
    choices: tuple[str, ...]
    nullable: bool
    secret: bool
    file_of: str | None = None

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

    @property
    def from_file(self) -> "SettingField":
        """The setting that names a file to read this secret from."""
        words = f"File that holds `{self.name}`, in UTF-8; one line break at its end is dropped."
        return replace(
            self,
            leaf=f"{self.leaf}_file",
            description=words,
            kind="path",
            secret=False,
            file_of=self.name,
        )


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
    """All settings of the model by their dotted names, in order."""
    found = [
        _setting(group, leaf, info)
        for group, cls in groups().items()
        for leaf, info in cls.model_fields.items()
    ]
    return {field.name: field for field in found}


@cache
def all_names() -> dict[str, SettingField]:
    """Everything that can be written, by dotted names: all fields, and for each secret the file to read."""
    found: dict[str, SettingField] = {}
    for name, field in all_fields().items():
        found[name] = field
        if field.secret:
            found[field.from_file.name] = field.from_file
    return found


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
    if text == "list" and _without_none(get_args(kind)[0])[0] is Path:
        text = "list of paths"
    bounds = _bounds(info)
    return f"{text}, {bounds}" if bounds else text


def _bounds(info: FieldInfo) -> str:
    """The limits of a number in words. A length limit only means "not empty", and the error says so."""
    found: dict[str, Any] = {}
    for item in info.metadata:
        for name in ("ge", "gt", "le"):
            if getattr(item, name, None) is not None:
                found[name] = getattr(item, name)
    if "ge" in found and "le" in found:
        return f"{render(found['ge'])} to {render(found['le'])}"
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    return ", ".join(f"{words[name]} {render(value)}" for name, value in found.items())


def nearest(name: str) -> SettingField | None:
    """The setting that a wrong dotted name most probably means; None when nothing is near."""
    if len(name) > _NAME_LIMIT:
        return None
    wanted = name.lower().replace("-", "_")
    score, best = max((_likeness(wanted, field), field.name) for field in all_names().values())
    return all_names()[best] if score >= 0.6 else None


def _likeness(wanted: str, field: SettingField) -> float:
    """From 0 to 1. The last part alone counts too: people forget the group, or take the wrong one."""
    plain = re.sub(r"[._]+", "_", wanted)
    whole = _ratio(plain, f"{field.group}_{field.leaf}")
    leaf = _ratio(wanted.rsplit(".", 1)[-1], field.leaf)
    return max(whole, 0.95 * leaf)


def _ratio(left: str, right: str) -> float:
    return SequenceMatcher(a=left, b=right, autojunk=False).ratio()


def nearest_choice(word: str, choices: Sequence[str]) -> str | None:
    """The choice that a wrong word most probably means; None when nothing is near."""
    if len(word) > _NAME_LIMIT:
        return None
    wanted = word.lower()
    # A common beginning is a better guess than likeness: "SASL" is nearer to SASL_SSL than to SSL.
    starts = [choice for choice in choices if len(wanted) > 1 and choice.lower().startswith(wanted)]
    scored = [(_ratio(wanted, choice.lower()), choice) for choice in starts or choices]
    score, best = max(scored, default=(0.0, ""))
    return best if starts or score >= 0.6 else None
