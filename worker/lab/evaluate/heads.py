"""One view of all heads, whatever their names are and whether they judge whole texts or tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.model.heads import Head
from worker.model.pack import read_heads as read_both
from worker.model.spans import Branch, Gate, TokenHead

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
    gate: Gate | None = None
    branch: Branch | None = None
    relative: float = 0.0
    """A token head's: see `worker.model.spans.reaching`."""

    @property
    def multi_label(self) -> bool:
        """Any number of labels, each with a probability of its own."""
        return self.problem_type != SINGLE

    @property
    def by_token(self) -> bool:
        """It judges every token instead of the whole text."""
        return self.problem_type == TOKEN


def head_info(head: Head | TokenHead) -> HeadInfo:
    """Return the view of one head."""
    if isinstance(head, TokenHead):
        own = (head.threshold,)
        return HeadInfo(
            head.name,
            TOKEN,
            head.labels,
            own,
            head.temperature,
            layers=head.layers,
            gate=head.gate,
            branch=head.branch,
            relative=head.relative,
        )
    return HeadInfo(
        head.name, head.problem_type, head.labels, head.thresholds or (), head.temperature, head.groups
    )


def read_heads(config: Mapping[str, Any], path: Path) -> dict[str, HeadInfo]:
    """Return the heads of a `config.json` by name; `path` is named in errors.

    Raises:
        PackError: a head that makes no sense: one line.
    """
    texts, tokens = read_both(config, path)
    views = [*map(head_info, texts), *map(head_info, tokens)]
    return {view.name: view for view in views}
