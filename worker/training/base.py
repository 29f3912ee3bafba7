"""What a run starts from: a BERT encoder, folded, or a DistilBERT checkpoint.

Heads of a checkpoint of ours go on where the run trains heads of the same name, labels and depths, so that a
recipe can be one stage of several. Others stay behind.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from worker.classify.errors import PackError
from worker.classify.pack import MANIFEST, load_pack, model_folder
from worker.convert.architecture import read_architecture, read_config
from worker.convert.errors import CheckpointError
from worker.convert.tokenizer_files import write_tokenizer
from worker.convert.weights import Weights, open_weights
from worker.export.errors import ExportError
from worker.export.pack import pack_tensors
from worker.training import fold
from worker.training.errors import TrainingError
from worker.training.labels import Branch, Gate, HeadSpec
from worker.training.trunk import Trunk

_TOKENIZER = "tokenizer.json"
_PREFIX = "distilbert."
_NOT_THE_TRUNKS = ("heads", "id2label", "label2id", "problem_type", "early_exit", "text", "num_labels")
"""What config.json says beside the trunk's sizes."""


@dataclass(frozen=True, slots=True)
class Base:
    """A trunk to start from. Names of weights are DistilBertModel's, without `distilbert.` in front."""

    config: dict[str, Any]
    weights: fold.Weights
    tokenizer: Path
    text: tuple[str, int] | None = None
    """The text handling that it was trained with, name and version; None: texts as they came."""
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a checkpoint of ours says of its heads, by name."""
    folder: Path | None = None
    """The folder of the checkpoint or pack, where it is one."""
    tensors: fold.Weights = field(default_factory=dict)
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

    def layers(self, after: int, count: int) -> fold.Weights:
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

    def head_weights(self, name: str, shapes: Mapping[str, Sequence[int]]) -> fold.Weights:
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
        tuple(entry["id2label"][str(number)] for number in range(len(entry["id2label"]))),
        entry["problem_type"] == "multi_label_classification",
        tuple(entry.get("layers", ())),
        Gate(**gate) if gate else None,
        tuple((group, tuple(labels)) for group, labels in entry.get("groups", {}).items()),
        Branch(**branch) if branch else None,
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
        return _folded(fold.base_folder(name))
    try:
        config = read_config(folder / "config.json")
        if config.get("model_type") == "bert":
            return _folded(fold.base_folder(name))
        return _distilbert(folder, config, work)
    except CheckpointError as error:
        raise TrainingError(f"base weights: {error}") from error


def _folded(folder: Path) -> Base:
    config, weights = fold.fold(folder)
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


def _trunk_weights(config: dict[str, Any], tensors: Weights) -> fold.Weights:
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
