"""What a run starts from: a BERT encoder, folded, or a DistilBERT checkpoint.

Heads of a checkpoint of ours go on where the run trains heads of the same name, labels and depths, so that a
recipe can be one stage of several. Others stay behind.

A BERT encoder folded into a DistilBERT: the same function with other names.

The two differ in one table: BERT adds a token-type embedding to every token, and DistilBERT knows no token
types. Text that comes alone always has type 0, so row 0 of that table is a constant, and adding it to every
position embedding gives the same sum. BERT's pooler is left out: DistilBERT's heads read the first token as
it is. Everything else is renamed. No torch is needed here.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from worker.errors import NEEDS_PACKAGES, CheckpointError, ExportError, PackError, TrainingError
from worker.lab.convert.architecture import read_architecture, read_config
from worker.lab.convert.from_pack import pack_tensors
from worker.lab.convert.tokenizer_files import write_tokenizer
from worker.lab.convert.weights import Weights, open_weights
from worker.lab.data.labels import Branch, Gate, HeadSpec
from worker.lab.network import Trunk
from worker.model.pack import MANIFEST, load_pack, model_folder

Arrays = dict[str, NDArray[np.float32]]
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


def fold(folder: Path) -> tuple[dict[str, Any], Arrays]:
    """Read a BERT encoder; return a DistilBertModel's configuration and weights, under transformers' names.

    Weights are float32, and their names carry no `distilbert.` in front. Raises TrainingError where the
    folder holds another architecture, or a BERT that DistilBERT cannot express.
    """
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise TrainingError(NEEDS_PACKAGES) from error
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _check(config, folder)
    bert: Arrays = load_file(folder / "model.safetensors")
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


def _rename(bert: Arrays, layers: int) -> Arrays:
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


_TOKENIZER = "tokenizer.json"
_PREFIX = "distilbert."
_NOT_THE_TRUNKS = ("heads", "id2label", "label2id", "problem_type", "early_exit", "text", "num_labels")
"""What config.json says beside the trunk's sizes."""


@dataclass(frozen=True, slots=True)
class Base:
    """A trunk to start from. Names of weights are DistilBertModel's, without `distilbert.` in front."""

    config: dict[str, Any]
    weights: Arrays
    tokenizer: Path
    text: tuple[str, int] | None = None
    """The text handling that it was trained with, name and version; None: texts as they came."""
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a checkpoint of ours says of its heads, by name."""
    folder: Path | None = None
    """The folder of the checkpoint or pack, where it is one."""
    tensors: Arrays = field(default_factory=dict)
    """All tensors of a pack, by the names that a checkpoint folder has."""

    @property
    def pack(self) -> Path | None:
        """The folder, where it holds a pack."""
        return self.folder if self.tensors else None

    def heads_for(self, wanted: Sequence[HeadSpec]) -> list[str]:
        """Return the names of those heads that this base has trained already: same labels, same depths."""
        return [head.name for head in wanted if _same(head, self.heads.get(head.name, {}))]

    def kept_heads(self, trained: Collection[str]) -> list[HeadSpec]:
        """Return the heads that this base has beside the trained ones."""
        return [_spec(name, entry) for name, entry in self.heads.items() if name not in trained]

    def layers(self, after: int, count: int) -> Arrays:
        """Return the weights of `count` layers above layer `after`, numbered from 0. Raises TrainingError."""
        if after + count > self.config["n_layers"]:
            have = self.config["n_layers"]
            raise TrainingError(f"a branch wants layers {after + 1} to {after + count}; its start has {have}")
        found = {}
        for name, array in self.weights.items():
            _, _, rest = name.partition("transformer.layer.")
            number, _, part = rest.partition(".")
            if part and after <= int(number) < after + count:
                found[f"{int(number) - after}.{part}"] = array
        return found

    def head_weights(self, name: str, shapes: Mapping[str, Sequence[int]]) -> Arrays:
        """Read the weights of a head of the checkpoint. Raises TrainingError where they are not as said."""
        if self.folder is None:
            raise TrainingError(f"base weights: there is no head {name}")
        if self.tensors:
            return {key: self.tensors[f"heads.{name}.{key}"] for key in shapes}
        try:
            with open_weights(self.folder) as tensors:
                return {key: tensors.get(f"heads.{name}.{key}", *shape) for key, shape in shapes.items()}
        except CheckpointError as error:
            raise TrainingError(f"base weights: {error}") from error


def _same(head: HeadSpec, entry: dict[str, Any]) -> bool:
    labels = {str(number): label for number, label in enumerate(head.labels)}
    return (
        entry.get("problem_type") == head.problem_type
        and entry.get("id2label") == labels
        and tuple(entry.get("layers", ())) == head.layers
        and (Branch(**entry["branch"]) if entry.get("branch") else None) == head.branch
    )


def _spec(name: str, entry: dict[str, Any]) -> HeadSpec:
    """Return what a checkpoint of ours says of a head, which its reader has checked."""
    gate, branch = entry.get("gate"), entry.get("branch")
    return HeadSpec(
        name,
        entry["problem_type"],
        tuple(entry["id2label"][str(number)] for number in range(len(entry["id2label"]))),
        layers=tuple(entry.get("layers", ())),
        gate=Gate(**gate) if gate else None,
        groups={group: tuple(labels) for group, labels in entry.get("groups", {}).items()},
        branch=Branch(**branch) if branch else None,
    )


def read_base(name: str, work: Path) -> Base:
    """Read the base weights: an installed package that has some, a folder, or the name of a pack that ships.

    A folder holds a BERT encoder, a DistilBERT checkpoint, ours or transformers', or a pack, whose weights
    are rounded. A vocabulary without a `tokenizer.json` becomes one in `work`.

    Raises:
        TrainingError: there is none, or one of another architecture: one line.
    """
    folder = model_folder(Path(name))
    if (folder / MANIFEST).is_file():
        return _packed(folder)
    if not (folder / "config.json").is_file():
        return _folded(base_folder(name))
    try:
        config = read_config(folder / "config.json")
        if config.get("model_type") == "bert":
            return _folded(base_folder(name))
        return _distilbert(folder, config, work)
    except CheckpointError as error:
        raise TrainingError(f"base weights: {error}") from error


def _folded(folder: Path) -> Base:
    config, weights = fold(folder)
    return Base(config, weights, folder / _TOKENIZER)


def _distilbert(folder: Path, config: dict[str, Any], work: Path) -> Base:
    sizes = read_architecture(config, folder / "config.json")
    if sizes.activation != "gelu":
        raise TrainingError(f"base weights: {folder}: the activation must be gelu, not {sizes.activation!r}")
    trunk = {name: value for name, value in config.items() if name not in _NOT_THE_TRUNKS}
    for name in ("dim", "hidden_dim", "n_layers", "n_heads", "vocab_size", "max_position_embeddings"):
        trunk[name] = getattr(sizes, name)
    with open_weights(folder) as tensors:
        weights = _trunk_weights(trunk, tensors)
    tokenizer = folder / _TOKENIZER
    if not tokenizer.is_file():
        work.mkdir(parents=True, exist_ok=True)
        tokenizer = work / _TOKENIZER
        write_tokenizer(folder, tokenizer)
    heads = config.get("heads")
    known = heads if isinstance(heads, dict) else {}
    return Base(trunk, weights, tokenizer, _text(config, folder), known, folder)


def _packed(folder: Path) -> Base:
    try:
        pack = load_pack(folder)
        whole, tensors = pack_tensors(pack)
    except (PackError, ExportError, CheckpointError) as error:
        raise TrainingError(f"base weights: {error}") from error
    config = {name: value for name, value in whole.items() if name not in _NOT_THE_TRUNKS}
    trunk = {name.removeprefix(_PREFIX): array for name, array in tensors.items() if name.startswith(_PREFIX)}
    text = _text(whole, folder)
    return Base(config, trunk, folder / _TOKENIZER, text, whole["heads"], folder, tensors)


def _trunk_weights(config: dict[str, Any], tensors: Weights) -> Arrays:
    """Read the tensors that a trunk of these sizes has."""
    with torch.device("meta"):  # shapes only: nothing is allocated
        shapes = {name: tuple(tensor.shape) for name, tensor in Trunk(config).state_dict().items()}
    prefix = _PREFIX if any(_PREFIX + name in tensors for name in shapes) else ""
    return {name: tensors.get(prefix + name, *shape) for name, shape in shapes.items()}


def _text(config: dict[str, Any], folder: Path) -> tuple[str, int] | None:
    match config.get("text"):
        case None:
            return None
        case {"name": str(name), "version": int(version)}:
            return name, version
    raise TrainingError(f"base weights: {folder}: `text` in config.json must have a name and a version")
