"""A BERT encoder folded into a DistilBERT: the same function with other names.

The two differ in one table: BERT adds a token-type embedding to every token, and DistilBERT knows no token
types. Text that comes alone always has type 0, so row 0 of that table is a constant, and adding it to every
position embedding gives the same sum. BERT's pooler is left out: DistilBERT's heads read the first token as
it is. Everything else is renamed. No torch is needed here.
"""

import json
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.training.errors import NEEDS_PACKAGES, TrainingError

Weights = dict[str, NDArray[np.float32]]
"""Arrays by their name in the checkpoint."""

_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "embeddings.word_embeddings.weight",
    "embeddings.LayerNorm.weight": "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def base_folder(base: str) -> Path:
    """Return the folder with the base weights; `base` names it, or the installed package that has one.

    Raises TrainingError where neither is there.
    """
    folder = Path(base)
    if not folder.is_dir():
        spec = util.find_spec(base.replace("-", "_")) if base.replace("-", "_").isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise TrainingError(
                f"base weights: {base!r} is no folder and no installed package; {NEEDS_PACKAGES}"
            )
        folder = Path(spec.submodule_search_locations[0]) / "model"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise TrainingError(f"base weights: {folder} holds no {name}")
    return folder


def fold(folder: Path) -> tuple[dict[str, Any], Weights]:
    """Read a BERT encoder; return a DistilBertModel's configuration and weights, under transformers' names.

    Weights are float32, and their names carry no `distilbert.` in front. Raises TrainingError where the
    folder holds another architecture, or a BERT that DistilBERT cannot express.
    """
    try:
        from safetensors.numpy import load_file  # noqa: PLC0415 - part of the extra `train`
    except ImportError as error:
        raise TrainingError(NEEDS_PACKAGES) from error
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _check(config, folder)
    bert: Weights = load_file(folder / "model.safetensors")
    bert = {name.removeprefix("bert."): array.astype(np.float32) for name, array in bert.items()}
    return _config(config), _rename(bert, int(config["num_hidden_layers"]))


def _check(config: dict[str, Any], folder: Path) -> None:
    """Refuse what the renaming below would turn into another function."""
    fixed = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,  # DistilBERT has it in its code, not in its configuration
        "position_embedding_type": "absolute",
    }
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise TrainingError(
                f"base weights: {folder}: {name} is {config[name]!r}, and only {value!r} folds exactly"
            )


def _config(bert: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration as transformers writes a DistilBertModel's."""
    return {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "activation": "gelu",
        "attention_dropout": bert.get("attention_probs_dropout_prob", 0.1),
        "dim": bert["hidden_size"],
        "dropout": bert.get("hidden_dropout_prob", 0.1),
        "hidden_dim": bert["intermediate_size"],
        "initializer_range": bert.get("initializer_range", 0.02),
        "max_position_embeddings": bert["max_position_embeddings"],
        "n_heads": bert["num_attention_heads"],
        "n_layers": bert["num_hidden_layers"],
        "pad_token_id": bert.get("pad_token_id", 0),
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": bert["vocab_size"],
    }


def _rename(bert: Weights, layers: int) -> Weights:
    """Return the encoder's weights under DistilBERT's names, the token type folded in."""
    weights = {new: bert[old] for old, new in _EMBEDDINGS.items()}
    token_type = bert["embeddings.token_type_embeddings.weight"][0]
    weights["embeddings.position_embeddings.weight"] = (
        bert["embeddings.position_embeddings.weight"] + token_type
    )
    for layer in range(layers):
        for old, new in _LAYER.items():
            for kind in ("weight", "bias"):
                name = f"transformer.layer.{layer}.{new}.{kind}"
                weights[name] = bert[f"encoder.layer.{layer}.{old}.{kind}"]
    return weights
