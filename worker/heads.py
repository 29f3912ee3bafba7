"""What a head is: its labels, and what turns its logits into results. Read and written only here.

A head classifies a whole text (one winning label, or any number of labels) or marks tokens. `config.json` of
a pack and of a checkpoint describes all of them in its table `heads`; docs/reference/packs.md explains the
entries.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard

from worker.errors import PackError

ProblemType = Literal["single_label_classification", "multi_label_classification", "token_classification"]
"""As named in transformers: one winning label (softmax), any number of labels (sigmoid), or one label for
each token (sigmoid)."""

SINGLE: Final = "single_label_classification"
MULTI: Final = "multi_label_classification"
TOKENS: Final = "token_classification"

Marks = Literal["flagged", "gate"]
"""In which texts a token head marks words. `flagged`: in those to which its gate's head gives the gate's
label, so that no word is marked as toxic in a text that is called not toxic. `gate`: in all that its gate
lets through, for which often a lower score is enough."""

DEFAULT_THRESHOLD = 0.5

ROWS = ".rows"
"""The graph's second output for a token head has the head's name with this suffix."""

MOST_HEADS, MOST_LABELS, LONGEST_NAME = 256, 10_000, 256
"""Limits for what is read: a configuration may come from anywhere."""

FARTHEST = 1e3
"""The most that a logit is raised or lowered to make labels comparable."""

COOLEST, HOTTEST = 1e-3, 1e3
"""The range of a temperature: outside of it all scores would be 0 or 1, or all the same."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Opens for the texts to which the head `head` gives the label `label` at least `threshold` (0 to 1)."""

    head: str
    label: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Branch:
    """A token head's own transformer layers, `layers` of them, on the output of the encoder's layer `after`.

    A tree of tasks that share the lower layers (Vandenhende et al. 2020, arXiv:1904.02920): what a task
    cannot learn in the shared layers it learns in layers that run only for the texts that pass its gate.
    `after` 0 means the embeddings. `n_heads` and `hidden_dim` of 0 mean the encoder's own.
    """

    after: int
    layers: int
    n_heads: int = 0
    hidden_dim: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """One head.

    `thresholds` holds one probability for each label of a multi-label head, one for a token head, and none
    for a single-label head or before any was fitted. Logits are divided by `temperature` before they become
    probabilities, so that these are calibrated (Guo et al. 2017, arXiv:1706.04599). `groups` gathers labels
    of a multi-label head under coarser names: a group's score is that of its strongest label.

    `logit_adjustment` holds one number for each label of a head that classifies texts, or none. The
    strongest label is the one whose logit, divided by the temperature and lowered by its number, is the
    largest. Without it a label that is often right, such as "neutral", wins by its score wherever nothing
    is certain (Menon et al. 2021, arXiv:2007.07314, adjust logits for the same reason). Scores and thresholds
    do not change.

    The other fields belong to token heads. A token head reads the hidden states of several layers side by
    side (Palomino et al. 2021, HLE-UPC): `layers` are the transformer layers whose outputs it reads, 1 being
    the first; with a `branch` the encoder's layers count up to `branch.after`, and the branch's go on from
    there. `relative` and the threshold decide which tokens are marked: see `worker.model.spans.reaching`.
    Without a `gate` it reads every text; with one, `Marks` says whether the score alone decides.
    """

    name: str
    problem_type: ProblemType
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    logit_adjustment: tuple[float, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    gate: Gate | None = None
    branch: Branch | None = None
    relative: float = 0.0

    @property
    def by_token(self) -> bool:
        """Whether it marks tokens instead of classifying the whole text."""
        return self.problem_type == TOKENS

    @property
    def multi_label(self) -> bool:
        """Whether it classifies whole texts, and any number of its labels can pass."""
        return self.problem_type == MULTI

    @property
    def threshold(self) -> float:
        """The threshold of a token head."""
        return self.thresholds[0] if self.thresholds else DEFAULT_THRESHOLD

    @property
    def calls_from(self) -> float | None:
        """The score from which a head with two labels says the second one; None without an adjustment."""
        if self.multi_label or len(self.labels) != 2 or not self.logit_adjustment:
            return None
        first, second = self.logit_adjustment  # it leads where its logit is so much above the first's
        return 0.5 + math.tanh((second - first) / 2) / 2


def text_heads(heads: Iterable[Head]) -> tuple[Head, ...]:
    """Return the heads that classify whole texts."""
    return tuple(head for head in heads if not head.by_token)


def token_heads(heads: Iterable[Head]) -> tuple[Head, ...]:
    """Return the heads that mark tokens."""
    return tuple(head for head in heads if head.by_token)


def heads_table(heads: Iterable[Head]) -> dict[str, Any]:
    """Return heads as the table `heads` of a configuration."""
    return {head.name: head_entry(head) for head in heads}


def head_entry(head: Head) -> dict[str, Any]:
    """Return one head as an entry of that table; default values are left out."""
    entry: dict[str, Any] = {
        "problem_type": head.problem_type,
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
    }
    if head.temperature != 1:
        entry["temperature"] = head.temperature
    if head.thresholds and not head.by_token:
        entry["thresholds"] = list(head.thresholds)
    if head.logit_adjustment:
        entry["logit_adjustment"] = list(head.logit_adjustment)
    if head.groups:
        entry["groups"] = {name: list(labels) for name, labels in head.groups.items()}
    if head.layers:
        entry["layers"] = list(head.layers)
    if head.thresholds and head.by_token:
        entry["threshold"] = head.threshold
    if head.relative:
        entry["relative"] = head.relative
    if head.gate is not None:
        entry["gate"] = asdict(head.gate)
    if head.branch is not None:
        entry["branch"] = asdict(head.branch)
    return entry


def read_heads(config: Mapping[str, Any], path: Path) -> tuple[Head, ...]:
    """Read the table `heads` of a configuration; `path` is named in errors.

    Returns the heads that classify texts in the order of the table, then those that mark tokens.

    Raises:
        PackError: no head that classifies texts, an unknown problem type, or an invalid entry.
    """
    table = config.get("heads")
    if not isinstance(table, dict) or not table:
        raise PackError(f"{path}: needs a table of `heads`")
    if len(table) > MOST_HEADS:
        raise PackError(f"{path}: `heads` has {len(table)} entries; {MOST_HEADS} are the most")
    texts: list[Head] = []
    marking: list[tuple[str, dict[str, Any], str]] = []
    for name, entry in table.items():
        where = f"{path}: head {shown(name)}"
        if not is_name(name):
            raise PackError(f"{where}: a name needs 1 to {LONGEST_NAME} characters that can be printed")
        if not isinstance(entry, dict):
            raise PackError(f"{where} must be a table")
        if entry.get("problem_type") == TOKENS:
            marking.append((name, entry, where))
        else:
            texts.append(_read_text_head(name, entry, where))
    if not texts:
        raise PackError(f"{path}: `heads` needs one that judges whole texts")
    tokens = [_read_token_head(name, entry, config, texts, where) for name, entry, where in marking]
    for head in tokens:
        if head.name + ROWS in table:
            raise PackError(
                f"{path}: the head {head.name + ROWS!r} has the name of an output of {head.name!r}"
            )
    return (*texts, *tokens)


def read_labels(id2label: object, where: str) -> tuple[str, ...]:
    """Read an `id2label` table, whose keys must count from "0" on, into labels in their order.

    Raises:
        PackError: a gap in the numbers, a label that cannot be printed, or one that occurs twice.
    """
    if not isinstance(id2label, dict) or not id2label:
        raise PackError(f"{where} needs `id2label`")
    if len(id2label) > MOST_LABELS:
        raise PackError(f"{where}: `id2label` has {len(id2label)} labels; {MOST_LABELS} are the most")
    found = [id2label.get(str(index)) for index in range(len(id2label))]
    labels = tuple(label for label in found if isinstance(label, str) and label)
    if len(labels) != len(found):
        raise PackError(f"{where}: `id2label` must name labels 0 to {len(found) - 1}")
    if odd := next((label for label in labels if not is_name(label)), None):
        raise PackError(f"{where}: the label {shown(odd)} is too long or cannot be printed")
    if len(set(labels)) != len(labels):
        raise PackError(f"{where}: `id2label` names a label twice")
    return labels


def is_name(value: object) -> TypeGuard[str]:
    """Whether a value can be used as a name: short, and without control characters and surrogates."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_NAME
        and not any(unicodedata.category(character) in _UNPRINTED for character in value)
    )


_UNPRINTED = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, surrogates, and ends of lines and paragraphs."""


def shown(value: object) -> str:
    """Return a value as quoted in a message: on one line, escaped and shortened."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a JSON value is a whole number; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _read_text_head(name: str, entry: Mapping[str, Any], where: str) -> Head:
    problem = entry.get("problem_type")
    labels = read_labels(entry.get("id2label"), where)
    temperature = _read_temperature(entry, where)
    adjustment = _read_adjustment(entry.get("logit_adjustment"), len(labels), where)
    if problem == SINGLE:
        if "groups" in entry:
            raise PackError(f"{where}: only a multi-label head can have `groups`")
        if len(labels) == 1:
            raise PackError(f"{where}: a single label would always score 1; use {MULTI} instead")
        return Head(name, SINGLE, labels, (), temperature, adjustment)
    if problem == MULTI:
        thresholds = _read_thresholds(entry.get("thresholds"), len(labels), where)
        groups = _read_groups(entry.get("groups"), labels, where)
        return Head(name, MULTI, labels, thresholds, temperature, adjustment, groups)
    raise PackError(
        f"{where} has the problem type {shown(problem)}; it must be {SINGLE}, {MULTI} or {TOKENS}"
    )


def _read_token_head(
    name: str, entry: Mapping[str, Any], config: Mapping[str, Any], texts: Sequence[Head], where: str
) -> Head:
    labels = read_labels(entry.get("id2label"), where)
    if len(labels) != 1:
        raise PackError(f"{where} marks tokens and needs exactly one label, not {len(labels)}")
    n_layers = config.get("n_layers")
    # The last layer computes only the first token, and has no output for the others.
    last = n_layers - 1 if is_whole(n_layers) else 0
    branch = _read_branch(entry["branch"], last, where) if "branch" in entry else None
    return Head(
        name,
        TOKENS,
        labels,
        (_probability(entry.get("threshold", DEFAULT_THRESHOLD), "threshold", where),),
        _read_temperature(entry, where),
        layers=_read_layers(entry.get("layers"), last, branch, where),
        gate=_read_gate(entry["gate"], texts, where) if "gate" in entry else None,
        branch=branch,
        relative=_probability(entry.get("relative", 0.0), "relative", where),
    )


def _read_branch(value: object, last: int, where: str) -> Branch:
    if not isinstance(value, dict) or not {"after", "layers"} <= value.keys() <= set(Branch.__slots__):
        raise PackError(f"{where}: `branch` must be a table of `after`, `layers`, `n_heads` and `hidden_dim`")
    for name, number in value.items():
        if not is_whole(number) or number < (name == "layers"):
            raise PackError(f"{where}: `{name}` of `branch` must be a whole number, not {shown(number)}")
    if value["after"] > last:
        raise PackError(f"{where}: `after` of `branch` must lie between 0 and {last}, the last layer but one")
    return Branch(**value)


def _read_layers(value: object, last: int, branch: Branch | None, where: str) -> tuple[int, ...]:
    if branch is not None:
        last = branch.after + branch.layers
    if not isinstance(value, list) or not value:
        raise PackError(f"{where} marks tokens and needs `layers`, a list of layer numbers")
    if not all(is_whole(item) and 1 <= item <= last for item in value):
        which = "the last layer but one" if branch is None else "the last of its branch"
        raise PackError(f"{where}: `layers` must be whole numbers from 1 to {shown(last)}, {which}")
    if len(set(value)) != len(value):
        raise PackError(f"{where}: `layers` names a layer twice")
    return tuple(value)


def _read_gate(value: object, texts: Sequence[Head], where: str) -> Gate:
    if not isinstance(value, dict) or not {"head", "label"} <= value.keys():
        raise PackError(f"{where}: `gate` must be a table of `head`, `label` and `threshold`")
    head = next((head for head in texts if head.name == value["head"]), None)
    if head is None:
        raise PackError(f"{where}: `gate` names {shown(value['head'])}, which is not a text head here")
    if value["label"] not in head.labels:
        raise PackError(
            f"{where}: `gate` names the label {shown(value['label'])}, which {head.name!r} does not have"
        )
    threshold = _probability(value.get("threshold", DEFAULT_THRESHOLD), "threshold` of `gate", where)
    return Gate(head.name, value["label"], threshold)


def _read_temperature(entry: Mapping[str, Any], where: str) -> float:
    value = entry.get("temperature", 1.0)
    if not _is_number(value) or not COOLEST <= value <= HOTTEST:
        raise PackError(
            f"{where}: `temperature` must be a number above 0, from {COOLEST:g} to {HOTTEST:g}, "
            f"not {shown(value)}"
        )
    return float(value)


def _read_thresholds(value: object, count: int, where: str) -> tuple[float, ...]:
    if value is None:
        return (DEFAULT_THRESHOLD,) * count
    if not isinstance(value, list) or len(value) != count:
        raise PackError(f"{where}: `thresholds` needs one number for each of its {count} labels")
    return tuple(_probability(item, "thresholds", where) for item in value)


def _read_adjustment(value: object, count: int, where: str) -> tuple[float, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != count:
        raise PackError(f"{where}: `logit_adjustment` needs one number for each of its {count} labels")
    if odd := [item for item in value if not _is_number(item) or abs(item) > FARTHEST]:
        raise PackError(
            f"{where}: `logit_adjustment` must hold numbers from {-FARTHEST:g} to {FARTHEST:g}, "
            f"not {shown(odd[0])}"
        )
    return tuple(float(item) for item in value)


def _read_groups(value: object, labels: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(map(is_name, value)) or len(value) > MOST_LABELS:
        raise PackError(f"{where}: `groups` must be a table of lists of labels")
    known = set(labels)
    for name, members in value.items():
        if not isinstance(members, list) or not members or not all(isinstance(item, str) for item in members):
            raise PackError(f"{where}: the group {name!r} must be a list of labels")
        if unknown := [member for member in members if member not in known]:
            raise PackError(
                f"{where}: the group {name!r} names {shown(unknown[0])}, which is not a label of this head"
            )
    return {name: tuple(members) for name, members in value.items()}


def _probability(value: object, what: str, where: str) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise PackError(f"{where}: `{what}` must lie between 0 and 1")
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return (isinstance(value, float) and math.isfinite(value)) or is_whole(value)


def claim_name(name: str, taken: set[str]) -> str:
    """Take a name for a column or a head, with a number added if it is already taken."""
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    taken.add(unique)
    return unique
