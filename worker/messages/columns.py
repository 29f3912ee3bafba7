"""Names of the output columns, which depend only on the heads of the pack, and which of them are written."""

import re
from collections.abc import Container, Iterable, Sequence
from typing import Literal, NamedTuple, Self

from worker.heads import Head, claim_name
from worker.messages.keep import KeptColumn, check_names, read_keep
from worker.settings.groups import SinkSettings

SCHEMA_VERSION = 1

FIXED = frozenset(
    {
        "event_id",
        "event_time_ms",
        "processed_time_ms",
        "token_count",
        "truncated",
        "supported",
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
"""The columns that are the same for every pack."""

_SUFFIXES = ("label", "score", "labels")


class TextColumns(NamedTuple):
    """Where the result of a head that judges whole texts goes: a column per label, and one per group."""

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
    """Where the ranges that a token head marks go, and the words that stand there."""

    head: str
    column: str
    words: str


HeadColumns = TextColumns | SpanColumn


class Layout(NamedTuple):
    """What the settings `sink.*` say about the columns.

    Fields:
        columns: `labels` leaves out the columns that hold one label's or one group's probability.
        keep: the sender's fields.
        offsets: the unit in which ranges count.
    """

    columns: Literal["all", "labels"] = "all"
    keep: tuple[KeptColumn, ...] = ()
    offsets: Literal["code_points", "utf16"] = "code_points"

    @classmethod
    def of(cls, sink: SinkSettings) -> Self:
        """Take the layout from the settings."""
        return cls(sink.columns, read_keep(sink.keep), sink.offsets)

    def of_heads(self, heads: Sequence[Head]) -> list[HeadColumns]:
        """Name the columns of the heads that are written.

        Raises:
            SettingsError: an entry of `sink.keep` takes the name of another column. The columns that
                `labels` leaves out count too, so that the setting can be changed at any time.
        """
        columns = head_columns(heads)
        check_names(self.keep, (*FIXED, *(name for one in columns for name in all_names(one))))
        if self.columns == "all":
            return columns
        return [
            one._replace(scores={}, groups={}) if isinstance(one, TextColumns) else one for one in columns
        ]


def all_names(columns: HeadColumns) -> tuple[str, ...]:
    """Return the names of all columns of a head."""
    if isinstance(columns, SpanColumn):
        return columns.column, columns.words
    own = (columns.label, columns.score, columns.passed, columns.group)
    return tuple(name for name in (*own, *columns.scores.values(), *columns.groups.values()) if name)


def head_columns(heads: Sequence[Head]) -> list[HeadColumns]:
    """Name all columns of the heads of a pack, in their order; all names are different.

    A head `mood` has `mood_label`, `mood_score`, `mood_labels` if any number of labels can pass, a column per
    label (`mood_<label>`, in lower case, `_` for what SQL would quote), and with groups `mood_group` and
    `mood_group_<group>`. A token head has a column with its name, and one for the words that it marks:
    `toxic_words` for `toxic_spans`. A label that would take the name of another column gets the suffix
    `_probability`; names that would be the same are numbered.
    """
    taken = set(FIXED)
    own = {head.name: _own_columns(head, taken) for head in heads}
    fixed = frozenset(taken)
    found: list[HeadColumns] = []
    for head in heads:
        if head.by_token:
            found.append(SpanColumn(head.name, own[head.name][0], ""))
            continue
        label, score, passed, group = own[head.name]
        group_columns = _columns(f"{head.name}_group", head.groups, fixed, taken)
        scores = _columns(head.name, head.labels, fixed, taken)
        found.append(TextColumns(head.name, label, score, passed, scores, group, group_columns))
    # Last, so that they change no other name.
    return [_with_words(one, taken) if isinstance(one, SpanColumn) else one for one in found]


def _with_words(column: SpanColumn, taken: set[str]) -> SpanColumn:
    return column._replace(words=claim_name(f"{column.head.removesuffix('_spans')}_words", taken))


def _own_columns(head: Head, taken: set[str]) -> tuple[str, ...]:
    """Name the columns that a head has besides one per label."""
    if head.by_token:
        return (claim_name(head.name if head.name not in taken else f"{head.name}_spans", taken),)
    columns = tuple(claim_name(f"{head.name}_{suffix}", taken) for suffix in _SUFFIXES)
    return (*columns, claim_name(f"{head.name}_group", taken) if head.groups else "")


def _columns(prefix: str, labels: Iterable[str], fixed: Container[str], taken: set[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"\W+", "_", label.strip().lower()).strip("_") or "label"
        name = f"{prefix}_{plain}"
        columns[label] = claim_name(f"{name}_probability" if name in fixed else name, taken)
    return columns
