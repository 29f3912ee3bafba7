"""Output messages and dead letters as the rows that the page keeps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from worker.messages.columns import FIXED, SCHEMA_VERSION
from worker.messages.headers import CONNECT_PREFIX, REASON
from worker.types import Record, safe_text

LONGEST_TEXT = 2_000
"""Characters of a post's text that are kept."""

MOST_FIELDS = 20
"""Fields of the sender that are kept of one message."""

_LONGEST_FIELD = 200
_LABEL, _SCORE = "_label", "_score"
_TOXICITY = frozenset({"toxic", "not_toxic"})
"""The labels of the toxicity head that ships. Another head of that name may have others."""
_SHOWN = frozenset({"sentiment", "emotion", "toxicity"})
"""The heads that the page shows in charts."""


class Unreadable(NamedTuple):
    """A record that is not an output message of a version that this page knows."""

    version: str


def read_post(record: Record) -> dict[str, Any] | Unreadable | None:
    """One labelled message as a row of `posts`. None for a tombstone.

    The columns of the heads are known by their names: a head `mood` has `mood_label` and `mood_score`. What
    is neither theirs nor one of ours is a field of the sender. The label of a head that the page has no place
    for, as another pack has it, is kept like such a field.
    """
    if record.value is None:
        return None
    try:
        body = orjson.loads(record.value)
        if body["schema_version"] != SCHEMA_VERSION:
            return Unreadable(safe_text(str(body["schema_version"])))
        return _row(record, body)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Unreadable("unknown")


def _row(record: Record, body: Mapping[str, Any]) -> dict[str, Any]:
    heads = {
        name.removesuffix(_LABEL)
        for name, value in body.items()
        if name.endswith(_LABEL) and isinstance(value, str) and f"{name.removesuffix(_LABEL)}{_SCORE}" in body
    }
    prefixes = tuple(f"{head}_" for head in heads)
    others = {head: body[f"{head}{_LABEL}"][:_LONGEST_FIELD] for head in sorted(heads - _SHOWN)}
    fields = others | {
        name[:_LONGEST_FIELD]: str(value)[:_LONGEST_FIELD]
        for name, value in body.items()
        if isinstance(value, str | int | float)
        and name not in FIXED
        and not name.startswith(prefixes or "\0")
    }
    text = body.get("text")
    words = _marked(text, body.get("toxic_spans")) if isinstance(text, str) else []
    positive, negative = body.get("sentiment_positive"), body.get("sentiment_negative")
    if body.get("supported") is False:  # its scores would pull every mean towards neutral
        positive = negative = None
    return {
        "event_id": str(body["event_id"]),
        "time_ms": int(body["event_time_ms"]),
        "sentiment": body.get("sentiment_label"),
        "mood": positive - negative if positive is not None and negative is not None else None,
        "emotion": body.get("emotion_label"),
        "toxicity": body.get("toxicity_toxic"),
        "toxic": _toxic(body),
        "model": str(body.get("model", "")),
        "lang": body.get("lang"),
        "text": text[:LONGEST_TEXT] if isinstance(text, str) else None,
        "marks": [[start, end] for start, end in words if end <= LONGEST_TEXT],
        "fields": dict(list(fields.items())[:MOST_FIELDS]),
        "written_ms": record.timestamp_ms,
    }


def _toxic(body: Mapping[str, Any]) -> bool | None:
    """Whether a message is called toxic, which its pack decides: that may begin below a score of 0.5."""
    label = body.get("toxicity_label")
    if not isinstance(label, str) or not (label in _TOXICITY or "toxicity_toxic" in body):
        return None
    return label == "toxic"


def _marked(text: str, spans: object) -> list[tuple[int, int]]:
    if not isinstance(spans, list):
        return []
    pairs = [(span[0], span[1]) for span in spans if isinstance(span, list) and len(span) == 2]
    return [(start, end) for start, end in pairs if 0 <= start < end <= len(text)]


def read_dead_letter(record: Record) -> dict[str, Any]:
    """One dead letter as a row of `dead_letters`, whoever wrote it. The original value is not kept."""
    headers = {name: value for name, value in record.headers if value is not None}

    def text(name: str) -> str:
        return safe_text(headers.get(name, b"").decode("utf-8", "replace"))

    return {
        "place": f"{record.topic}:{record.partition}:{record.offset}",
        "time_ms": record.timestamp_ms,
        "reason": text(REASON) or "unknown",
        "stage": text(f"{CONNECT_PREFIX}stage"),
        "message": text(f"{CONNECT_PREFIX}exception.message"),
    }
