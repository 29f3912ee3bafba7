"""The student: a checkpoint folder, some layers of a teacher, or base weights with new heads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.errors import CutError, TeacherError
from worker.heads import Head
from worker.lab.bases import encoder_of
from worker.lab.checkpoint import (
    Checkpoint,
    Tensors,
    head_shapes,
    layer_prefix,
    read_checkpoint,
    read_model,
)
from worker.lab.convert.architecture import read_config
from worker.lab.evaluate.score import is_pack
from worker.lab.prune import keep_layers, spread
from worker.model.pack import CONFIG, model_folder

EVERY_OTHER = "every-other"
"""The student made of every other layer of its teacher, like DistilBERT (Sanh et al. 2019)."""

_SPREAD = 0.02  # the standard deviation of BERT's initial weights


def student_of(name: str, teacher: Path | None, layers: Sequence[int] | int | None, seed: int) -> Checkpoint:
    """Return the student that the command line names.

    `name` is a checkpoint folder, a pack (with its rounded weights), `every-other` (layers of the checkpoint
    `teacher`; `layers` says how many or which, by default half of them), or base weights, which get the
    teacher's heads with new weights drawn from `seed`.

    Raises:
        TrainingError, TeacherError: there is no such model, or `every-other` with a teacher that is a pack.
        CheckpointError: the folder has no valid checkpoint.
        PackError, ExportError: the pack is damaged, or its graph was not written by this project.
    """
    folder = model_folder(Path(name))
    if name != EVERY_OTHER and (is_pack(folder) or _is_distilbert(folder)):
        found = read_model(folder)
    elif teacher is None:
        raise TeacherError(
            f"student {name}: needs a teacher that is a checkpoint folder, for its layers or its heads; "
            "a pack has only rounded weights"
        )
    elif name == EVERY_OTHER:
        found = read_checkpoint(teacher)
        layers = layers or max(1, found.sizes.n_layers // 2)
    else:
        found = _with_new_heads(name, read_checkpoint(teacher), seed)
    if layers:
        chosen = spread(found.sizes.n_layers, layers) if isinstance(layers, int) else list(layers)
        found = keep_layers(found, chosen)
    return found.without_temperatures()


def _is_distilbert(folder: Path) -> bool:
    if not (folder / "model.safetensors").is_file():
        return False
    return bool(read_config(folder / CONFIG).get("model_type") == "distilbert")


def _with_new_heads(base: str, teacher: Checkpoint, seed: int) -> Checkpoint:
    """Return the base weights of a BERT with the teacher's heads, newly initialised."""
    encoder = encoder_of(base)
    config = {**encoder.config, "heads": teacher.config["heads"]}
    if "text" in teacher.config:
        config["text"] = teacher.config["text"]
    if "languages" in teacher.config:
        config["languages"] = teacher.config["languages"]
    tensors: Tensors = dict(encoder.tensors)
    sizes = encoder.sizes
    rng = np.random.default_rng(seed)
    for head in teacher.heads.values():
        deepest = max(head.layers, default=0) if head.branch is None else head.branch.after
        if deepest >= sizes.n_layers:
            raise CutError(f"student {base}: it has no layer {deepest} below its last one")
        for name, shape in head_shapes(head, sizes).items():
            if name.startswith("transformer."):  # a branch starts as a copy of the encoder layers beside it
                tensors[f"heads.{head.name}.{name}"] = _copied(head, name, tensors, sizes.n_layers - 1)
                continue
            drawn = rng.normal(0.0, _SPREAD, shape) if name.endswith("weight") else np.zeros(shape)
            tensors[f"heads.{head.name}.{name}"] = drawn.astype(np.float32)
    return replace(encoder, title=base, config=config, tensors=tensors)


def _copied(head: Head, name: str, tensors: Tensors, last: int) -> NDArray[np.float32]:
    """Return a branch's tensor `transformer.layer.N.…`, copied from the encoder layer at the same height."""
    if head.branch is None:
        raise ValueError("this head has no branch")
    number, _, part = name.removeprefix("transformer.layer.").partition(".")
    return tensors[layer_prefix(min(head.branch.after + int(number), last)) + part].copy()


def without_heads(checkpoint: Checkpoint, names: Sequence[str]) -> Checkpoint:
    """Return the model without these heads and without token heads whose gate is one of them.

    Raises TeacherError if no head is left.
    """
    gone = set(names)
    table = checkpoint.config["heads"]
    gone |= {name for name, entry in table.items() if (entry.get("gate") or {}).get("head") in gone}
    if not gone:
        return checkpoint
    heads = {name: entry for name, entry in table.items() if name not in gone}
    if not heads:
        raise TeacherError("the teachers have none of the student's heads")
    tensors = {
        name: array
        for name, array in checkpoint.tensors.items()
        if not any(name.startswith(f"heads.{head}.") for head in gone)
    }
    return replace(checkpoint, tensors=tensors, config={**checkpoint.config, "heads": heads})
