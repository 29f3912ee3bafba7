"""Behaviour cases: families of texts with the expected answers, one TOML file per family.

The method is CheckList (Ribeiro et al. 2020, "Beyond Accuracy", ACL): small families of texts, each about one
ability, with a rate that must be reached. `tests/behaviour/README.md` explains how they are written.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from worker.errors import CasesError

Check = Literal["label", "holds", "pair", "order", "swap", "same", "spans"]
"""The check that a case must pass:

- `label`: the head's strongest label is the expected one;
- `holds`: the expected label is among those that pass their thresholds;
- `pair`: each text of the case has its own label, and all must be right;
- `order`: the score of `up` minus that of `down` rises from text to text;
- `swap`: words put in the same place change no score of any head by more than `within` on average;
- `same`: texts with the same meaning keep their label, or, with `within`, all their scores;
- `spans`: the token head marks the words in brackets and no others.
"""

_NAMES = frozenset(
    {"family", "about", "check", "rate", "head", "cases", "fills", "labels", "up", "down", "within"}
)
_MARK = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `wanted` are the right labels (one per text for `pair`); `spans` are in code points."""

    texts: tuple[str, ...]
    wanted: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """Cases about one ability, and the share of them that must pass (`rate`, 0 to 1).

    `head` is None if all heads are checked; `within` is a difference of probabilities.
    """

    name: str
    about: str
    check: Check
    rate: float
    head: str | None
    cases: tuple[Case, ...]
    up: str = ""
    down: str = ""
    within: float | None = None

    @property
    def labels(self) -> frozenset[str]:
        """The labels that the head must have for this family."""
        named = {label for case in self.cases for label in case.wanted}
        return frozenset(named | {label for label in (self.up, self.down) if label})


def load_families(folder: Path) -> tuple[Family, ...]:
    """Read every `*.toml` file in `folder`, in the order of their names.

    Raises:
        CasesError: there is none, or one is malformed.
    """
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise CasesError(f"{folder} holds no behaviour cases: no *.toml file")
    families = tuple(load_family(path) for path in paths)
    names = [family.name for family in families]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CasesError(f"{folder}: two files are about the family {twice!r}")
    return families


def load_family(path: Path) -> Family:
    """Read one file.

    Raises:
        CasesError: it cannot be read, lacks an entry, or has an unknown one.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CasesError(f"{path} cannot be read: {error}") from error
    unknown = sorted(table.keys() - _NAMES)
    if unknown:
        raise CasesError(f"{path}: `{unknown[0]}` is not one of {', '.join(sorted(_NAMES))}")
    check, rate = _check(table.get("check"), path), table.get("rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise CasesError(f"{path}: `rate` must be a number from 0 to 1")
    try:
        cases = _READERS[check](table)
        family = Family(
            name=_text(table["family"]),
            about=_text(table["about"]),
            check=check,
            rate=float(rate),
            head=_text(table["head"]) if "head" in table else None,
            cases=cases,
            up=_text(table["up"]) if check == "order" else "",
            down=_text(table["down"]) if check == "order" else "",
            within=float(table["within"]) if "within" in table else None,
        )
    except KeyError as error:
        raise CasesError(f"{path}: {error.args[0]} is missing; `{check}` needs it") from None
    except (CasesError, TypeError, ValueError, AttributeError) as error:
        raise CasesError(f"{path}: {error}") from error
    _refuse_what_tests_nothing(family, path)
    return family


def _check(value: object, path: Path) -> Check:
    for check in _READERS:
        if value == check:
            return check
    raise CasesError(f"{path}: `check` {value!r} is not one of {', '.join(_READERS)}")


def _refuse_what_tests_nothing(family: Family, path: Path) -> None:
    if not family.cases:
        raise CasesError(f"{path} has no cases")
    if family.head is None and family.check not in {"swap", "same"}:
        raise CasesError(f"{path}: head is missing; `{family.check}` needs it")
    if family.check == "swap" and family.within is None:
        raise CasesError(f"{path}: within is missing; `swap` needs it")


def _by_label(table: Mapping[str, Any]) -> tuple[Case, ...]:
    """Read `cases` as a table from labels (or `this|that`) to texts."""
    return tuple(
        Case((_text(text),), tuple(label.split("|")))
        for label, texts in table["cases"].items()
        for text in _list(texts)
    )


def _pairs(table: Mapping[str, Any]) -> tuple[Case, ...]:
    labels = tuple(_text(label) for label in _list(table["labels"]))
    cases = _rows(table)
    if any(len(case.texts) != len(labels) for case in cases):
        raise ValueError(f"each case needs {len(labels)} texts, one for each label")
    return tuple(Case(case.texts, labels) for case in cases)


def _rows(table: Mapping[str, Any]) -> tuple[Case, ...]:
    cases = tuple(Case(tuple(_text(text) for text in _list(row))) for row in _list(table["cases"]))
    if any(len(case.texts) < 2 for case in cases):
        raise ValueError("each case needs at least two texts")
    return cases


def _swaps(table: Mapping[str, Any]) -> tuple[Case, ...]:
    fills = [_text(fill) for fill in _list(table["fills"])]
    templates = [_text(template) for template in _list(table["cases"])]
    if len(fills) < 2 or any("{}" not in template for template in templates):
        raise ValueError("at least two fills are needed, and a {} in each case")
    return tuple(Case(tuple(template.replace("{}", fill) for fill in fills)) for template in templates)


def _marked(table: Mapping[str, Any]) -> tuple[Case, ...]:
    return tuple(read_marked(_text(text)) for text in _list(table["cases"]))


def read_marked(marked: str) -> Case:
    """Read a text with insults in square brackets: the text without brackets, and the insults' positions."""
    spans = []
    for number, match in enumerate(_MARK.finditer(marked)):
        start = match.start() - 2 * number  # without the brackets before it
        spans.append((start, start + len(match[1])))
    return Case((_MARK.sub(r"\1", marked),), spans=tuple(spans))


_READERS: Mapping[Check, Callable[[Mapping[str, Any]], tuple[Case, ...]]] = {
    "label": _by_label,
    "holds": _by_label,
    "pair": _pairs,
    "order": _rows,
    "swap": _swaps,
    "same": _rows,
    "spans": _marked,
}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value
