"""Reading and checking a DistilBERT checkpoint's `config.json`: sizes and heads."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.errors import CheckpointError, PackError
from worker.heads import (
    DEFAULT_THRESHOLD,
    MOST_LABELS,
    MULTI,
    SINGLE,
    Branch,
    Head,
    is_whole,
    read_heads,
    read_labels,
    shown,
)

TENSORS = "heads."
"""The prefix of the heads' tensor names, followed by the head's name."""

RELATIVE = "distilbert.transformer.relative_attention_bias.weight"
"""The tensor (buckets, heads) that an encoder which comes from an MPNet adds to its attention scores."""

EPSILON = 1e-12
"""The epsilon of every LayerNorm in DistilBERT, which is not in transformers' configuration of it."""

CLASSIFIER = "DistilBertForSequenceClassification"
"""The class of transformers whose checkpoints classify whole texts."""

_LARGEST_SIZE = 16_777_216
"""The largest size that is accepted, far above that of any vocabulary."""

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "relu": "relu"}
"""Activations by transformers' name, with the matching ONNX Gelu (or Relu)."""

SENTIMENT_LABELS = {
    "negative": "negative",
    "neg": "negative",
    "neutral": "neutral",
    "neu": "neutral",
    "positive": "positive",
    "pos": "positive",
}
"""Labels by which a sentiment head is recognised, in lower case, and Moodstream's name for each."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a DistilBERT encoder, under the names of `DistilBertConfig`.

    `head_dim` is the width of an attention head: `dim / n_heads`, unless pruning removed heads without
    changing their width; queries, keys and values then have the width `attention_dim` instead of `dim`.
    The last two differ from a DistilBERT's only if the encoder comes from an MPNet: the number of buckets of
    relative positions (0 for none; see `buckets`), and the epsilon of the LayerNorms.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    vocab_size: int
    max_position_embeddings: int
    activation: str
    head_dim: int
    relative_attention_num_buckets: int = 0
    layer_norm_eps: float = EPSILON

    @property
    def attention_dim(self) -> int:
        """The width of all heads together."""
        return self.n_heads * self.head_dim


def read_config(path: Path) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        CheckpointError: it is missing, or not a JSON object.
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
            f"{path}: only distilbert checkpoints can be converted, this one is {shown(model_type)}"
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
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{path}: the activation {shown(activation)} is not one of {', '.join(ACTIVATIONS)}"
        )
    if "head_dim" not in config and sizes["dim"] % sizes["n_heads"]:
        raise CheckpointError(f"{path}: `dim` {sizes['dim']} does not divide by `n_heads` {sizes['n_heads']}")
    head_dim = _size(config, "head_dim", sizes["dim"] // sizes["n_heads"], path)
    relative = config.get("relative_attention_num_buckets", 0)
    relative = relative and _size(config, "relative_attention_num_buckets", 0, path)
    epsilon = config.get("layer_norm_eps", EPSILON)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{path}: `layer_norm_eps` must be between 0 and 1, not {shown(epsilon)}")
    return Architecture(
        **sizes,
        activation=activation,
        head_dim=head_dim,
        relative_attention_num_buckets=relative,
        layer_norm_eps=epsilon,
    )


_FARTHEST = 128
"""All distances from here on share the last bucket of their side."""


def buckets(count: int, longest: int) -> NDArray[np.int64]:
    """Return the bucket of each distance from -(longest - 1) to longest - 1 between a token and one it reads.

    Half of the `count` buckets are for tokens to the right. In each half the first half is for one distance
    each, and the rest grow with the logarithm of the distance (Raffel et al. 2020, arXiv:1910.10683; MPNet:
    Song et al. 2020, arXiv:2004.09297).
    """
    distance = np.arange(1 - longest, longest)
    side, away = count // 2, np.abs(distance)
    exact = side // 2
    grown = np.log(np.maximum(away, 1).astype(np.float32) / exact) / np.float32(math.log(_FARTHEST / exact))
    far = np.minimum(exact + (grown * (side - exact)).astype(np.int64), side - 1)
    return np.asarray(np.where(away < exact, away, far) + side * (distance > 0), np.int64)


def branch_sizes(sizes: Architecture, branch: Branch) -> Architecture:
    """Return the sizes of a branch's layers: the encoder's, or its own if the encoder was pruned later."""
    return replace(
        sizes,
        n_layers=branch.layers,
        n_heads=branch.n_heads or sizes.n_heads,
        hidden_dim=branch.hidden_dim or sizes.hidden_dim,
    )


def read_checkpoint_heads(config: Mapping[str, Any], path: Path) -> tuple[Head, ...]:
    """Read Moodstream's own `heads` table, or the one head of a DistilBertForSequenceClassification.

    Raises:
        CheckpointError: labels missing or malformed, a head of another kind, an unknown problem type.
    """
    try:
        if "heads" in config:
            return read_heads(config, path)
        return (_exported(config, path) or _ordinary_head(config, path),)
    except PackError as error:
        raise CheckpointError(str(error)) from error


def only_head(config: Mapping[str, Any], heads: Sequence[Head]) -> str:
    """Return the only head of a transformers checkpoint, whose tensor names do not contain it, or ""."""
    return "" if "heads" in config else heads[0].name


def _exported(config: Mapping[str, Any], path: Path) -> Head | None:
    """Return the head that `moodstream model export` wrote, with its own name and values."""
    origin = config.get("moodstream")
    if not isinstance(origin, dict) or not isinstance(origin.get("head"), str):
        return None
    names = ("problem_type", "id2label", "thresholds", "logit_adjustment", "groups")
    entry = {name: config[name] for name in names if name in config}
    return read_heads({"heads": {origin["head"]: entry}}, path)[0]


def _ordinary_head(config: Mapping[str, Any], path: Path) -> Head:
    _check_class(config.get("architectures"), path)
    labels = _ordinary_labels(config, path)
    problem = config.get("problem_type") or SINGLE
    if problem not in {SINGLE, MULTI}:
        raise CheckpointError(
            f"{path}: only classification heads can be converted, this one has {shown(problem)}"
        )
    # For a single logit transformers uses the sigmoid, whatever the configuration says.
    several = problem == MULTI or len(labels) == 1
    name = "label"
    if all(label.lower() in SENTIMENT_LABELS for label in labels):
        found = tuple(SENTIMENT_LABELS[label.lower()] for label in labels)
        name, labels = ("sentiment", found) if len(set(found)) == len(found) else (name, labels)
    if several:
        return Head(name, MULTI, labels, (DEFAULT_THRESHOLD,) * len(labels))
    return Head(name, SINGLE, labels)


def _check_class(architectures: object, path: Path) -> None:
    """Refuse a checkpoint of a class that does not classify whole texts."""
    if architectures is None:
        return
    names = architectures if isinstance(architectures, list) else [architectures]
    if names and not any(str(name).endswith("ForSequenceClassification") for name in names):
        raise CheckpointError(
            f"{path}: only {CLASSIFIER} can be converted, this one is {shown(names[0])}, "
            "whose head does not classify whole texts"
        )


def _ordinary_labels(config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Return the labels; unnamed ones are called LABEL_0, LABEL_1 and so on, as in transformers."""
    if config.get("id2label") is not None:
        return read_labels(config["id2label"], str(path))
    count = config.get("num_labels", 2)
    if not is_whole(count) or not 1 <= count <= MOST_LABELS:
        raise CheckpointError(f"{path}: `num_labels` must be 1 to {MOST_LABELS}, not {shown(count)}")
    return tuple(f"LABEL_{number}" for number in range(count))


def _size(config: Mapping[str, Any], name: str, default: int, path: Path) -> int:
    value = config.get(name, default)
    if not is_whole(value) or not 1 <= value <= _LARGEST_SIZE:
        raise CheckpointError(f"{path}: `{name}` must be a whole number above 0, not {shown(value)}")
    return value
