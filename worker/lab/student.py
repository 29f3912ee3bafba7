"""The student: a checkpoint folder, some layers of a teacher, or base weights with new heads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.errors import TrainingError
from worker.lab.checkpoint import Checkpoint, Tensors, layer_prefix, read_checkpoint
from worker.lab.convert.architecture import read_architecture
from worker.lab.evaluate.heads import HeadInfo
from worker.lab.evaluate.score import is_pack
from worker.lab.read_pack import read_pack
from worker.model.pack import model_folder

EVERY_OTHER = "every-other"
"""The student that is every other layer of its teacher, as DistilBERT was (Sanh et al. 2019)."""

_SPREAD = 0.02  # BERT's deviation of new weights


def spread(layers: int, keep: int) -> list[int]:
    """Return `keep` of the layers 1 … `layers`, evenly spread, the first and the last among them.

    6 of 12 gives 1, 3, 5, 8, 10, 12: the layers that DistilBERT took from BERT. Raises TrainingError where
    there are not as many.
    """
    if not 1 <= keep <= layers:
        raise TrainingError(f"cannot keep {keep} layers of {layers}")
    if keep == 1:
        return [1]
    return [int(place) + 1 for place in np.round(np.linspace(0, layers - 1, keep))]


def keep_layers(checkpoint: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """Return the model with these of its layers (from 1), in this order: DistilBERT's way to begin.

    A token head goes on reading the hidden states that are left: those after a kept layer, below the new
    last one. The weights for a depth that is gone are added to those for the nearest depth that stays, whose
    hidden state is the likest. A branch keeps its layers, and grows from the nearest depth. Raises
    TrainingError for layers that are not there or out of order.
    """
    count = checkpoint.sizes.n_layers
    if sorted(set(layers)) != list(layers) or not layers or not 1 <= layers[0] <= layers[-1] <= count:
        raise TrainingError(f"layers to keep must rise and lie between 1 and {count}, not {list(layers)}")
    tensors: Tensors = {
        name: array for name, array in checkpoint.tensors.items() if ".transformer.layer." not in name
    }
    for new, old in enumerate(layers):
        source, target = layer_prefix(old - 1), layer_prefix(new)
        tensors |= {
            target + name.removeprefix(source): array
            for name, array in checkpoint.tensors.items()
            if name.startswith(source)
        }
    heads: dict[str, Any] = {}
    for name, entry in checkpoint.config["heads"].items():
        heads[name] = entry
        if entry.get("layers"):
            heads[name], weight = _new_depths(checkpoint, name, layers)
            tensors[f"heads.{name}.pre_classifier.weight"] = weight
    return replace(
        checkpoint,
        tensors=tensors,
        config={**checkpoint.config, "n_layers": len(layers), "heads": heads},
    )


def _new_depths(checkpoint: Checkpoint, name: str, layers: Sequence[int]) -> tuple[dict[str, Any], Any]:
    """Return a token head's table and the first weights for the depths that are left."""
    entry = dict(checkpoint.config["heads"][name])
    below = layers[:-1]  # the new last layer computes the first token only
    if entry.get("branch"):
        return _branch_moved(entry, below), checkpoint.tensors[f"heads.{name}.pre_classifier.weight"]
    if not below:
        raise TrainingError(f"the head {name} reads tokens below the last layer: keep two layers or more")
    weight = checkpoint.tensors[f"heads.{name}.pre_classifier.weight"]
    nearest = {old: min(below, key=lambda kept: (abs(kept - old), kept)) for old in entry["layers"]}
    chosen = sorted(set(nearest.values()))
    dim = checkpoint.sizes.dim
    new = np.zeros((weight.shape[0], dim * len(chosen)), np.float32)
    for place, old in enumerate(entry["layers"]):
        at = chosen.index(nearest[old]) * dim
        new[:, at : at + dim] += weight[:, place * dim : (place + 1) * dim]
    entry["layers"] = [below.index(kept) + 1 for kept in chosen]
    return entry, new


def _branch_moved(entry: dict[str, Any], below: Sequence[int]) -> dict[str, Any]:
    """Return the table of a token head whose branch grows from what is left `below` the last layer."""
    after = entry["branch"]["after"]
    shared = [layer for layer in entry["layers"] if layer <= after]
    new = min((0, *below), key=lambda kept: (abs(kept - after), kept)) if after else 0
    new = [0, *below].index(new)
    if shared not in ([], [after]) or (shared and not new):
        raise TrainingError("a token head that has a branch and reads the trunk below it loses its layers")
    return {
        **entry,
        "branch": {**entry["branch"], "after": new},
        "layers": [layer - after + new for layer in entry["layers"]],
    }


def without_temperatures(checkpoint: Checkpoint) -> Checkpoint:
    """Fold each head's temperature into its last weights: the same scores, at temperature 1.

    A student learns calibrated probabilities, so it begins where its own need no temperature.
    """
    tensors, heads = dict(checkpoint.tensors), {}
    for name, entry in checkpoint.config["heads"].items():
        heads[name] = {key: value for key, value in entry.items() if key != "temperature"}
        for part in ("weight", "bias"):
            at = f"heads.{name}.classifier.{part}"
            tensors[at] = (tensors[at] / np.float32(entry.get("temperature", 1.0))).astype(np.float32)
    return replace(checkpoint, tensors=tensors, config={**checkpoint.config, "heads": heads})


def student_of(name: str, teacher: Path | None, layers: Sequence[int] | int | None, seed: int) -> Checkpoint:
    """Return the student that the command line names.

    `name` is a checkpoint folder, a pack (its weights as they are rounded), `every-other` (of the checkpoint
    `teacher`; `layers` says how many or which, half of them by default), or base weights, which get the
    teacher's heads, drawn anew from `seed`.

    Raises:
        TrainingError: nothing of that name, or `every-other` of a teacher that is a pack.
        CheckpointError: a folder that holds no sound checkpoint.
        PackError, ExportError: a pack that is damaged, or whose graph this project did not write.
    """
    folder = model_folder(Path(name))
    if name != EVERY_OTHER and is_pack(folder):
        found = read_pack(folder)
    elif name != EVERY_OTHER and (folder / "model.safetensors").is_file() and _is_distilbert(folder):
        found = read_checkpoint(folder)
    elif teacher is None:
        raise TrainingError(
            f"student {name}: needs a teacher that is a checkpoint folder, for its layers or its heads; "
            "a pack has only rounded weights"
        )
    elif name == EVERY_OTHER:
        found = read_checkpoint(teacher)
        layers = layers or max(1, found.sizes.n_layers // 2)
    else:
        found = _from_base(name, read_checkpoint(teacher), seed)
    if layers:
        chosen = spread(found.sizes.n_layers, layers) if isinstance(layers, int) else list(layers)
        found = keep_layers(found, chosen)
    return without_temperatures(found)


def _is_distilbert(folder: Path) -> bool:
    from worker.lab.convert.architecture import read_config

    return bool(read_config(folder / "config.json").get("model_type") == "distilbert")


def _from_base(base: str, teacher: Checkpoint, seed: int) -> Checkpoint:
    """Return folded base weights with the teacher's heads, drawn anew."""
    from worker.lab.base import (
        base_folder,
        fold,
    )
    from worker.lab.checkpoint import head_shapes

    folder = base_folder(base)
    config, weights = fold(folder)
    tensors: Tensors = {f"distilbert.{name}": array for name, array in weights.items()}
    rng = np.random.default_rng(seed)
    config["heads"] = teacher.config["heads"]
    if "text" in teacher.config:
        config["text"] = teacher.config["text"]
    sizes = read_architecture(config, folder / "config.json")
    for head in teacher.heads.values():
        deepest = max(head.layers, default=0) if head.branch is None else head.branch.after
        if deepest >= config["n_layers"]:
            raise TrainingError(f"student {base}: it has no layer {deepest} below its last one")
        for name, shape in head_shapes(head, sizes).items():
            if name.startswith("transformer."):  # a branch begins as the layers that it stands beside
                tensors[f"heads.{head.name}.{name}"] = _copied(head, name, tensors, sizes.n_layers - 1)
                continue
            drawn = rng.normal(0.0, _SPREAD, shape) if name.endswith("weight") else np.zeros(shape)
            tensors[f"heads.{head.name}.{name}"] = drawn.astype(np.float32)
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    return Checkpoint(base, config, tensors, tokenizer)


def _copied(head: HeadInfo, name: str, tensors: Tensors, last: int) -> NDArray[np.float32]:
    """Return a branch's tensor `transformer.layer.N.…` as a copy of the trunk's layer at the same height."""
    if head.branch is None:
        raise ValueError("this head has no branch")
    number, _, part = name.removeprefix("transformer.layer.").partition(".")
    return tensors[layer_prefix(min(head.branch.after + int(number), last)) + part].copy()


def without_heads(checkpoint: Checkpoint, names: Sequence[str]) -> Checkpoint:
    """Return the model without these heads, and without token heads that one of them gates."""
    gone = set(names)
    table = checkpoint.config["heads"]
    gone |= {name for name, entry in table.items() if (entry.get("gate") or {}).get("head") in gone}
    if not gone:
        return checkpoint
    heads = {name: entry for name, entry in table.items() if name not in gone}
    if not heads:
        raise TrainingError("the teachers have none of the student's heads")
    tensors = {
        name: array
        for name, array in checkpoint.tensors.items()
        if not any(name.startswith(f"heads.{head}.") for head in gone)
    }
    return replace(checkpoint, tensors=tensors, config={**checkpoint.config, "heads": heads})
