"""`moodstream model show | verify | import`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from worker.errors import ExitCode
from worker.model.pack import bundled_pack, load_pack

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "so", "##ly"]
CONFIG = {
    "model_type": "distilbert",
    "dim": 8,
    "hidden_dim": 16,
    "n_layers": 1,
    "n_heads": 2,
    "vocab_size": len(VOCAB),
    "max_position_embeddings": 16,
    "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of the bundled pack."""
    return Path(shutil.copytree(bundled_pack(), tmp_path / "pack"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny DistilBertForSequenceClassification with made-up weights."""
    rng = np.random.default_rng(7)
    shapes = {
        "distilbert.embeddings.word_embeddings.weight": (len(VOCAB), 8),
        "distilbert.embeddings.position_embeddings.weight": (16, 8),
        "pre_classifier.weight": (8, 8),
        "pre_classifier.bias": (8,),
        "classifier.weight": (2, 8),
        "classifier.bias": (2,),
    }
    layer = "distilbert.transformer.layer.0"
    for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
        shapes |= {f"{layer}.attention.{name}.weight": (8, 8), f"{layer}.attention.{name}.bias": (8,)}
    shapes |= {f"{layer}.ffn.lin1.weight": (16, 8), f"{layer}.ffn.lin1.bias": (16,)}
    shapes |= {f"{layer}.ffn.lin2.weight": (8, 16), f"{layer}.ffn.lin2.bias": (8,)}
    for norm in (f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm", "distilbert.embeddings.LayerNorm"):
        shapes |= {f"{norm}.weight": (8,), f"{norm}.bias": (8,)}
    folder = tmp_path / "tiny"
    folder.mkdir()
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    return folder


def test_show_tells_what_a_pack_is(moodstream: Any) -> None:
    pack = load_pack(bundled_pack())
    ended = moodstream("model", "show")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{pack.name}@{pack.revision}\n")
    for head in pack.heads:
        assert f"{head.name}: " in ended.out
        assert all(label in ended.out for label in head.labels)
    assert all(name in ended.out for name in pack.files)


def test_the_setting_names_the_pack(moodstream: Any, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOODSTREAM_MODEL__PATH", str(pack))
    assert str(pack) in moodstream("model", "show").out
    assert moodstream("model", "verify").code == 0


def test_verify_finds_one_changed_byte(moodstream: Any, pack: Path) -> None:
    assert "is sound: " in moodstream("model", "verify", str(pack)).out
    graph = pack / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    ended = moodstream("model", "verify", str(pack))
    assert ended.code == ExitCode.MODEL
    (line,) = ended.lines
    assert line.startswith("moodstream: ")
    assert "model.onnx" in line
    assert moodstream("label", "-", "--model", str(pack)).code == ExitCode.MODEL


def test_a_folder_that_is_no_pack(moodstream: Any, tmp_path: Path) -> None:
    for command in ("show", "verify"):
        ended = moodstream("model", command, str(tmp_path / "none"))
        assert ended.code == ExitCode.MODEL
        assert len(ended.lines) == 1


def test_import_makes_a_pack_that_labels(moodstream: Any, checkpoint: Path, process: Any) -> None:
    ended = moodstream("model", "import", str(checkpoint), "--output", "tiny-pack")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("tiny@")
    assert "sentiment (2 labels)" in ended.out
    assert moodstream("model", "verify", "tiny-pack").code == 0
    labelled = process("label", "-", "--model", "tiny-pack", text=b"so good\n")
    assert labelled.code == 0, labelled.err
    fields = json.loads(labelled.out)
    assert fields["sentiment_label"] in {"negative", "positive"}
    assert fields["model"].startswith("tiny@")


def test_import_says_what_the_pack_reads(moodstream: Any, checkpoint: Path) -> None:
    silent = moodstream("model", "import", str(checkpoint), "--output", "a")
    assert silent.out.endswith("; does not say which languages it reads\n")
    assert load_pack(Path("a")).languages is None
    (checkpoint / "README.md").write_text("---\nlanguage:\n- fr\n- it\n---\n# Mine\n")
    page = moodstream("model", "import", str(checkpoint), "--output", "b")
    assert page.out.endswith("; reads fr, it\n")
    told = moodstream("model", "import", str(checkpoint), "--output", "c", "--languages", "de, pt-BR")
    assert told.out.endswith("; reads de, pt\n")
    assert json.loads(moodstream("model", "show", "c", "--json").out)["languages"] == ["de", "pt"]
    assert "reads de, pt\n" in moodstream("model", "show", "c").out


def test_a_language_that_is_none_is_one_line(moodstream: Any, checkpoint: Path) -> None:
    ended = moodstream("model", "import", str(checkpoint), "--languages", "en,german")
    assert ended.code == ExitCode.USAGE
    assert "'german' is not a language code; write ISO 639 codes, as in en, it or pt-BR" in ended.err
    assert "Traceback" not in ended.err


def test_import_without_output_names_the_pack_after_the_checkpoint(
    moodstream: Any, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = moodstream("model", "import", str(checkpoint), "--name", "mine")
    assert ended.code == ExitCode.OK
    assert "mine-pack" in ended.out
    assert load_pack(tmp_path / "mine-pack").name == "mine"


def test_schema_prints_the_columns_of_the_pack(moodstream: Any) -> None:
    ended = moodstream("model", "schema")
    assert ended.code == ExitCode.OK
    columns = json.loads(ended.out)["properties"]
    assert {"sentiment_label", "emotion_labels", "emotion_joy"} <= columns.keys()


def test_import_of_what_is_no_checkpoint_is_one_line(moodstream: Any, tmp_path: Path) -> None:
    ended = moodstream("model", "import", str(tmp_path / "none"), "--output", "x")
    assert ended.code == ExitCode.MODEL
    assert len(ended.lines) == 1
    assert not Path("x").exists()


def test_import_of_several_makes_a_pack_of_each(moodstream: Any, checkpoint: Path) -> None:
    other = Path(shutil.copytree(checkpoint, checkpoint.parent / "other"))
    ended = moodstream("model", "import", str(checkpoint), str(other))
    assert (ended.code, ended.err) == (0, "")
    assert [line.partition("@")[0] for line in ended.out.splitlines()] == [checkpoint.name, "other"]
    assert load_pack(Path(f"{checkpoint.name}-pack")).heads == load_pack(Path("other-pack")).heads


@pytest.mark.parametrize("option", [("--output", "x"), ("--name", "x")])
def test_import_of_several_takes_no_single_name(moodstream: Any, option: tuple[str, str]) -> None:
    ended = moodstream("model", "import", "a", "b", *option)
    assert ended.code == ExitCode.USAGE
    assert "--output and --name are for one checkpoint" in ended.err
    assert "two checkpoints are named a" in moodstream("model", "import", "x/a", "y/a").err


def test_commands_on_packs_take_those_of_the_setting(
    moodstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOODSTREAM_MODEL__PATH", "compact,compact-fast")
    shown = json.loads(moodstream("model", "show", "--json").out)
    assert [pack["name"] for pack in shown] == ["compact", "compact-fast"]
    columns = json.loads(moodstream("model", "schema").out)["properties"]
    assert {"compact_sentiment_label", "compact_fast_sentiment_label", "compact_toxic_spans"} < columns.keys()
    assert columns == json.loads(moodstream("model", "schema", "compact", "compact-fast").out)["properties"]
    verified = moodstream("model", "verify").out.splitlines()
    assert [line.partition("@")[0] for line in verified] == ["compact", "compact-fast"]
    assert moodstream("model", "schema", "compact", "compact").code == ExitCode.MODEL
