"""Converting a checkpoint folder to a pack folder."""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.errors import CheckpointError, InferenceError, PackError
from worker.heads import Head, heads_table
from worker.lab.convert.architecture import (
    TENSORS,
    only_head,
    read_architecture,
    read_checkpoint_heads,
    read_config,
)
from worker.lab.convert.calibrate import largest_magnitudes, rounding_of, take_over
from worker.lab.convert.encoder import Encoder
from worker.lab.convert.folders import check_target, written
from worker.lab.convert.products import FloatProducts, Int8Products, Products
from worker.lab.convert.tokenizer_files import write_tokenizer
from worker.lab.convert.weights import Weights, open_weights
from worker.model.classifier import Classifier
from worker.model.pack import (
    CARD,
    CONFIG,
    FORMAT,
    GRAPH,
    MANIFEST,
    TOKENIZER,
    Pack,
    file_entry,
    load_pack,
    read_languages,
    read_text,
)
from worker.model.text.names import EMOJI, own_table


def convert_checkpoint(
    checkpoint: Path,
    pack: Path,
    *,
    name: str,
    quantise: bool = True,
    replace: bool = False,
    origin: str | None = None,
    rounded_as: Path | None = None,
    languages: Sequence[str] = (),
) -> Pack:
    """Convert the DistilBERT checkpoint in the folder `checkpoint` to a pack in the folder `pack`.

    `quantise` stores weights and multiplies in int8 (a quarter of the size, several times the speed); without
    it the graph is float32. The pack is written atomically. An existing folder is only replaced with
    `replace`, and only if it is a pack or an exported model.
    `origin` is what the card says about where the checkpoint comes from; its folder's name when None.
    `rounded_as` is a pack with which this checkpoint shares layers; they are rounded with its constants.
    `languages` are what the pack will say that it reads; what the checkpoint says when empty.

    Raises:
        CheckpointError: the checkpoint is incomplete or has another architecture.
        TargetError: the target exists or cannot be written.
    """
    if not checkpoint.is_dir():
        raise CheckpointError(f"there is no checkpoint at {checkpoint}: no such folder")
    check_target(pack, checkpoint, replace=replace)
    with written(pack) as draft:
        try:
            said = {"languages": list(languages)} if languages else {}
            _write(checkpoint, draft, name, said, quantise=quantise, origin=origin, rounded_as=rounded_as)
            model = Classifier.load(draft)
            model.predict(model.tokenize(["One text through the finished pack."]))
        except (PackError, InferenceError) as error:
            raise CheckpointError(f"{checkpoint} does not give a working pack: {error}") from error
    return load_pack(pack)


def _write(
    checkpoint: Path,
    draft: Path,
    name: str,
    said: Mapping[str, Any],
    *,
    quantise: bool,
    origin: str | None,
    rounded_as: Path | None,
) -> None:
    """Write all files of the pack into the empty folder `draft`, the manifest last.

    `said` are entries of the configuration that take precedence over the checkpoint's.
    """
    path = checkpoint / CONFIG
    config = {**read_config(path), **said}
    sizes = read_architecture(config, path)
    heads = read_checkpoint_heads(config, path)
    # Refused here, so that the error names the checkpoint's file.
    handling = read_text(config, path)
    read_languages(config, path)
    write_tokenizer(checkpoint, draft / TOKENIZER)
    with open_weights(checkpoint, only_head(config, heads)) as weights:
        _check_head(weights, config, heads, path)
        products: Products = FloatProducts()
        if quantise:
            scratch = draft.parent / "float32.onnx"
            largest = largest_magnitudes(sizes, weights, heads, draft / TOKENIZER, scratch)
            products = Int8Products(largest, rounding_of(rounded_as) if rounded_as is not None else {})
        model = Encoder(sizes, weights, products).build(heads)
    if rounded_as is not None:
        take_over(model, rounded_as)
    (draft / GRAPH).write_bytes(model.SerializeToString())
    write_json(draft / CONFIG, {**config, "heads": heads_table(heads)})
    if handling.named is not None:
        names = checkpoint / EMOJI
        (draft / EMOJI).write_bytes(names.read_bytes() if names.is_file() else own_table())
    _write_card(checkpoint, draft / CARD, name, quantise=quantise, origin=origin)
    write_manifest(draft, name)


def write_manifest(folder: Path, name: str) -> None:
    """Write the manifest of a pack whose other files are all in `folder`."""
    files = {file.name: file_entry(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    write_json(folder / MANIFEST, {"format": FORMAT, "name": name, "created": created, "files": files})


def _check_head(weights: Weights, config: Mapping[str, Any], heads: Sequence[Head], path: Path) -> None:
    """Refuse a transformers checkpoint whose head does not classify whole texts, whatever it is called."""
    name = only_head(config, heads)
    if name and f"{TENSORS}{name}.pre_classifier.weight" not in weights:
        raise CheckpointError(
            f"{path.parent}: its head has no pre_classifier, so it does not classify whole texts: only "
            "DistilBertForSequenceClassification can be converted"
        )


def _write_card(checkpoint: Path, target: Path, name: str, *, quantise: bool, origin: str | None) -> None:
    """Copy the checkpoint's card, or write a short one that says where the weights come from."""
    source = checkpoint / CARD
    if source.is_file():
        shutil.copyfile(source, target)
        return
    form = "int8" if quantise else "float32"
    origin = origin or f"the checkpoint folder `{checkpoint.resolve().name}`"
    target.write_text(
        f"# {name}\n\n"
        f"Converted by `moodstream model import` from {origin}, as {form}.\n"
        "The checkpoint had no card: ask whoever trained it about its data, licence and "
        "limits.\n",
        encoding="utf-8",
    )


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file of a pack as JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
