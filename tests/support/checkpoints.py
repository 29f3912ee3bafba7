"""Tiny DistilBERT checkpoints with random weights, and the same network in plain numpy to compare with."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Tensors = dict[str, NDArray[Any]]

WORDS = [
    *("the", "film", "train", "phone", "is", "was", "it", "great", "lovely", "awful"),
    *("broken", "late", "happy", "on", "time", "##s", "##ing"),
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *".,!?'[]", *"abcdefghijklmnopqrstuvwxyz"]
PAD, CLS, SEP = 0, 2, 3

SIZES: dict[str, Any] = {
    "model_type": "distilbert",
    "dim": 32,
    "hidden_dim": 64,
    "n_layers": 3,
    "n_heads": 4,
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": 24,
    "activation": "gelu",
}
TWO_HEADS: dict[str, Any] = {
    "sentiment": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
    },
    "emotion": {
        "problem_type": "multi_label_classification",
        "id2label": {str(number): f"mood{number}" for number in range(5)},
        "thresholds": [0.5, 0.4, 0.6, 0.5, 0.3],
    },
}
GATE = {"head": "toxicity", "label": "toxic", "threshold": 0.6}
MARKING: dict[str, Any] = {
    **TWO_HEADS,
    "toxicity": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "not_toxic", "1": "toxic"},
        "temperature": 1.5,
    },
    "toxic_spans": {
        "problem_type": "token_classification",
        "id2label": {"0": "toxic"},
        "layers": [2, 1],
        "gate": GATE,
        "threshold": 0.5,
    },
}
"""Heads with one that marks tokens."""

ONE_HEAD: dict[str, Any] = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}


def random_tensors(config: dict[str, Any], seed: int = 7) -> Tensors:
    """Draw weights in the sizes of a configuration; norms and biases too, so that none can be left out."""
    rng = np.random.default_rng(seed)
    dim, hidden = config["dim"], config["hidden_dim"]
    tensors: Tensors = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        tensors[f"{name}.weight"] = (rng.standard_normal((outputs, inputs)) / math.sqrt(inputs)).astype("f4")
        tensors[f"{name}.bias"] = (0.3 * rng.standard_normal(outputs)).astype("f4")

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = (1 + 0.3 * rng.standard_normal(dim)).astype("f4")
        tensors[f"{name}.bias"] = (0.3 * rng.standard_normal(dim)).astype("f4")

    for kind, rows in (("word", config["vocab_size"]), ("position", config["max_position_embeddings"])):
        name = f"distilbert.embeddings.{kind}_embeddings.weight"
        tensors[name] = rng.standard_normal((rows, dim)).astype("f4")
    norm("distilbert.embeddings.LayerNorm")
    for layer in range(config["n_layers"]):
        prefix = f"distilbert.transformer.layer.{layer}"
        for part in ("q", "k", "v", "out"):
            linear(f"{prefix}.attention.{part}_lin", dim, dim)
        linear(f"{prefix}.ffn.lin1", hidden, dim)
        linear(f"{prefix}.ffn.lin2", dim, hidden)
        norm(f"{prefix}.sa_layer_norm")
        norm(f"{prefix}.output_layer_norm")
    heads = {f"heads.{name}.": head for name, head in config.get("heads", {}).items()} or {"": config}
    for prefix, head in heads.items():
        linear(f"{prefix}pre_classifier", dim, dim * len(head.get("layers", [0])))
        linear(f"{prefix}classifier", len(head["id2label"]), dim)
    return tensors


def write_checkpoint(folder: Path, config: dict[str, Any], tensors: Tensors | None = None) -> Path:
    """Save a checkpoint folder as transformers does, with a vocabulary instead of a tokenizer.json."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    save_file(tensors or random_tensors(config), folder / "model.safetensors")
    return folder


def write_marking_checkpoint(folder: Path, word: str, *, flagged: bool = True) -> Path:
    """Save a checkpoint whose token head marks exactly that word, and whose gate lets all texts through.

    All texts are called toxic if `flagged`; otherwise none, and the gate opens below that. The layers pass on
    what they get, and one channel of the embeddings is high for the word alone.
    """
    spans = {**MARKING["toxic_spans"], "layers": [1], "gate": {**GATE, "threshold": 0.6 if flagged else 0.2}}
    config = {**SIZES, "heads": {**MARKING, "toxic_spans": spans}, "text": {"name": "social", "version": 1}}
    tensors = random_tensors(config)
    for name, values in tensors.items():
        if ".layer." in name and ("out_lin" in name or "lin2" in name):
            values[:] = 0
        if "norm" in name.lower():
            values[:] = 1 if name.endswith("weight") else 0
        if name.startswith(("heads.toxic_spans", "heads.toxicity.classifier")):
            values[:] = 0
        if "embeddings.weight" in name:
            values[:] = 0.1 * values
    words = tensors["distilbert.embeddings.word_embeddings.weight"]
    words[:, 0] = 0
    words[VOCABULARY.index(word), 0] = 30
    tensors["heads.toxic_spans.pre_classifier.weight"][0, 0] = 1
    tensors["heads.toxic_spans.classifier.weight"][0, 0] = 10
    tensors["heads.toxic_spans.classifier.bias"][:] = -30
    tensors["heads.toxicity.classifier.bias"][:] = [0, 3 if flagged else -0.75]
    return write_checkpoint(folder, config, tensors)


def reference_logits(tensors: Tensors, config: dict[str, Any], ids: list[int]) -> dict[str, NDArray[Any]]:
    """Run one text through the network as the paper describes it, in float64: logits of each head.

    Those of a token head are one a token, whatever its gate says.
    """
    wide = {name: values.astype(np.float64) for name, values in tensors.items()}
    states = _states(wide, config, ids)
    if "heads" not in config:
        return {"": _head(wide, "", states[-1][0])}
    found = {}
    for name, head in config["heads"].items():
        if "layers" in head:
            side_by_side = np.concatenate([states[layer] for layer in head["layers"]], axis=-1)
            found[name] = _head(wide, f"heads.{name}.", side_by_side)[:, 0]
        else:
            found[name] = _head(wide, f"heads.{name}.", states[-1][0])
    return found


def _states(wide: Tensors, config: dict[str, Any], ids: list[int]) -> list[NDArray[Any]]:
    """The embeddings and what each layer makes of them, each (tokens, dim)."""
    rows = wide["distilbert.embeddings.word_embeddings.weight"][ids]
    rows = rows + wide["distilbert.embeddings.position_embeddings.weight"][: len(ids)]
    states = [_norm(wide, "distilbert.embeddings.LayerNorm", rows)]
    for layer in range(config["n_layers"]):
        prefix, rows = f"distilbert.transformer.layer.{layer}", states[-1]
        attended = _linear(wide, f"{prefix}.attention.out_lin", _attention(wide, prefix, rows, config))
        rows = _norm(wide, f"{prefix}.sa_layer_norm", attended + rows)
        inner = _activation(config["activation"], _linear(wide, f"{prefix}.ffn.lin1", rows))
        states.append(
            _norm(wide, f"{prefix}.output_layer_norm", _linear(wide, f"{prefix}.ffn.lin2", inner) + rows)
        )
    return states


def _head(tensors: Tensors, prefix: str, rows: NDArray[Any]) -> NDArray[Any]:
    if f"{prefix}pre_classifier.weight" in tensors:
        rows = np.maximum(_linear(tensors, f"{prefix}pre_classifier", rows), 0)
    return _linear(tensors, f"{prefix}classifier", rows)


def _attention(tensors: Tensors, prefix: str, rows: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
    heads, width = config["n_heads"], config["dim"] // config["n_heads"]
    query, key, value = (
        _linear(tensors, f"{prefix}.attention.{part}_lin", rows).reshape(-1, heads, width).transpose(1, 0, 2)
        for part in "qkv"
    )
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(width)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = powers / powers.sum(axis=-1, keepdims=True) @ value
    return np.asarray(mixed.transpose(1, 0, 2).reshape(-1, config["dim"]))


def _activation(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if name == "relu":
        return np.asarray(np.maximum(values, 0))
    if name == "gelu":
        return np.asarray(values * 0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2))))
    inner = math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)
    return np.asarray(values * 0.5 * (1 + np.tanh(inner)))


def _linear(tensors: Tensors, name: str, rows: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(rows @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"])


def _norm(tensors: Tensors, name: str, rows: NDArray[Any]) -> NDArray[Any]:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return np.asarray(scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"])
