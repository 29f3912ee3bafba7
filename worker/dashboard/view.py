"""What a reader looks at: a stretch of time and the filters on it, and how both are said in SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_BUCKETS = 120

OWN_FIELDS = {
    "sentiment": "sentiment",
    "emotion": "emotion",
    "toxic": "CASE WHEN toxic THEN 'yes' WHEN NOT toxic THEN 'no' END",
    "lang": "lang",
    "model": "model",
}
"""What every message can be filtered by, and its SQL, besides the fields that the sender gave."""

FIELD = "field."
"""What stands before the name of a sender's field, so that none is taken for one of ours."""

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)


@dataclass(frozen=True)
class View:
    """A stretch of time and the filters on it. Unix times in milliseconds.

    `to_ms` None means up to now, and live. `pick` is a shorter stretch in it, whose posts alone are counted
    and listed, while the lines go on showing the whole.
    """

    span_s: float
    to_ms: int | None = None
    filters: Mapping[str, str] = field(default_factory=dict)
    pick: tuple[int, int] | None = None

    def limits(self, now_ms: int) -> tuple[int, int]:
        """Its start and its end, which is not part of it."""
        end = now_ms + 1 if self.to_ms is None else self.to_ms
        return end - int(self.span_s * 1000), end

    @property
    def step_s(self) -> int:
        """The width of a bucket: see `step_for`."""
        return step_for(self.span_s)


def step_for(span_s: float) -> int:
    """The shortest round width of a bucket that gives at most `MOST_BUCKETS`. Seconds."""
    return next((step for step in _STEPS_S if span_s / step <= MOST_BUCKETS), _STEPS_S[-1])


def column(name: str, columns: Mapping[str, str]) -> str:
    """The column of a field; NULL for one that no post has. What a sender wrote is never part of a query."""
    return OWN_FIELDS.get(name) or columns.get(name.removeprefix(FIELD), "NULL")


def where(filters: Mapping[str, str], columns: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The filters as a condition that begins with AND, and its parameters."""
    text = "".join(f" AND ({column(name, columns)}) = $w{place}" for place, name in enumerate(filters))
    return text, {f"w{place}": value for place, value in enumerate(filters.values())}
