"""Checkpoints as published by others: other classes, shards, older names and added tokens."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from tests.support.checkpoints import ONE_HEAD, SIZES, VOCABULARY, random_tensors, write_checkpoint
from worker.errors import CheckpointError
from worker.lab.convert.export import export_model
from worker.lab.convert.hub import fetch
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.types import Prediction

WEIGHTS = "model.safetensors"


def checkpoint(folder: Path, **config: Any) -> Path:
    whole = {**SIZES, **ONE_HEAD, **config}
    return write_checkpoint(folder, {name: value for name, value in whole.items() if value is not None})


def answers(checkpoint: Path, pack: Path) -> Prediction:
    convert_checkpoint(checkpoint, pack, name="tiny", quantise=False)
    (answer,) = Classifier.load(pack, threads=1).classify(["the film is great"])
    assert isinstance(answer, Prediction)
    return answer


def refusal(checkpoint: Path, pack: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(checkpoint, pack, name="tiny", quantise=False)
    assert "\n" not in str(caught.value)
    assert not pack.exists()
    return str(caught.value)


@pytest.mark.parametrize("kind", ["TokenClassification", "MultipleChoice", "QuestionAnswering", "MaskedLM"])
def test_a_head_that_judges_no_whole_text_is_refused(tmp_path: Path, kind: str) -> None:
    folder = checkpoint(tmp_path / "checkpoint", architectures=[f"DistilBertFor{kind}"])
    assert f"DistilBertFor{kind}" in refusal(folder, tmp_path / "pack")


def test_a_token_head_is_known_by_its_tensors_too(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    tensors = {name: values for name, values in load_file(folder / WEIGHTS).items() if "pre_cl" not in name}
    save_file(tensors, folder / WEIGHTS)
    assert "no pre_classifier" in refusal(folder, tmp_path / "pack")


@pytest.mark.parametrize("problem", [None, "single_label_classification", "multi_label_classification"])
def test_a_single_logit_gives_its_sigmoid(tmp_path: Path, problem: str | None) -> None:
    folder = checkpoint(tmp_path / "checkpoint", id2label={"0": "toxic"}, problem_type=problem)
    head = answers(folder, tmp_path / "pack").heads["label"]
    assert 0 < head.score < 1
    tensors = load_file(folder / WEIGHTS)
    tensors["classifier.bias"] += 1
    save_file(tensors, folder / WEIGHTS)
    more = answers(folder, tmp_path / "more").heads["label"]
    logits = [np.log(score / (1 - score)) for score in (head.score, more.score)]
    assert logits[1] - logits[0] == pytest.approx(1, abs=1e-4)
    assert head.labels == (("toxic",) if head.score >= 0.5 else ())


@pytest.mark.parametrize(("count", "labels"), [(None, 2), (3, 3), (1, 1)])
def test_labels_without_names_are_called_as_transformers_does(
    tmp_path: Path, count: int | None, labels: int
) -> None:
    names = {"id2label": {str(number): f"LABEL_{number}" for number in range(labels)}}
    folder = checkpoint(tmp_path / "checkpoint", **names)
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config | ({} if count is None else {"num_labels": count})))
    assert tuple(answers(folder, tmp_path / "pack").heads["label"].scores) == tuple(
        names["id2label"].values()
    )


@pytest.mark.parametrize("count", [0, -1, 10**9, 10**400, 2.0, "2", True])
def test_a_number_of_labels_that_cannot_be_is_refused(tmp_path: Path, count: Any) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config | {"num_labels": count}))
    assert "`num_labels`" in refusal(folder, tmp_path / "pack")


def in_shards(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    named = {name: files[number % 2] for number, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name] for name in named if named[name] == file}, folder / file)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": named}))


def test_shards_give_what_one_file_gives(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    expected = answers(folder, tmp_path / "one")
    in_shards(folder)
    assert answers(folder, tmp_path / "two") == expected
    export_model(folder, tmp_path / "exported")
    assert answers(tmp_path / "exported", tmp_path / "three") == expected


@pytest.mark.parametrize(
    "named", ["../model.safetensors", "/etc/passwd", "model.bin", "gone.safetensors", None]
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, named: str | None) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    in_shards(folder)
    index = folder / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"weight_map": {"classifier.bias": named} if named else None}))
    assert str(folder) in refusal(folder, tmp_path / "pack")


def test_shards_are_fetched_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    from tests.support.hub_server import hub_with

    folder = checkpoint(tmp_path / "checkpoint")
    in_shards(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with hub_with("someone/tiny", files | {"pytorch_model-00001-of-00002.bin": b"no"}) as endpoint:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        found = fetch("someone/tiny", endpoint=endpoint)
    assert answers(found.folder, tmp_path / "pack")
    assert not list(found.folder.glob("*.bin"))


def test_older_names_of_a_layer_norm_are_read(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    expected = answers(folder, tmp_path / "one")
    renamed = {}
    for name, values in load_file(folder / WEIGHTS).items():
        older = name
        if "norm" in name.lower():
            older = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        renamed[older] = values
    assert sum(name.endswith(".gamma") for name in renamed) == 2 * SIZES["n_layers"] + 1
    save_file(renamed, folder / WEIGHTS)
    assert answers(folder, tmp_path / "two") == expected


def retyped(path: Path, name: str, kind: str, data: bytes) -> None:
    """Write one tensor as another type, byte for byte, which numpy may not know."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, tensors = json.loads(content[8 : 8 + size]), {}
    for other, entry in header.items():
        start, end = entry.get("data_offsets", (0, 0))
        tensors[other] = (entry.get("dtype"), entry.get("shape"), content[8 + size + start : 8 + size + end])
    tensors.pop("__metadata__", None)
    tensors[name] = (kind, tensors[name][1], data)
    place, table = 0, {}
    for other, (dtype, shape, values) in tensors.items():
        table[other] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(values)]}
        place += len(values)
    head = json.dumps(table).encode()
    path.write_bytes(
        struct.pack("<Q", len(head)) + head + b"".join(values for _, _, values in tensors.values())
    )


@pytest.mark.parametrize(
    ("kind", "width"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("I8", 1), ("U8", 1), ("I64", 8)]
)
def test_quantised_tensors_are_refused_with_their_type(tmp_path: Path, kind: str, width: int) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    count = load_file(folder / WEIGHTS)["classifier.weight"].size
    retyped(folder / WEIGHTS, "classifier.weight", kind, bytes(count * width))
    assert f"classifier.weight holds {kind}" in refusal(folder, tmp_path / "pack")


def test_bfloat16_is_read(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    values = load_file(folder / WEIGHTS)["classifier.weight"]
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    exact = (halves.astype(np.uint32) << 16).view(np.float32).reshape(values.shape)
    tensors = load_file(folder / WEIGHTS) | {"classifier.weight": exact}
    save_file(tensors, folder / WEIGHTS)
    expected = answers(folder, tmp_path / "float")
    retyped(folder / WEIGHTS, "classifier.weight", "BF16", halves.tobytes())
    assert answers(folder, tmp_path / "half") == expected


# Tokens that were added to a vocabulary.


def with_added(folder: Path, **files: Any) -> Path:
    """A checkpoint whose model has two tokens more than its vocabulary."""
    config = {**SIZES, **ONE_HEAD, "vocab_size": len(VOCABULARY) + 2}
    write_checkpoint(folder, config, random_tensors(config))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


FIRST = len(VOCABULARY)
DECODER = {
    str(FIRST): {"content": "<brand>", "special": False, "lstrip": False, "normalized": False},
    str(FIRST + 1): {"content": "[extra]", "special": True},
    "0": {"content": "[PAD]", "special": True},
}


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": {"<brand>": FIRST, "[extra]": FIRST + 1}},
        {"tokenizer_config": {"added_tokens_decoder": DECODER}},
        {"tokenizer_config": {"added_tokens_decoder": DECODER}, "added_tokens": {"<brand>": FIRST}},
    ],
    ids=["added_tokens", "decoder", "both"],
)
def test_added_tokens_keep_their_numbers(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = with_added(tmp_path / "checkpoint", **files)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    reader = Tokenizer.from_file(str(tmp_path / "pack" / "tokenizer.json"))
    assert reader.token_to_id("<brand>") == FIRST
    assert reader.token_to_id("[extra]") == FIRST + 1
    classifier = Classifier.load(tmp_path / "pack", threads=1)
    (row,) = classifier.tokenize(["great <brand> film"])
    assert row.ids[1:-1] == [VOCABULARY.index("great"), FIRST, VOCABULARY.index("film")]


def test_tokens_that_tokenizer_json_lacks_are_added(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path / "plain")
    convert_checkpoint(plain, tmp_path / "pack", name="tiny")
    folder = with_added(tmp_path / "checkpoint", tokenizer_config={"added_tokens_decoder": DECODER})
    (folder / "tokenizer.json").write_bytes((tmp_path / "pack" / "tokenizer.json").read_bytes())
    convert_checkpoint(folder, tmp_path / "added", name="tiny")
    (row,) = Classifier.load(tmp_path / "added", threads=1).tokenize(["<brand>"])
    assert row.ids[1:-1] == [FIRST]


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": {"<brand>": FIRST + 1}},
        {"added_tokens": {"<brand>": 3}},
        {"added_tokens": {"<brand>": "3"}},
        {"added_tokens": {"<brand>": -1}},
        {"added_tokens": []},
        {"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "<brand>"}}}},
        {"tokenizer_config": {"added_tokens_decoder": {str(FIRST): "<brand>"}}},
        {"tokenizer_config": {"added_tokens_decoder": {"9" * 5000: {"content": "<brand>"}}}},
        {"tokenizer_config": {"added_tokens_decoder": [1]}},
    ],
)
def test_added_tokens_that_cannot_be_are_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    refusal(with_added(tmp_path / "checkpoint", **files), tmp_path / "pack")
