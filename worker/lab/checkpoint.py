"""A checkpoint folder in memory, as numpy arrays: what cutting layers, heads and words works on."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from worker.errors import CheckpointError
from worker.heads import heads_table
from worker.lab.convert.architecture import (
    Architecture,
    branch_sizes,
    only_head,
    read_architecture,
    read_checkpoint_heads,
    read_config,
)
from worker.lab.convert.tokenizer_files import write_tokenizer
from worker.lab.convert.weights import open_weights
from worker.lab.data.labels import HeadSpec
from worker.lab.evaluate.heads import HeadInfo, read_heads

Tensors = dict[str, NDArray[np.float32]]
"""Arrays by their name in the checkpoint: `distilbert.…`, `heads.NAME.…`."""

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"


@dataclass(frozen=True)
class Checkpoint:
    """One model: configuration with its `heads` table, float32 weights, and the text of tokenizer.json."""

    title: str
    config: Mapping[str, Any]
    tensors: Tensors
    tokenizer: str

    @property
    def sizes(self) -> Architecture:
        """The encoder's sizes."""
        return read_architecture(self.config, Path(self.title) / CONFIG)

    @property
    def heads(self) -> dict[str, HeadInfo]:
        """What the configuration says of each head."""
        return read_heads(self.config, Path(self.title) / CONFIG)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(array.size for array in self.tensors.values())

    def with_config(self, **changes: Any) -> Self:
        """Return the same model with other entries in its configuration."""
        return replace(self, config={**self.config, **changes})


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder: ours with many heads, or transformers' with one, which gets our names.

    Raises:
        CheckpointError: no such folder, another architecture, or a tensor that is missing or misshapen.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint at {folder}: no such folder")
    path = folder / CONFIG
    config = read_config(path)
    sizes = read_architecture(config, path)
    found = read_checkpoint_heads(config, path)
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "vocab_size", "max_position_embeddings")
    whole = {**config, **{name: getattr(sizes, name) for name in names}, "heads": heads_table(found)}
    if "heads" in config:
        whole["heads"] = config["heads"]
    shapes = trunk_shapes(sizes)
    with open_weights(folder, only_head(config, found)) as weights:
        tensors = {name: weights.get(name, *shape) for name, shape in shapes.items()}
        for head in read_heads(whole, path).values():
            for part, shape in head_shapes(head, sizes).items():
                name = f"heads.{head.name}.{part}"
                if "pre_classifier" in part and name not in weights:
                    raise CheckpointError(f"{folder}: its head {head.name} has no pre_classifier")
                tensors[name] = weights.get(name, *shape)
    return Checkpoint(folder.name, whole, tensors, _read_tokenizer(folder))


def write_folder(checkpoint: Checkpoint, folder: Path, card: str = "") -> None:
    """Write a checkpoint folder, whole or not at all, in place of one that is there.

    Raises CheckpointError where the disk refuses.
    """
    from safetensors.numpy import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as room:
            draft = Path(room) / "checkpoint"
            draft.mkdir()
            arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.tensors.items()}
            save_file(arrays, draft / WEIGHTS, metadata={"format": "pt"})
            (draft / WEIGHTS).chmod(0o644)  # safetensors gives it to its owner alone
            (draft / TOKENIZER).write_text(checkpoint.tokenizer, encoding="utf-8")
            text = json.dumps(checkpoint.config, indent=2, ensure_ascii=False) + "\n"
            (draft / CONFIG).write_text(text, encoding="utf-8")
            if card:
                (draft / CARD).write_text(card, encoding="utf-8")
            for file in draft.iterdir():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            if folder.exists():
                folder.rename(Path(room) / "replaced")
            draft.rename(folder)
    except Exception as error:  # safetensors has kinds of its own for a full disk
        raise CheckpointError(f"cannot write {folder}: {error}") from error


def check_place(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse to put a pack where something else is: only an older pack, not one of the inputs, is replaced.

    Raises CheckpointError.
    """
    if any(out.resolve() == given.resolve() for given in inputs):
        raise CheckpointError(f"{out} is what the new pack is made from: name another folder")
    if (
        out.exists()
        and not (out / "manifest.json").is_file()
        and not (out.is_dir() and not any(out.iterdir()))
    ):
        raise CheckpointError(f"{out} is there already and is no pack: it is not overwritten")


def specs(heads: Mapping[str, HeadInfo]) -> list[HeadSpec]:
    """Return the heads as the network wants them."""
    return list(heads.values())


def trunk_shapes(sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the encoder's tensors."""
    dim = sizes.dim
    shapes: dict[str, tuple[int, ...]] = {
        "distilbert.embeddings.word_embeddings.weight": (sizes.vocab_size, dim),
        "distilbert.embeddings.position_embeddings.weight": (sizes.max_position_embeddings, dim),
    }
    norm = "distilbert.embeddings.LayerNorm"
    shapes |= {f"{norm}.weight": (dim,), f"{norm}.bias": (dim,)}
    for layer in range(sizes.n_layers):
        shapes |= {layer_prefix(layer) + name: shape for name, shape in layer_shapes(sizes).items()}
    return shapes


def layer_shapes(sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of one transformer layer's tensors, without its prefix."""
    dim, wide, hidden = sizes.dim, sizes.attention_dim, sizes.hidden_dim
    shapes: dict[str, tuple[int, ...]] = {}
    linears = {
        "attention.q_lin": (wide, dim),
        "attention.k_lin": (wide, dim),
        "attention.v_lin": (wide, dim),
        "attention.out_lin": (dim, wide),
        "ffn.lin1": (hidden, dim),
        "ffn.lin2": (dim, hidden),
    }
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for norm in ("sa_layer_norm", "output_layer_norm"):
        shapes |= {f"{norm}.weight": (dim,), f"{norm}.bias": (dim,)}
    return shapes


def layer_prefix(layer: int) -> str:
    """Return how the names of a layer's tensors begin; layers count from 0 there."""
    return f"distilbert.transformer.layer.{layer}."


def head_shapes(head: HeadInfo, sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a head's tensors by name, without `heads.NAME.` in front."""
    dim, labels = sizes.dim, len(head.labels)
    inputs = dim * max(1, len(head.layers))
    shapes: dict[str, tuple[int, ...]] = {}
    if head.branch is not None:
        own = layer_shapes(branch_sizes(sizes, head.branch))
        for layer in range(head.branch.layers):
            shapes |= {f"transformer.layer.{layer}.{name}": shape for name, shape in own.items()}
    return shapes | {
        "pre_classifier.weight": (dim, inputs),
        "pre_classifier.bias": (dim,),
        "classifier.weight": (labels, dim),
        "classifier.bias": (labels,),
    }


def _read_tokenizer(folder: Path) -> str:
    """Return tokenizer.json as text, built from vocab.txt where there is none."""
    with tempfile.TemporaryDirectory() as room:
        target = Path(room) / TOKENIZER
        write_tokenizer(folder, target)
        return target.read_text(encoding="utf-8")
