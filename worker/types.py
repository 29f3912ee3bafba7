"""The small value types that the packages exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from worker.errors import printable

Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka record headers in their order; a name may occur more than once."""

Range = tuple[int, int]
"""Start and end of a range of characters (Unicode code points) of a text, half-open."""

Stage = Literal["decode", "classify", "encode", "write"]
"""Where a message failed."""


LongText = Literal["truncate", "head_tail", "windows"]
"""What is read of a text that is longer than the model reads at once: its beginning, its beginning and its
end, or all of it, up to a limit."""

PUBLIC = "moodstream"
"""The module that exports the classes of results. Pickles name them by it, which works whatever else has the
name `worker`."""

NO_TIME = -1
"""The timestamp of a record that has none, as Kafka writes it."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as stored in Kafka: raw bytes. `timestamp_ms` is Unix time, or `NO_TIME`.

    `unreadable` says why the record could not be parsed; `value` then holds its bytes as they lie in the log.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    unreadable: str | None = None

    @property
    def topic_partition(self) -> TopicPartition:
        """The record's partition."""
        return TopicPartition(self.topic, self.partition)

    @property
    def size(self) -> int:
        """Bytes of key and value, the part that grows with the message."""
        return len(self.key or b"") + len(self.value or b"")


Scalar = str | int | float | bool | None
"""A value of the sender that the output keeps."""

ColumnKind = Literal["string", "long", "double", "boolean", "strings", "ranges"]
"""What a column of the output holds. `strings` are lists, `ranges` are lists of pairs of whole numbers."""

_NOTHING_KEPT: Mapping[str, Scalar] = {}


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message: the text to label and what identifies it.

    `event_time_ms` is Unix time as the sender gave it, however odd; `NO_TIME` if there is none. `kept` holds
    the sender's fields by the names of their columns.
    """

    text: str
    event_id: str
    event_time_ms: int
    lang: str | None = None
    kept: Mapping[str, Scalar] = field(default_factory=lambda: _NOTHING_KEPT)


@dataclass(frozen=True, slots=True)
class Filtered:
    """A message that nobody wants labelled: it gets no output, and its offset is committed."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record with a null value: it marks its key as deleted, and is passed through unchanged."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one message got no labels.

    `reason` is a short stable code for metrics (`not_json`, `text_missing`, …), `message` one line for a
    person; neither contains anything of the message's content. All three texts are made safe (see
    `safe_text`), so that any failure can go into headers and log lines.
    """

    __module__ = PUBLIC

    stage: Stage
    reason: str
    message: str
    exception: str
    """The Python class name that the dead letter reports, such as `worker.errors.NotJson`."""

    def __post_init__(self) -> None:
        for name in ("reason", "message", "exception"):
            object.__setattr__(self, name, safe_text(getattr(self, name)))

    @classmethod
    def of(cls, stage: Stage, reason: str, error: Exception) -> "Failure":
        """Make the failure for an exception, whose text becomes the message."""
        return cls(stage, reason, str(error), f"{type(error).__module__}.{type(error).__qualname__}")


LONGEST_MESSAGE = 500
"""Characters of the longest text that `safe_text` returns."""


def safe_text(text: str) -> str:
    """Make a text safe for headers, logs and terminals: one line of printable Unicode, not too long.

    Control characters, line ends and halves of surrogate pairs are written as Python escapes.
    """
    if len(text) > LONGEST_MESSAGE:
        text = text[: LONGEST_MESSAGE - 1] + "…"
    text = printable(text)
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A message that was given up: Kafka accepts neither an output nor a dead letter for it."""


@dataclass(frozen=True, slots=True)
class HeadResult:
    """The result of one classification head for one text.

    `label` is the strongest label, `score` its probability, `scores` every label's probability (0 to 1) in
    the order of the pack. Where a pack makes the labels of a multi-label head comparable, the strongest one
    need not have the largest score: see `worker.model.heads.strengths`. `labels` is None for a single-label
    head; for a multi-label head it holds the labels that pass their thresholds, strongest first (it may be
    empty). `groups` holds the scores of the head's groups of labels, in the order of the pack, and `group`
    the first with the strongest label (of those that are in a group); both are None where it has none.
    """

    __module__ = PUBLIC

    label: str
    score: float
    scores: dict[str, float]
    labels: tuple[str, ...] | None = None
    groups: dict[str, float] | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class SpanResult:
    """The result of one token head for one text: the ranges that it marks, in order, no two of them touching.

    `read` says whether the head was asked at all: it is not for ordinary texts (see `worker.heads.Marks`).
    """

    __module__ = PUBLIC

    ranges: tuple[Range, ...] = ()
    read: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """All heads' results for one text: `heads` for the whole text, `spans` for places in it.

    `token_count` counts the tokens of the text that the model read, each once, and the special ones.
    `truncated` says that others were left out. `lang` is the text's language (BCP 47), `und` where it was
    looked for in vain, None where nobody looked. `supported` is False if the text is known to be in a
    language that the model does not read: the results then mean little.
    """

    __module__ = PUBLIC

    heads: dict[str, HeadResult]
    token_count: int
    truncated: bool
    spans: dict[str, SpanResult] = field(default_factory=dict)
    lang: str | None = None
    supported: bool = True


Answer = Prediction | Tombstone | Failure | Skipped | Filtered
"""What became of one record."""


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One record to write."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None
