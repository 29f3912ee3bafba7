"""Which folders become packs, which are refused, and that a refusal leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.checkpoints import ONE_HEAD, SIZES, TWO_HEADS, random_tensors, write_checkpoint
from worker.errors import CheckpointError, TargetError
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.pack import load_pack


def refusal(checkpoint: Path, pack: Path) -> str:
    """Return the error of a conversion, which must be one line and leave nothing of a pack behind."""
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(checkpoint, pack, name="tiny", quantise=False)
    message = str(caught.value)
    assert "\n" not in message
    assert not pack.exists()
    assert [path for path in pack.parent.iterdir() if path.name.startswith(".")] == []
    return message


def with_config(tmp_path: Path, **changes: Any) -> Path:
    """Write a valid checkpoint and then change its configuration."""
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    config = {**SIZES, **ONE_HEAD, **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def test_sentiment_labels_get_moodstream_names(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    (head,) = pack.heads
    assert (head.name, head.labels, head.thresholds) == ("sentiment", ("negative", "positive"), ())


def test_other_labels_make_a_head_called_label(tmp_path: Path) -> None:
    config = {
        **SIZES,
        "id2label": {"0": "sports", "1": "news", "2": "other"},
        "problem_type": "multi_label_classification",
    }
    folder = write_checkpoint(tmp_path / "checkpoint", config)
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    (head,) = pack.heads
    assert (head.name, head.labels, head.thresholds) == ("label", ("sports", "news", "other"), (0.5,) * 3)


def test_thresholds_of_the_checkpoint_are_kept(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    assert pack.heads[1].thresholds == tuple(TWO_HEADS["emotion"]["thresholds"])


def test_the_pack_labels_text(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    model = Classifier.load(tmp_path / "pack")
    (prediction,) = model.predict(model.tokenize(["The trains was LATE"]))
    assert prediction.token_count == 7
    sentiment = prediction.heads["sentiment"]
    assert sum(sentiment.scores.values()) == pytest.approx(1)
    assert sentiment.score == max(sentiment.scores.values())


def test_two_conversions_give_the_same_revision(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    first = convert_checkpoint(folder, tmp_path / "one", name="tiny")
    assert convert_checkpoint(folder, tmp_path / "two", name="tiny").revision == first.revision


def test_a_cased_vocabulary_stays_cased(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    (upper, lower) = Classifier.load(tmp_path / "pack").tokenize(["GREAT", "great"])
    assert upper.ids[1:-1] == [1]  # [UNK]: the vocabulary has no capitals
    assert lower.ids[1:-1] != [1]


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    config = {**SIZES, **ONE_HEAD}
    tensors = {name: values.astype(np.float16) for name, values in random_tensors(config).items()}
    folder = write_checkpoint(tmp_path / "checkpoint", config)
    save_file(tensors, folder / "model.safetensors")
    assert convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False).max_tokens == 24


def test_the_card_is_copied_or_says_where_the_weights_come_from(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "my-moods", {**SIZES, **ONE_HEAD})
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    assert "my-moods" in (tmp_path / "pack" / "MODEL_CARD.md").read_text()
    (folder / "MODEL_CARD.md").write_text("# Mine\n")
    convert_checkpoint(folder, tmp_path / "pack2", name="tiny", quantise=False)
    assert (tmp_path / "pack2" / "MODEL_CARD.md").read_text() == "# Mine\n"


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder, tmp_path / "pack")
    assert "pytorch_model.bin" in message
    assert "safetensors" in message


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"model_type": None}, "only distilbert"),
        ({"activation": "swish"}, "'swish'"),
        ({"n_heads": 5}, "does not divide"),
        ({"dim": "32"}, "`dim`"),
        ({"problem_type": "regression"}, "regression"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label"),
        ({"id2label": {"0": "same", "1": "same"}}, "twice"),
        ({"n_layers": 4}, "layer.3"),
        ({"hidden_dim": 48}, "shape"),
    ],
)
def test_what_the_configuration_may_not_say(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    assert word in refusal(with_config(tmp_path, **changes), tmp_path / "pack")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "vocab.txt"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    (folder / file).unlink()
    assert file in refusal(folder, tmp_path / "pack")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    (folder / "model.safetensors").write_bytes(b"not tensors")
    assert "model.safetensors" in refusal(folder, tmp_path / "pack")
    (folder / "config.json").write_text("{")
    assert "config.json" in refusal(folder, tmp_path / "pack")
    assert "no such folder" in refusal(tmp_path / "elsewhere", tmp_path / "pack")


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    config = {**SIZES, **ONE_HEAD}
    tensors = random_tensors(config)
    tensors["classifier.weight"][0, 0] = np.nan
    folder = write_checkpoint(tmp_path / "checkpoint", config, tensors)
    assert "classifier.weight" in refusal(folder, tmp_path / "pack")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    with (folder / "vocab.txt").open("a") as file:
        file.write("onemore\n")
    assert "tokens" in refusal(folder, tmp_path / "pack")


def test_a_pack_that_is_there_is_kept_unless_told(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    convert_checkpoint(folder, tmp_path / "pack", name="old", quantise=False)
    with pytest.raises(TargetError, match="is there already"):
        convert_checkpoint(folder, tmp_path / "pack", name="new", quantise=False)
    assert load_pack(tmp_path / "pack").name == "old"
    convert_checkpoint(folder, tmp_path / "pack", name="new", quantise=False, replace=True)
    assert load_pack(tmp_path / "pack").name == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "pack"]


def test_replacing_with_a_broken_checkpoint_keeps_the_old_pack(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    convert_checkpoint(folder, tmp_path / "pack", name="old", quantise=False)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        convert_checkpoint(folder, tmp_path / "pack", name="new", replace=True)
    assert load_pack(tmp_path / "pack").name == "old"
