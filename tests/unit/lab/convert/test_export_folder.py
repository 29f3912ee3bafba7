"""An exported folder, imported again, gives the same scores as the original pack."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.support.checkpoints import MARKING, ONE_HEAD, SIZES, TWO_HEADS, random_tensors, write_checkpoint
from worker.errors import CheckpointError, ExportError, PackError, TargetError
from worker.lab.convert.export import export_model
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.pack import load_pack

TEXTS = ["", "great!", "the film was great, it is lovely", "late, broken and awful", "on time " * 9]
WARM = {
    **MARKING,
    "sentiment": {**MARKING["sentiment"], "temperature": 2.5},
    "emotion": {**MARKING["emotion"], "temperature": 0.5},
}


def scores(pack: Path, head: str) -> np.ndarray:
    model = Classifier.load(pack)
    rows = model.tokenize(TEXTS)
    return np.array([list(model.predict([row])[0].heads[head].scores.values()) for row in rows])


def checkpoint(tmp_path: Path, heads: dict[str, Any] = WARM, **changes: Any) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", {**SIZES, **changes, "heads": heads})


@pytest.mark.parametrize("head", ["sentiment", "emotion"])
@pytest.mark.parametrize("quantise", [False, True])
def test_a_pack_comes_back(tmp_path: Path, head: str, quantise: bool) -> None:
    pack = convert_checkpoint(checkpoint(tmp_path), tmp_path / "pack", name="tiny", quantise=quantise).path
    done = export_model(pack, tmp_path / "out", head)
    assert (done.head, len(done.labels)) == (head, len(MARKING[head]["id2label"]))
    again = convert_checkpoint(tmp_path / "out", tmp_path / "again", name="again", quantise=False).path
    difference = np.abs(scores(pack, head) - scores(again, head)).max()
    # In int8 the pack rounds activations, and the exported model does not.
    assert difference < (0.05 if quantise else 1e-5)
    assert scores(pack, head).std() > 0.05
    (found,) = load_pack(again).heads
    original = next(entry for entry in load_pack(pack).heads if entry.name == head)
    assert found == replace(original, temperature=1.0)  # which is folded into its weights now


def test_int8_weights_come_back_as_the_graph_uses_them(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny").path
    export_model(pack, tmp_path / "out", "sentiment")
    original, found = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "out"))
    for name in ("attention.q_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"):
        full = f"distilbert.transformer.layer.1.{name}.weight"
        # Half a step of the row's largest value over 127, more if smoothing scaled a column up.
        assert 0 < np.abs(found[full] - original[full]).max() < 0.03 * np.abs(original[full]).max()
    words = "distilbert.embeddings.word_embeddings.weight"
    step = np.abs(original[words]).max(axis=1, keepdims=True) / 127
    assert (np.abs(found[words] - original[words]) <= 0.51 * step).all()


def test_a_checkpoint_with_its_temperature_in_the_last_layer(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    export_model(folder, tmp_path / "out", "sentiment")
    original, found = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "out"))
    assert found["classifier.weight"] == pytest.approx(original["heads.sentiment.classifier.weight"] / 2.5)
    assert found["classifier.bias"] == pytest.approx(original["heads.sentiment.classifier.bias"] / 2.5)
    trunk = {name for name in original if name.startswith("distilbert.")}
    assert found.keys() - trunk == {
        f"{p}.{k}" for p in ("pre_classifier", "classifier") for k in ("weight", "bias")
    }
    assert all((found[name] == original[name]).all() for name in trunk)


def test_what_makes_labels_comparable_goes_along_and_comes_back(tmp_path: Path) -> None:
    numbers = [0.5, -0.25, 0.0, 1.0, -1.25]
    heads = {"emotion": {**TWO_HEADS["emotion"], "temperature": 2.0, "logit_adjustment": numbers}}
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": heads})
    export_model(folder, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["logit_adjustment"] == numbers
    assert "logit_adjustment" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    ours = convert_checkpoint(folder, tmp_path / "ours", name="ours", quantise=False)
    back = convert_checkpoint(tmp_path / "out", tmp_path / "back", name="back", quantise=False)
    assert back.heads[0].logit_adjustment == ours.heads[0].logit_adjustment == tuple(numbers)
    texts = ["the film is great", "an awful train", "it was late"]
    first, second = (
        [answer.heads["emotion"].label for answer in Classifier.load(pack.path, threads=1).classify(texts)]  # type: ignore[union-attr]
        for pack in (ours, back)
    )
    assert first == second


def test_the_configuration_is_transformers_and_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, text={"name": "social", "version": 1})
    export_model(folder, tmp_path / "out", "emotion")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["DistilBertForSequenceClassification"]
    assert config["problem_type"] == "multi_label_classification"
    assert config["label2id"] == {f"mood{number}": number for number in range(5)}
    assert config["thresholds"] == TWO_HEADS["emotion"]["thresholds"]
    assert config["text"] == {"name": "social", "version": 1}
    assert "heads" not in config
    assert "logit_adjustment" not in config
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "`social`, version 1" in readme
    assert "thresholds" in readme
    tokens = json.loads((tmp_path / "out" / "special_tokens_map.json").read_text(encoding="utf-8"))
    assert tokens == {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }


def test_pruned_attention_is_filled_up_to_transformers_width(tmp_path: Path) -> None:
    config = {**SIZES, "n_heads": 3, "head_dim": 8, "heads": WARM}
    tensors = random_tensors(config)
    for name, values in tensors.items():
        if any(f".{part}_lin." in name for part in "qkv"):
            tensors[name] = values[:24]
        elif "out_lin.weight" in name:
            tensors[name] = np.ascontiguousarray(values[:, :24])
    folder = write_checkpoint(tmp_path / "pruned", config, tensors)
    pack = convert_checkpoint(folder, tmp_path / "pack", name="pruned", quantise=False).path
    for number, source in enumerate((pack, folder)):
        export_model(source, tmp_path / f"out{number}", "sentiment")
        exported = json.loads((tmp_path / f"out{number}" / "config.json").read_text(encoding="utf-8"))
        assert (exported["n_heads"], "head_dim" in exported) == (4, False)
        again = convert_checkpoint(
            tmp_path / f"out{number}", tmp_path / f"again{number}", name="again", quantise=False
        ).path
        assert np.abs(scores(pack, "sentiment") - scores(again, "sentiment")).max() < 1e-5


def test_an_ordinary_checkpoint_needs_no_head_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "plain", {**SIZES, **ONE_HEAD})
    assert export_model(folder, tmp_path / "out").head == "sentiment"


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    for head, line in (
        (
            None,
            "a folder of transformers has one: choose with --head (sentiment, emotion, toxicity)",
        ),
        ("mood", "has no head 'mood'; there is sentiment, emotion, toxicity, toxic_spans"),
        ("toxic_spans", "the head toxic_spans marks tokens from several layers"),
    ):
        with pytest.raises(ExportError) as caught:
            export_model(folder, tmp_path / "out", head)
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(ExportError, match="no such folder"):
        export_model(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config.json is missing"):
        export_model(tmp_path / "empty", tmp_path / "out")


def test_a_head_without_a_layer_of_its_own(tmp_path: Path) -> None:
    config = {**SIZES, "heads": {"sentiment": TWO_HEADS["sentiment"]}}
    tensors = {n: v for n, v in random_tensors(config).items() if "pre_classifier" not in n}
    folder = write_checkpoint(tmp_path / "bare", config, tensors)
    with pytest.raises(ExportError, match="without a layer of its own"):
        export_model(folder, tmp_path / "out")


def test_an_exported_model_is_replaced_only_when_asked(tmp_path: Path) -> None:
    folder, out = checkpoint(tmp_path), tmp_path / "out"
    export_model(folder, out, "sentiment")
    with pytest.raises(TargetError, match="is there already"):
        export_model(folder, out, "emotion")
    assert json.loads((out / "config.json").read_text())["moodstream"]["head"] == "sentiment"
    export_model(folder, out, "emotion", replace=True)
    assert json.loads((out / "config.json").read_text())["moodstream"]["head"] == "emotion"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "out"]


def test_nothing_that_is_not_ours_is_replaced(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny").path
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.txt").write_text("mine", encoding="utf-8")
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for target, line in (
        (home, "neither a pack nor"),
        (file, "neither a pack nor"),
        (tmp_path, "holds what"),
    ):
        with pytest.raises(TargetError, match=line):
            export_model(folder, target, "sentiment", replace=True)
    with pytest.raises(TargetError, match="holds what the new folder is made from"):
        export_model(pack, pack, "sentiment", replace=True)
    with pytest.raises(TargetError, match="holds what the new folder is made from"):
        export_model(pack, tmp_path / "home" / ".." / "pack", "sentiment", replace=True)
    (pack / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(TargetError, match=r"also holds 'notes\.txt'"):
        export_model(folder, pack, "sentiment", replace=True)
    with pytest.raises(TargetError, match=r"also holds 'notes\.txt'"):
        convert_checkpoint(folder, pack, name="tiny", replace=True)
    assert load_pack(pack).name == "tiny"
    assert ((home / "mine.txt").read_text(), file.read_text()) == ("mine", "mine")
    (pack / "notes.txt").unlink()
    export_model(folder, pack, "sentiment", replace=True)
    assert not (pack / "manifest.json").exists()


def test_a_damaged_pack_is_not_exported(tmp_path: Path) -> None:
    pack = convert_checkpoint(checkpoint(tmp_path), tmp_path / "pack", name="tiny").path
    data = bytearray((pack / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (pack / "model.onnx").write_bytes(data)
    with pytest.raises(PackError, match="damaged"):
        export_model(pack, tmp_path / "out", "sentiment")


def test_a_tensor_of_another_width_is_named(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["distilbert.transformer.layer.1.ffn.lin1.weight"] = np.zeros((48, 32), dtype=np.float32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layer.1.ffn.lin1.weight has shape \(48, 32\)"):
        export_model(folder, tmp_path / "out", "sentiment")
