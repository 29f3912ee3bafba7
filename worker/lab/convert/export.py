"""Exporting a folder that transformers loads: weights, configuration, tokenizer, and a short README."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from worker.errors import ExportError, ExportHeadError
from worker.heads import MULTI, SINGLE, heads_table
from worker.lab.convert.architecture import (
    CLASSIFIER,
    TENSORS,
    Architecture,
    only_head,
    read_architecture,
    read_checkpoint_heads,
    read_config,
)
from worker.lab.convert.folders import check_target, written
from worker.lab.convert.from_pack import (
    GraphWeights,
    check_shapes,
    encoder_weights,
    fill_heads,
    head_weights,
)
from worker.lab.convert.tokenizer_files import write_tokenizer_files
from worker.lab.convert.weights import FILE, Weights, open_weights
from worker.model.pack import CONFIG, GRAPH, MANIFEST, load_pack
from worker.model.text.names import EMOJI

Floats = NDArray[np.float32]

_KINDS = (SINGLE, MULTI)
_OURS = ("heads", "early_exit", "head_dim")
"""Entries of our configuration about all heads; the exported one has a single head."""


class Exported(NamedTuple):
    """What was written."""

    folder: Path
    head: str
    labels: tuple[str, ...]
    parameters: int


class _Source(NamedTuple):
    """A model to export: its configuration, the head's entry, and its tensors under transformers' names."""

    config: dict[str, Any]
    table: Mapping[str, Any]
    """The head's entry in our configuration."""
    tensors: dict[str, Floats]
    folder: Path
    title: str


def export_model(source: Path, folder: Path, head: str | None = None, *, replace: bool = False) -> Exported:
    """Write a pack or checkpoint with one of its heads as a DistilBertForSequenceClassification.

    The head's temperature goes into its last layer, so a plain softmax or sigmoid gives the pack's scores;
    thresholds, groups and the text handling are stored in `config.json`, where transformers ignores them. The
    folder is written atomically. An existing one is only replaced with `replace`, and only if it is a pack or
    an exported model.

    Raises:
        ExportHeadError: no such head, none where there are several, or one that transformers cannot express.
        ExportError: the model has no form in transformers.
        TargetError: the folder exists or cannot be written.
        PackError, CheckpointError: the model cannot be read.
    """
    if not source.is_dir():
        raise ExportError(f"there is no model at {source}: no such folder")
    check_target(folder, source, replace=replace)
    name, found = _read(source, head)
    labels = tuple(found.table["id2label"].values())
    check_shapes(found.tensors, found.config, len(labels))
    with written(folder) as draft:
        save_file(found.tensors, draft / FILE, metadata={"format": "pt"})
        (draft / FILE).chmod(0o644)  # safetensors gives it to its owner alone
        _write_json(draft / CONFIG, _config(found, name))
        write_tokenizer_files(found.folder, draft, found.config["max_position_embeddings"])
        if (found.folder / EMOJI).is_file():
            shutil.copyfile(found.folder / EMOJI, draft / EMOJI)
        (draft / "README.md").write_text(_readme(found, name), encoding="utf-8")
    return Exported(folder, name, labels, sum(values.size for values in found.tensors.values()))


def _read(source: Path, head: str | None) -> tuple[str, _Source]:
    """Read a pack or a checkpoint, and choose the head."""
    is_pack = (source / MANIFEST).is_file()
    title = source.name
    if is_pack:
        pack = load_pack(source)
        title = f"{pack.name}@{pack.revision}"
    path = source / CONFIG
    config = read_config(path)
    sizes = read_architecture(config, path)
    if sizes.relative_attention_num_buckets:
        raise ExportError(
            f"{title}: its encoder comes from an MPNet and reads the distances of tokens, "
            "which transformers' DistilBERT does not"
        )
    known = read_checkpoint_heads(config, path)
    heads = config.get("heads") or heads_table(known)
    name = _choose(heads, head, title)
    table = heads[name]
    if is_pack:
        graph = GraphWeights(source / GRAPH)
        tensors = encoder_weights(graph, sizes.n_layers, sizes.head_dim) | head_weights(graph, name)
    else:
        with open_weights(source, only_head(config, known)) as weights:
            tensors = _checkpoint_tensors(weights, sizes, name, len(table["id2label"]))
    if "pre_classifier.weight" not in tensors:
        raise ExportError(
            f"{title}: the head {name} reads the encoder without a layer of its own in between, "
            "and transformers' DistilBERT always has one"
        )
    _cool(tensors, float(table.get("temperature", 1.0)))
    fill_heads(tensors, sizes.dim)
    whole = {**config, **_sizes(sizes), "n_heads": sizes.dim // sizes.head_dim}
    return name, _Source(whole, table, tensors, source, title)


def _sizes(sizes: Architecture) -> dict[str, Any]:
    """Return the sizes under the names of DistilBertConfig, including those left at their defaults."""
    names = (
        "dim",
        "hidden_dim",
        "n_layers",
        "n_heads",
        "vocab_size",
        "max_position_embeddings",
        "activation",
    )
    return {name: getattr(sizes, name) for name in names}


def _choose(heads: Mapping[str, Any], head: str | None, title: str) -> str:
    """Return the head to export: the named one, or the only one that can be exported.

    Raises ExportHeadError.
    """
    fitting = [name for name, table in heads.items() if table.get("problem_type") in _KINDS]
    if head is None:
        if len(fitting) == 1:
            return fitting[0]
        raise ExportHeadError(
            f"{title} has several heads, but a folder of transformers has one: "
            f"choose with --head ({', '.join(fitting)})"
        )
    if head not in heads:
        raise ExportHeadError(f"{title} has no head {head!r}; there is {', '.join(heads)}")
    if head not in fitting:
        raise ExportHeadError(
            f"{title}: the head {head} marks tokens from several layers, which transformers cannot express; "
            f"{', '.join(fitting)} can be exported"
        )
    return head


def _checkpoint_tensors(weights: Weights, sizes: Architecture, head: str, labels: int) -> dict[str, Floats]:
    """Return a checkpoint's encoder and one head, checked against its configuration."""
    dim, wide, attention = sizes.dim, sizes.hidden_dim, sizes.attention_dim
    linears = {f"attention.{part}_lin": (attention, dim) for part in ("q", "k", "v")}
    linears |= {"attention.out_lin": (dim, attention), "ffn.lin1": (wide, dim), "ffn.lin2": (dim, wide)}
    shapes: dict[str, tuple[int, ...]] = {
        "distilbert.embeddings.word_embeddings.weight": (sizes.vocab_size, dim),
        "distilbert.embeddings.position_embeddings.weight": (sizes.max_position_embeddings, dim),
    }
    norms = ["distilbert.embeddings.LayerNorm"]
    for layer in (f"distilbert.transformer.layer.{number}" for number in range(sizes.n_layers)):
        for part, shape in linears.items():
            shapes |= {f"{layer}.{part}.weight": shape, f"{layer}.{part}.bias": shape[:1]}
        norms += [f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm"]
    shapes |= {f"{norm}.{kind}": (dim,) for norm in norms for kind in ("weight", "bias")}
    found = {name: weights.get(name, *shape) for name, shape in shapes.items()}
    for part, rows in (("pre_classifier", dim), ("classifier", labels)):
        name = f"{TENSORS}{head}.{part}"
        if f"{name}.weight" in weights:
            found[f"{part}.weight"] = weights.get(f"{name}.weight", rows, dim)
            found[f"{part}.bias"] = weights.get(f"{name}.bias", rows)
    return found


def _cool(tensors: dict[str, Floats], temperature: float) -> None:
    """Divide the weights of the last layer, and so the logits, by the temperature."""
    for kind in ("weight", "bias"):
        tensors[f"classifier.{kind}"] = np.asarray(tensors[f"classifier.{kind}"] / np.float32(temperature))


def _config(source: _Source, head: str) -> dict[str, Any]:
    """Return the configuration of one head in transformers' form, with our own entries added."""
    kept = {name: value for name, value in source.config.items() if name not in _OURS}
    labels = source.table["id2label"]
    ours = ("thresholds", "logit_adjustment", "groups")
    extras = {name: source.table[name] for name in ours if name in source.table}
    return {
        **kept,
        "architectures": [CLASSIFIER],
        "model_type": "distilbert",
        "dtype": "float32",
        "problem_type": source.table["problem_type"],
        "id2label": labels,
        "label2id": {label: int(number) for number, label in labels.items()},
        **extras,
        "moodstream": {"from": source.title, "head": head},
    }


def _readme(source: _Source, head: str) -> str:
    handling = source.config.get("text")
    prepared = (
        "The texts it was trained on went through Moodstream's text handling "
        f"`{handling['name']}`, version {handling['version']}, and so should yours: "
        "`worker.model.text.normaliser.normaliser"
        f"({handling['name']!r}, {handling['version']}).apply(text)`.\n"
        if handling
        else ""
    )
    thresholds = (
        "A label is assigned at its threshold in `thresholds` of `config.json`, not at 0.5.\n"
        if "thresholds" in source.table
        else ""
    )
    adjusted = (
        "The strongest label is that whose logit less its number in `logit_adjustment` is the largest.\n"
        if "logit_adjustment" in source.table
        else ""
    )
    return (
        f"# {source.title}, head `{head}`\n\n"
        "Written by `moodstream model export`. "
        "`AutoModelForSequenceClassification.from_pretrained` loads it.\n"
        f"{prepared}{thresholds}{adjusted}"
        "For its data, licence and limits, see the card of the model that it was exported from.\n"
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
