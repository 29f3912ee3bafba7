"""Names of the output columns: they follow from the heads of the pack, and from nothing else."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class HeadLike(Protocol):
    """What a head must tell for its columns to be named."""

    @property
    def name(self) -> str:
        """Name of the head, such as `sentiment`."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Its labels in the order of the model's outputs."""
        ...

    @property
    def problem_type(self) -> str:
        """`single_label_`, `multi_label_` or `token_classification`, as transformers writes it."""
        ...


@runtime_checkable
class Grouped(HeadLike, Protocol):
    """A head that gathers its labels in groups."""

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The labels of each group; empty where there are none."""
        ...


MULTI_LABEL, TOKENS = "multi_label_classification", "token_classification"

FIXED = frozenset(
    {
        "event_id",
        "event_time_ms",
        "processed_time_ms",
        "token_count",
        "truncated",
        "lang",
        "model",
        "source_topic",
        "source_partition",
        "source_offset",
        "schema_version",
        "text",
        "text_omitted",
    }
)
"""The columns that no pack changes."""

_SUFFIXES = ("label", "score", "labels")


class TextColumns(NamedTuple):
    """Where the result of a head that judges whole texts goes: a column a label, and a column a group."""

    head: str
    label: str
    score: str
    passed: str
    """The labels that pass their thresholds."""
    scores: dict[str, str]
    group: str
    """The strongest group."""
    groups: dict[str, str]


class SpanColumn(NamedTuple):
    """Where the ranges that a token head marks go."""

    head: str
    column: str


def head_columns(heads: Sequence[HeadLike]) -> list[TextColumns | SpanColumn]:
    """Name all columns of the heads of a pack, in their order; no two are alike.

    A head `mood` has `mood_label`, `mood_score`, `mood_labels` where any number of labels can pass, a column
    a label, and with groups `mood_group` and `mood_group_<group>`. A token head has one column of its name.
    """
    taken = set(FIXED)
    own = {head.name: _own_columns(head, taken) for head in heads}
    fixed = frozenset(taken)
    found: list[TextColumns | SpanColumn] = []
    for head in heads:
        if head.problem_type == TOKENS:
            found.append(SpanColumn(head.name, own[head.name][0]))
            continue
        label, score, passed, group = own[head.name]
        groups = head.groups if isinstance(head, Grouped) else {}
        group_columns = _columns(f"{head.name}_group", groups, fixed, taken)
        scores = _columns(head.name, head.labels, fixed, taken)
        found.append(TextColumns(head.name, label, score, passed, scores, group, group_columns))
    return found


def label_columns(head: str, labels: Sequence[str]) -> dict[str, str]:
    """Name the numeric column of each label: `<head>_<label>`, in lower case, `_` for what SQL would quote.

    A label that would take the name of another column of the head gets `_probability` behind it; labels
    that come out alike are numbered.
    """
    own = frozenset(f"{head}_{suffix}" for suffix in _SUFFIXES)
    return _columns(head, labels, own, set(own))


def _own_columns(head: HeadLike, taken: set[str]) -> tuple[str, ...]:
    """Name what a head has besides a column a label."""
    if head.problem_type == TOKENS:
        return (_claim(head.name if head.name not in taken else f"{head.name}_spans", taken),)
    columns = tuple(_claim(f"{head.name}_{suffix}", taken) for suffix in _SUFFIXES)
    grouped = isinstance(head, Grouped) and bool(head.groups)
    return (*columns, _claim(f"{head.name}_group", taken) if grouped else "")


def _columns(prefix: str, labels: Iterable[str], fixed: Container[str], taken: set[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"\W+", "_", label.strip().lower()).strip("_") or "label"
        name = f"{prefix}_{plain}"
        columns[label] = _claim(f"{name}_probability" if name in fixed else name, taken)
    return columns


def _claim(name: str, taken: set[str]) -> str:
    """Take a name, with a number behind it where it is taken already."""
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    taken.add(unique)
    return unique
