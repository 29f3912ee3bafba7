"""A model in memory, as numpy arrays: reading it from a checkpoint, a pack or a BERT encoder, and writing it.

No torch is needed here. Training, distillation, pruning and averaging all start from a `Checkpoint` and end
with one.
"""

import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worker.errors import CheckpointError, TrainingError
from worker.heads import Head, heads_table, read_heads
from worker.lab.convert.architecture import (
    RELATIVE,
    Architecture,
    branch_sizes,
    only_head,
    read_architecture,
    read_checkpoint_heads,
    read_config,
)
from worker.lab.convert.folders import written
from worker.lab.convert.from_pack import pack_tensors
from worker.lab.convert.tokenizer_files import write_tokenizer
from worker.lab.convert.weights import FILE, Weights, open_weights
from worker.lab.data.table import TableRows
from worker.lab.evaluate.score import is_pack
from worker.lab.recipe import Mean
from worker.model.pack import CARD, CONFIG, TOKENIZER, load_pack, read_text
from worker.model.text.names import EMOJI, read_names
from worker.model.text.normaliser import Normaliser, normaliser

Tensors = dict[str, NDArray[np.float32]]
"""Arrays by their name in the checkpoint: `distilbert.…`, `heads.NAME.…`."""

_SIZES = ("dim", "hidden_dim", "n_layers", "n_heads", "vocab_size", "max_position_embeddings")
_NOT_THE_ENCODERS = ("heads", "id2label", "label2id", "problem_type", "early_exit", "text", "num_labels")
"""The entries of config.json other than the encoder's sizes."""


@dataclass(frozen=True)
class Checkpoint:
    """One model: configuration with its `heads` table, float32 weights, and the text of tokenizer.json."""

    title: str
    config: Mapping[str, Any]
    tensors: Tensors
    tokenizer: str
    pack: Path | None = None
    """The pack that it was read from, if any: its weights are rounded as in that pack."""
    emoji: str = ""
    """The text of its emoji.json, if it has one."""

    @property
    def sizes(self) -> Architecture:
        """The encoder's sizes."""
        return read_architecture(self.config, Path(self.title) / CONFIG)

    @property
    def heads(self) -> dict[str, Head]:
        """Each head as the configuration describes it."""
        if "heads" not in self.config:
            return {}
        return {head.name: head for head in read_heads(self.config, Path(self.title) / CONFIG)}

    @property
    def encoder_config(self) -> dict[str, Any]:
        """The configuration without heads and text handling."""
        return {name: value for name, value in self.config.items() if name not in _NOT_THE_ENCODERS}

    @property
    def text(self) -> tuple[str, int] | None:
        """Name and version of the text handling that it was trained with; None for unchanged texts."""
        if "text" not in self.config:
            return None
        handling = self.handling()
        return handling.name, handling.version

    def handling(self) -> Normaliser:
        """Return the text handling that it was trained with. Raises PackError for an unknown one."""
        found = read_text(self.config, Path(self.title) / CONFIG)
        return self.named(found.name, found.version)

    def named(self, name: str, version: int) -> Normaliser:
        """Return a text handling with this model's own names of emoji, if it has any."""
        found = normaliser(name, version)
        if found.named is None or not self.emoji:
            return found
        return found.with_names(read_names(self.emoji.encode(), Path(self.title) / EMOJI))

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return sum(array.size for array in self.tensors.values())

    def of_encoder(self) -> Tensors:
        """Return the encoder's tensors, without `distilbert.` in front."""
        return self._under("distilbert.")

    def of_head(self, name: str) -> Tensors:
        """Return a head's tensors, without `heads.NAME.` in front."""
        return self._under(f"heads.{name}.")

    def of_layer(self, layer: int) -> Tensors:
        """Return the tensors of a layer of the encoder (from 0), without its prefix."""
        return self._under(layer_prefix(layer))

    def _under(self, prefix: str) -> Tensors:
        return {
            name.removeprefix(prefix): array
            for name, array in self.tensors.items()
            if name.startswith(prefix)
        }

    def with_fitted(self, fitted: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the model with the values that were fitted for its heads: temperature, thresholds."""
        heads = {name: {**entry, **fitted.get(name, {})} for name, entry in self.config["heads"].items()}
        return replace(self, config={**self.config, "heads": heads})

    def without_temperatures(self) -> Self:
        """Fold each head's temperature into its last weights, which gives the same scores at temperature 1.

        A student learns calibrated probabilities, so it starts with heads that need no temperature.
        """
        tensors, heads = dict(self.tensors), {}
        for name, entry in self.config["heads"].items():
            heads[name] = {key: value for key, value in entry.items() if key != "temperature"}
            for part in ("weight", "bias"):
                at = f"heads.{name}.classifier.{part}"
                tensors[at] = (tensors[at] / np.float32(entry.get("temperature", 1.0))).astype(np.float32)
        return replace(self, tensors=tensors, config={**self.config, "heads": heads})


@dataclass(slots=True)
class Trained:
    """The result of a training or distillation run."""

    checkpoint: Checkpoint
    steps: int
    planned: int
    elapsed_s: float
    precision: str
    threads: int
    torch: str
    """The version of torch."""
    rows: dict[str, int]
    """The number of rows by task title, without those that are also in a dev split."""
    kept: tuple[str, ...] = ()
    """Heads that came with the base and were not trained."""
    rounded_as: Path | None = None
    """The pack that the encoder was taken from, if the encoder was not trained."""
    tables: dict[str, TableRows] = field(default_factory=dict)
    """The user's tables by task title, with their held-out rows."""


def read_model(folder: Path) -> Checkpoint:
    """Read a checkpoint folder or a pack.

    Raises:
        CheckpointError: there is neither, or it has another architecture.
        PackError, ExportError: the pack is damaged, or its graph was not written by this project.
    """
    return read_pack(folder) if folder.is_dir() and is_pack(folder) else read_checkpoint(folder)


def read_pack(folder: Path) -> Checkpoint:
    """Read and verify a pack. The weights are those of its graph: rounded if it is int8."""
    pack = load_pack(folder)
    config, tensors = pack_tensors(pack)
    tokenizer = (pack.path / TOKENIZER).read_text(encoding="utf-8")
    return Checkpoint(
        f"{pack.name}@{pack.revision}", config, tensors, tokenizer, folder, _read_emoji(pack.path)
    )


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder: ours with several heads, or one of transformers, whose head gets our names.

    Raises:
        CheckpointError: no such folder, another architecture, or a tensor missing or of the wrong shape.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint at {folder}: no such folder")
    path = folder / CONFIG
    config = read_config(path)
    found = read_checkpoint_heads(config, path)
    table = config["heads"] if "heads" in config else heads_table(found)
    with open_weights(folder, only_head(config, found)) as weights:
        read = read_encoder(folder, config, weights)
        tensors = dict(read.tensors)
        for head in found:
            for part, shape in head_shapes(head, read.sizes).items():
                name = f"heads.{head.name}.{part}"
                if "pre_classifier" in part and name not in weights:
                    raise CheckpointError(f"{folder}: its head {head.name} has no pre_classifier")
                tensors[name] = weights.get(name, *shape)
    return replace(read, config={**read.config, "heads": table}, tensors=tensors)


def read_encoder(folder: Path, config: Mapping[str, Any], weights: Weights) -> Checkpoint:
    """Read the encoder alone; in a DistilBertModel's checkpoint the names have no `distilbert.` prefix."""
    sizes = read_architecture(config, folder / CONFIG)
    shapes = encoder_shapes(sizes)
    prefix = "" if any(name in weights for name in shapes) else "distilbert."
    tensors = {name: weights.get(name.removeprefix(prefix), *shape) for name, shape in shapes.items()}
    whole = {**config, **{name: getattr(sizes, name) for name in _SIZES}}
    return Checkpoint(folder.name, whole, tensors, _read_tokenizer(folder), emoji=_read_emoji(folder))


def _read_emoji(folder: Path) -> str:
    """Return the text of a folder's table of emoji names, or "" if it has none."""
    path = folder / EMOJI
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _read_tokenizer(folder: Path) -> str:
    """Return the text of tokenizer.json, which is built from vocab.txt if it is missing."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / TOKENIZER
        write_tokenizer(folder, target)
        return target.read_text(encoding="utf-8")


def average(tensors: Tensors, means: Sequence[Mean], frozen: Collection[str] = ()) -> Tensors:
    """Average the weights with other checkpoints, one after the other: (1 - share) · own + share · theirs.

    Two stages of one run, or two fine-tunings of one base, are close enough for their mean to be a working
    model, often better than either (Wortsman et al. 2022, arXiv:2203.05482 and arXiv:2109.01903). Tensors
    named in `frozen` are not changed. Raises TrainingError for a checkpoint that cannot be read or has
    different tensors.
    """
    for mean in means:
        theirs = read_tensors(Path(mean.checkpoint))
        shapes, others = ({name: array.shape for name, array in each.items()} for each in (tensors, theirs))
        if shapes != others:
            names = sorted(set(shapes.items()) ^ set(others.items()))
            raise TrainingError(f"means: {mean.checkpoint} has another shape: {names[0][0]} differs")
        tensors = {
            name: array if name in frozen else (1 - mean.share) * array + mean.share * theirs[name]
            for name, array in tensors.items()
        }
    return tensors


def read_tensors(folder: Path) -> Tensors:
    """Return the tensors of a checkpoint folder exactly as stored. Raises TrainingError."""
    try:
        return dict(load_file(folder / FILE))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"means: {folder} is not a checkpoint folder: {error}") from error


def write_folder(checkpoint: Checkpoint, folder: Path, card: str = "") -> None:
    """Write a checkpoint folder atomically, replacing an older one.

    Raises TargetError if it cannot be written.
    """
    with written(folder) as draft:
        arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.tensors.items()}
        save_file(arrays, draft / FILE, metadata={"format": "pt"})
        (draft / FILE).chmod(0o644)  # safetensors makes it readable by its owner only
        (draft / TOKENIZER).write_text(checkpoint.tokenizer, encoding="utf-8")
        if checkpoint.emoji:
            (draft / EMOJI).write_text(checkpoint.emoji, encoding="utf-8")
        text = json.dumps(checkpoint.config, indent=2, ensure_ascii=False) + "\n"
        (draft / CONFIG).write_text(text, encoding="utf-8")
        if card:
            (draft / CARD).write_text(card, encoding="utf-8")
        for file in draft.iterdir():
            with file.open("rb") as content:
                os.fsync(content.fileno())


def encoder_shapes(sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the encoder's tensors."""
    dim = sizes.dim
    shapes: dict[str, tuple[int, ...]] = {
        "distilbert.embeddings.word_embeddings.weight": (sizes.vocab_size, dim),
        "distilbert.embeddings.position_embeddings.weight": (sizes.max_position_embeddings, dim),
    }
    if sizes.relative_attention_num_buckets:
        shapes[RELATIVE] = (sizes.relative_attention_num_buckets, sizes.n_heads)
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
    """Return the prefix of a layer's tensor names, where layers count from 0."""
    return f"distilbert.transformer.layer.{layer}."


def head_shapes(head: Head, sizes: Architecture) -> dict[str, tuple[int, ...]]:
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
