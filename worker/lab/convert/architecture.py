"""What a DistilBERT checkpoint's `config.json` says: sizes and heads, checked."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from worker.errors import CheckpointError, PackError
from worker.model.heads import Head
from worker.model.pack import read_heads, read_labels
from worker.model.spans import Branch, TokenHead

TENSORS = "heads."
"""What the names of the heads' own tensors begin with, followed by the head's name."""

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "relu": "relu"}
"""Activations by transformers' name, and how ONNX's Gelu (or Relu) spells them."""

SENTIMENT_LABELS = {
    "negative": "negative",
    "neg": "negative",
    "neutral": "neutral",
    "neu": "neutral",
    "positive": "positive",
    "pos": "positive",
}
"""Labels that tell a sentiment head, in lower case, and Moodstream's name for each."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a DistilBERT encoder, under the names of `DistilBertConfig`.

    `head_dim` is the width of an attention head: `dim / n_heads`, unless pruning left fewer heads of the same
    width; queries, keys and values are then `attention_dim` wide, and not `dim`.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    vocab_size: int
    max_position_embeddings: int
    activation: str
    head_dim: int

    @property
    def attention_dim(self) -> int:
        """How wide all heads together are."""
        return self.n_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class CheckpointHead:
    """One head of a checkpoint: what it says, and the prefix of its tensors (`heads.emotion.` or none)."""

    head: Head
    prefix: str


class CheckpointHeads(NamedTuple):
    """The heads of a checkpoint: those that judge whole texts, and those that mark tokens."""

    texts: tuple[CheckpointHead, ...]
    tokens: tuple[TokenHead, ...] = ()


def read_config(path: Path) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        CheckpointError: it is missing, or no JSON object.
    """
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: is this a checkpoint folder as transformers saves it?"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return config


def read_architecture(config: Mapping[str, Any], path: Path) -> Architecture:
    """Check that the configuration is a DistilBERT's and return its sizes; `path` is named in errors.

    Raises:
        CheckpointError: another architecture, a size missing or impossible, an unknown activation.
    """
    model_type = config.get("model_type")
    if model_type != "distilbert":
        raise CheckpointError(
            f"{path}: only distilbert checkpoints can be converted, this one is {model_type!r}"
        )
    sizes = {
        name: _size(config, name, default, path)
        for name, default in {
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
        }.items()
    }
    activation = config.get("activation", "gelu")
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"{path}: the activation {activation!r} is none of {', '.join(ACTIVATIONS)}")
    if "head_dim" not in config and sizes["dim"] % sizes["n_heads"]:
        raise CheckpointError(f"{path}: `dim` {sizes['dim']} does not divide by `n_heads` {sizes['n_heads']}")
    head_dim = _size(config, "head_dim", sizes["dim"] // sizes["n_heads"], path)
    return Architecture(**sizes, activation=activation, head_dim=head_dim)


def branch_sizes(sizes: Architecture, branch: Branch) -> Architecture:
    """Return the sizes of a branch's layers: the trunk's, or its own where the trunk's were cut later."""
    return replace(
        sizes,
        n_layers=branch.layers,
        n_heads=branch.n_heads or sizes.n_heads,
        hidden_dim=branch.hidden_dim or sizes.hidden_dim,
    )


def read_checkpoint_heads(config: Mapping[str, Any], path: Path) -> CheckpointHeads:
    """Read Moodstream's own `heads` table, or the one head of a DistilBertForSequenceClassification.

    Raises:
        CheckpointError: labels missing or malformed, a regression head, an unknown problem type.
    """
    try:
        if "heads" in config:
            texts, tokens = read_heads(config, path)
            return CheckpointHeads(
                tuple(CheckpointHead(head, f"{TENSORS}{head.name}.") for head in texts), tokens
            )
        return CheckpointHeads((CheckpointHead(_exported(config, path) or _ordinary_head(config, path), ""),))
    except PackError as error:
        raise CheckpointError(str(error)) from error


def heads_table(heads: CheckpointHeads) -> dict[str, Any]:
    """Write heads as the `heads` table of a pack's configuration."""
    table: dict[str, Any] = {}
    for head in (entry.head for entry in heads.texts):
        table[head.name] = _entry(head)
        if head.thresholds is not None:
            table[head.name]["thresholds"] = list(head.thresholds)
        if head.groups:
            table[head.name]["groups"] = {name: list(labels) for name, labels in head.groups.items()}
    for marking in heads.tokens:
        entry = _entry(marking) | {"layers": list(marking.layers), "threshold": marking.threshold}
        if marking.relative:
            entry["relative"] = marking.relative
        if marking.gate is not None:
            entry["gate"] = asdict(marking.gate)
        if marking.branch is not None:
            entry["branch"] = asdict(marking.branch)
        table[marking.name] = entry
    return table


def _entry(head: Head | TokenHead) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "problem_type": head.problem_type,
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
    }
    if head.temperature != 1:
        entry["temperature"] = head.temperature
    return entry


def _exported(config: Mapping[str, Any], path: Path) -> Head | None:
    """Return the head that `moodstream model export` wrote, with its own name, thresholds and groups."""
    origin = config.get("moodstream")
    if not isinstance(origin, dict) or not isinstance(origin.get("head"), str):
        return None
    names = ("problem_type", "id2label", "thresholds", "groups")
    entry = {name: config[name] for name in names if name in config}
    return read_heads({"heads": {origin["head"]: entry}}, path).texts[0]


def _ordinary_head(config: Mapping[str, Any], path: Path) -> Head:
    labels = read_labels(config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"}), str(path))
    problem = config.get("problem_type")
    if problem is None and len(labels) > 1:
        problem = "single_label_classification"
    if problem not in {"single_label_classification", "multi_label_classification"}:
        kind = problem or "a single label, so regression"
        raise CheckpointError(f"{path}: only classification heads can be converted, this one has {kind}")
    name = "label"
    if all(label.lower() in SENTIMENT_LABELS for label in labels):
        name, labels = "sentiment", tuple(SENTIMENT_LABELS[label.lower()] for label in labels)
    thresholds = None if problem == "single_label_classification" else (0.5,) * len(labels)
    return Head(name, problem, labels, thresholds)


def _size(config: Mapping[str, Any], name: str, default: int, path: Path) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{path}: `{name}` must be a whole number above 0, not {value!r}")
    return value
