"""Comparing two packs message by message: different labels, scores and marks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.types import Failure, HeadResult, Prediction

Answer = Prediction | Failure
Pair = tuple[str, Answer, Answer]
"""A text, and the two packs' answers."""


@dataclass(frozen=True, slots=True)
class Change:
    """One head's answer to one message that has changed.

    `moved` is the largest change of a label's score (0 to 1); for marks it is the share of the marked
    characters that only one of the packs marks.
    """

    row: int
    text: str
    head: str
    before: str
    after: str
    moved: float


@dataclass(slots=True)
class HeadChanges:
    """One head over all messages."""

    rows: int = 0
    moved: float = 0.0
    """The largest change of a label's score, summed over the rows."""
    most: float = 0.0
    changes: list[Change] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The largest change of a label's score, averaged over the rows."""
        return self.moved / self.rows if self.rows else 0.0


@dataclass(slots=True)
class Comparison:
    """Two packs over the same messages."""

    rows: int = 0
    changed: int = 0
    """Messages with a different answer of at least one head."""
    failures: list[str] = field(default_factory=list)
    """Messages that at least one of the packs could not label."""
    heads: dict[str, HeadChanges] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "rows": self.rows,
            "changed": self.changed,
            "failures": self.failures,
            "heads": {
                name: {
                    "rows": head.rows,
                    "changed": len(head.changes),
                    "moved_mean": head.mean,
                    "moved_most": head.most,
                    "changes": [
                        {"row": c.row, "text": c.text, "before": c.before, "after": c.after, "moved": c.moved}
                        for c in head.changes
                    ],
                }
                for name, head in self.heads.items()
            },
        }


def compare(pairs: Iterable[Pair], heads: Sequence[str]) -> Comparison:
    """Compare two packs' answers, by the `heads` that both have."""
    found = Comparison(heads={name: HeadChanges() for name in heads})
    for row, (text, before, after) in enumerate(pairs):
        found.rows += 1
        broken = next((answer for answer in (before, after) if isinstance(answer, Failure)), None)
        if isinstance(before, Failure) or isinstance(after, Failure):
            found.failures.append(f"row {row}: {broken.message if broken else ''}")
            continue
        differ = [_note(found.heads[name], name, (row, text), before, after) for name in heads]
        found.changed += any(differ)
    return found


def _note(
    head: HeadChanges, name: str, message: tuple[int, str], before: Prediction, after: Prediction
) -> bool:
    """Note one head's two answers to one message (its row and text); return whether they differ."""
    row, text = message
    if name in before.spans:
        said, says, moved = _marks(text, before, after, name)
    else:
        said, says, moved = _labels(before.heads[name], after.heads[name])
    head.rows += 1
    head.moved += moved
    head.most = max(head.most, moved)
    if said != says:
        head.changes.append(Change(row, text, name, said, says, moved))
    return said != says


def _labels(before: HeadResult, after: HeadResult) -> tuple[str, str, float]:
    """Return both answers as text, and the largest change of a label's score.

    A label that only one of the packs knows counts as 0 in the other.
    """
    names = before.scores.keys() | after.scores.keys()
    moved = max(abs(before.scores.get(name, 0.0) - after.scores.get(name, 0.0)) for name in names)
    return _said(before), _said(after), moved


def _said(answer: HeadResult) -> str:
    """Return the strongest label, and behind it the labels that pass if there may be several."""
    if answer.labels is None:
        return answer.label
    return f"{answer.label} ({', '.join(sorted(answer.labels)) or 'none passes'})"


def _marks(text: str, before: Prediction, after: Prediction, name: str) -> tuple[str, str, float]:
    """Return both packs' marks as text, and the share of marked characters that only one of them marks."""
    ranges = [answer.spans[name].ranges for answer in (before, after)]
    places = [{place for start, end in marks for place in range(start, end)} for marks in ranges]
    either = places[0] | places[1]
    moved = len(places[0] ^ places[1]) / len(either) if either else 0.0
    said, says = (
        ", ".join(f"{text[start:end]!r} ({start} to {end})" for start, end in marks) for marks in ranges
    )
    return said, says, moved
