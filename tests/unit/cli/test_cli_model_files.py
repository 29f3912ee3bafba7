"""`moodstream model show --json | export | diff`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.support.checkpoints import MARKING, SIZES, VOCABULARY, random_tensors, write_checkpoint
from worker.errors import ExitCode
from worker.lab.convert.writer import convert_checkpoint
from worker.model.pack import bundled_pack, load_pack

WARM = {
    **MARKING,
    "sentiment": {**MARKING["sentiment"], "temperature": 2.5},
    "emotion": {**MARKING["emotion"], "groups": {"low": ["mood0", "mood1"]}},
}


def make_pack(folder: Path, name: str, **changes: Any) -> Path:
    """A tiny pack with four heads."""
    config = {**SIZES, "heads": WARM, "text": {"name": "social", "version": 1}} | changes
    write_checkpoint(folder / f"{name}-checkpoint", config)
    return convert_checkpoint(folder / f"{name}-checkpoint", folder / name, name=name).path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = [
        {"text": text} for text in ("the film was great", "it is late 😀", "awful train on time", "lovely!")
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n{}\n", encoding="utf-8")
    return path


def test_show_tells_all_that_follows_from_the_configuration(moodstream: Any, tmp_path: Path) -> None:
    make_pack(tmp_path, "tiny")
    lines = moodstream("model", "show", "tiny").out.splitlines()
    assert "reads       up to 24 tokens; texts prepared by social 1" in lines
    size = len(VOCABULARY)
    assert f"encoder     3 layers of 32, 4 attention heads each, {size} tokens in the vocabulary" in lines
    assert "sentiment: single label classification, 3 labels, temperature 2.5" in lines
    assert "  mood0 > 0.50, mood1 > 0.40, mood2 > 0.60, mood3 > 0.50, mood4 > 0.30" in lines
    assert "  low: mood0, mood1" in lines
    assert "toxic_spans: token classification, 1 label" in lines
    assert "  toxic > 0.5, from layers 2, 1" in lines
    assert "  asked where toxicity gives toxic at least 0.6" in lines


@pytest.mark.parametrize(
    ("numbers", "line"),
    [([0.0, -0.5], "toxic > 0.38"), ([0.0, 0.0], "toxic > 0.50"), ([-1000, 1000], "toxic > 1.00")],
)
def test_show_tells_from_where_on_a_text_is_called_toxic(
    moodstream: Any, tmp_path: Path, numbers: list[float], line: str
) -> None:
    heads = {**WARM, "toxicity": {**WARM["toxicity"], "logit_adjustment": numbers}}
    make_pack(tmp_path, "wary", heads=heads)
    shown = moodstream("model", "show", "wary").out.splitlines()
    head = shown.index("toxicity: single label classification, 2 labels, temperature 1.5")
    assert shown[head + 1 : head + 3] == ["  not_toxic, toxic", f"  {line}"]


def test_a_changed_limit_is_a_difference(moodstream: Any, tmp_path: Path, texts: Path) -> None:
    for name, number in (("one", -0.5), ("other", -0.75)):
        heads = {**WARM, "toxicity": {**WARM["toxicity"], "logit_adjustment": [0.0, number]}}
        make_pack(tmp_path, name, heads=heads)
    told = moodstream("model", "diff", "one", "other", "--file", str(texts)).out
    assert "head toxicity: other logit adjustment" in told


def test_show_prints_the_figures_of_the_card(moodstream: Any) -> None:
    ended = moodstream("model", "show")
    header = next(line for line in ended.out.splitlines() if line.startswith("SPLIT"))
    assert header.split() == ["SPLIT", "ROWS", "FIGURE", "FP32", "INT8"]
    value = json.loads(moodstream("model", "show", "--json").out)
    pack = load_pack(bundled_pack())
    assert (value["name"], value["revision"]) == (pack.name, pack.revision)
    assert value["heads"].keys() == {head.name for head in pack.outputs}
    accuracy = [
        row for row in value["figures"] if row["split"] == "SST-2 dev" and row["figure"] == "accuracy"
    ]
    assert len(accuracy) == 1
    assert float(accuracy[0]["int8"].split()[0]) > 80


def test_export_writes_one_head(moodstream: Any, tmp_path: Path) -> None:
    make_pack(tmp_path, "tiny")
    ended = moodstream("model", "export", "tiny", "out", "--head", "sentiment")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("out: DistilBertForSequenceClassification, head sentiment (3 labels), ")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"config.json", "model.safetensors"}
    again = moodstream("model", "export", "tiny", "out", "--head", "sentiment")
    assert again.code == ExitCode.USAGE
    assert again.lines == ["moodstream: out is there already; it is replaced only with --replace"]
    assert moodstream("model", "export", "tiny", "out", "--head", "emotion", "--replace").code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("export", "tiny", "{}", "--head", "sentiment"),
        ("import", "./tiny-checkpoint", "--output", "{}"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_wrong_argument(
    moodstream: Any, tmp_path: Path, command: tuple[str, ...]
) -> None:
    make_pack(tmp_path, "tiny")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for place, why in (("file/out", "file is not a folder"), ("file/deep/out", "Not a directory")):
        ended = moodstream("model", *(word.format(place) for word in command))
        assert ended.code == ExitCode.USAGE
        assert ended.lines == [f"moodstream: cannot write {place}: {why}"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "choose with --head (sentiment, emotion, toxicity)"),
        (("--head", "mood"), "has no head 'mood'"),
        (("--head", "toxic_spans"), "sentiment, emotion, toxicity can be exported"),
    ],
)
def test_a_head_that_cannot_be_exported_is_a_wrong_option(
    moodstream: Any, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    make_pack(tmp_path, "tiny")
    ended = moodstream("model", "export", "tiny", "more", *args)
    assert ended.code == ExitCode.USAGE
    assert said in ended.err
    assert not (tmp_path / "more").exists()


def test_diff_of_a_pack_with_itself_is_nothing(moodstream: Any, tmp_path: Path, texts: Path) -> None:
    make_pack(tmp_path, "tiny")
    ended = moodstream("model", "diff", "tiny", "tiny", "--file", str(texts))
    assert ended.code == 0
    assert "4 messages, 0 with other labels or marks" in ended.out
    assert ended.lines == [f"{texts}:5: {ended.err.split(': ', 1)[1].strip()}"]  # the row without a text


def test_diff_leaves_out_a_head_of_another_kind(moodstream: Any, tmp_path: Path, texts: Path) -> None:
    make_pack(tmp_path, "old")
    make_pack(tmp_path, "new", heads={**WARM, "toxic_spans": WARM["sentiment"]})
    ended = moodstream("model", "diff", "old", "new", "--file", str(texts), "--json")
    assert ended.code == 0
    assert "moodstream: head toxic_spans marks words in one pack alone: left out" in ended.lines
    assert json.loads(ended.out)["heads"].keys() == {"sentiment", "emotion", "toxicity"}


def test_diff_names_every_message_that_changed(moodstream: Any, tmp_path: Path, texts: Path) -> None:
    make_pack(tmp_path, "old")
    folder = tmp_path / "old-checkpoint"
    tensors = load_file(folder / "model.safetensors")
    for name in ("weight", "bias"):  # negative and positive change places
        part = tensors[f"heads.sentiment.classifier.{name}"]
        tensors[f"heads.sentiment.classifier.{name}"] = np.ascontiguousarray(part[[2, 1, 0]])
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["heads"]["emotion"]["thresholds"] = [0.0] * 5
    config["heads"]["toxic_spans"].pop("gate")
    config["heads"]["toxic_spans"]["threshold"] = 1.0
    (folder / "config.json").write_text(json.dumps(config))
    convert_checkpoint(folder, tmp_path / "new", name="new")
    value = json.loads(moodstream("model", "diff", "old", "new", "--file", str(texts), "--json").out)
    assert (value["rows"], value["changed"]) == (4, 4)
    for change in value["heads"]["sentiment"]["changes"]:
        assert {change["before"], change["after"]} == {"negative", "positive"}
        assert change["moved"] > 0
    every = ", ".join(f"mood{number}" for number in range(5))
    for change in value["heads"]["emotion"]["changes"]:
        assert change["after"] == f"{change['before'].partition(' ')[0]} ({every})"
    assert len(value["heads"]["emotion"]["changes"]) == 4
    marks = value["heads"]["toxic_spans"]["changes"]
    assert marks
    for change in marks:  # all that was marked is not marked now
        start, end = map(int, change["before"].rpartition("(")[2].rstrip(")").split(" to "))
        assert repr(change["text"][start:end]) in change["before"]
        assert (change["after"], change["moved"]) == ("", 1.0)
    assert value["heads"]["toxicity"]["changed"] == 0
    text = moodstream("model", "diff", "old", "new", "--file", str(texts), "--show", "1").out
    assert "head emotion: other thresholds" in text
    assert "and 3 more" in text


def test_diff_sees_another_strongest_label(moodstream: Any, tmp_path: Path, texts: Path) -> None:
    """An adjustment changes which label is the strongest, but neither scores nor which labels pass."""
    passing = {**WARM["emotion"], "thresholds": [0.0] * 5}
    make_pack(tmp_path, "old", heads={**WARM, "emotion": passing})
    lowered = {**passing, "logit_adjustment": [0.0, 0.0, 0.0, 0.0, -50.0]}
    make_pack(tmp_path, "new", heads={**WARM, "emotion": lowered})
    value = json.loads(moodstream("model", "diff", "old", "new", "--file", str(texts), "--json").out)
    changes = value["heads"]["emotion"]["changes"]
    assert (value["changed"], len(changes)) == (len(changes), len(changes))
    assert changes
    for change in changes:
        before, after = (change[key].split(" ", 1) for key in ("before", "after"))
        assert (after[0], before[1], change["moved"]) == ("mood4", after[1], 0.0)
    assert (
        moodstream("model", "diff", "old", "new", "--file", str(texts), "--show", "-1").code == ExitCode.USAGE
    )


def test_diff_of_packs_with_other_heads(moodstream: Any, tmp_path: Path, texts: Path) -> None:
    make_pack(tmp_path, "tiny")
    config = {**SIZES, "heads": {"sentiment": WARM["sentiment"]}}
    write_checkpoint(tmp_path / "one-checkpoint", config, random_tensors(config, seed=9))
    convert_checkpoint(tmp_path / "one-checkpoint", tmp_path / "one", name="one")
    out = moodstream("model", "diff", "tiny", "one", "--file", str(texts)).out
    assert "text: social 1 -> raw 1" in out
    assert "head emotion: gone" in out
    assert "head toxic_spans: gone" in out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("none", "none", "--file", "texts.jsonl"),
            "moodstream: there is no model pack at none: no such folder",
        ),
        (("none", "none", "--file", "no.jsonl"), "moodstream: no.jsonl: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(moodstream: Any, texts: Path, args: tuple[str, ...], line: str) -> None:
    ended = moodstream("model", "diff", *args)
    assert ended.code in {ExitCode.USAGE, ExitCode.MODEL}
    assert ended.lines == [line]
