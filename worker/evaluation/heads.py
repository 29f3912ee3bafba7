"""What a configuration says of its heads, whatever their names are: a pack's and a checkpoint's alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.training.errors import TrainingError

SINGLE, MULTI, TOKEN = "single_label_classification", "multi_label_classification", "token_classification"


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """One head: its labels, and what turns its logits into answers."""

    name: str
    problem_type: str
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    """One a label for a head of many labels, one for a token head, none for a head of one label."""
    temperature: float = 1.0
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    gate: Mapping[str, Any] | None = None

    @property
    def multi_label(self) -> bool:
        """Any number of labels, each with a probability of its own."""
        return self.problem_type != SINGLE

    @property
    def by_token(self) -> bool:
        """It judges every token instead of the whole text."""
        return self.problem_type == TOKEN


def read_heads(config: Mapping[str, Any], where: str) -> dict[str, HeadInfo]:
    """Return the heads of a `config.json` by name. Raises TrainingError: one line with `where`."""
    table = config.get("heads")
    if not isinstance(table, Mapping) or not table:
        raise TrainingError(f"{where} names no heads")
    try:
        return {name: _head(name, entry) for name, entry in table.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{where}: its heads cannot be read: {error!r}") from error


def _head(name: str, entry: Mapping[str, Any]) -> HeadInfo:
    kind, labels = entry["problem_type"], tuple(entry["id2label"].values())
    thresholds: tuple[float, ...] = ()
    if kind == MULTI:
        thresholds = tuple(map(float, entry.get("thresholds") or (0.5,) * len(labels)))
    elif kind == TOKEN:
        thresholds = (float(entry.get("threshold", 0.5)),)
    elif kind != SINGLE:
        raise ValueError(f"unknown problem type {kind}")
    return HeadInfo(
        name,
        kind,
        labels,
        thresholds,
        float(entry.get("temperature", 1.0)),
        {group: tuple(members) for group, members in (entry.get("groups") or {}).items()},
        tuple(entry.get("layers", ())),
        entry.get("gate"),
    )
