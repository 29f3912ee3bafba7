"""`moodstream compress` without torch: options, results and refusals."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.checkpoints import MARKING, SIZES, random_tensors, write_checkpoint
from worker.cli.main import cli, main
from worker.errors import CutError
from worker.lab.compress import _read
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.curve import Point, Rate, agreement, as_json, draw, rates, table
from worker.lab.options import CompressOptions, Cut
from worker.model.pack import load_pack

CONFIG = {**SIZES, "heads": MARKING}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("command") / "whole", CONFIG, random_tensors(CONFIG))


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path / "nowhere"))
    rows = ["the film was great", "it is late", "a lovely train on time", "broken phone!"] * 8
    (tmp_path / "texts.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "texts.txt"


def test_layers_and_words_are_cut_measured_and_drawn(folder: Path, texts: Path, tmp_path: Path) -> None:
    arguments = [
        "compress", str(folder), str(tmp_path / "small"), "--layers", "3", "--layers", "1,3",
        "--vocabulary", str(texts), "--curve", str(tmp_path / "curve.json"),
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    pack = load_pack(tmp_path / "small")
    config = json.loads((pack.path / "config.json").read_text(encoding="utf-8"))
    assert config["n_layers"] == 2  # the last combination
    curve = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))
    names = [point["name"] for point in curve["points"]]
    assert len(names) == 3
    assert names[0] == "original"
    original, same, small = curve["points"]
    assert original["rate"]["ratio"] == 1.0
    assert original["parameters"] >= same["parameters"] > small["parameters"]
    assert set(original["agreement"]) == set(MARKING)
    assert all(value == 1.0 for value in original["agreement"].values())
    assert small["megabytes"] < original["megabytes"]
    card = (pack.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Made smaller by `moodstream compress` from whole: 2 layers" in card
    assert "Nothing was trained afterwards." in card


def test_a_pack_can_be_cut_too(folder: Path, texts: Path, tmp_path: Path) -> None:
    convert_checkpoint(folder, tmp_path / "pack", name="whole")
    result = CliRunner().invoke(
        cli,
        ["compress", str(tmp_path / "pack"), str(tmp_path / "small"), "--layers", "2", "--texts", str(texts)],
    )
    assert result.exit_code == 0, result.output
    assert "original" in result.output


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        ([], "nothing to cut", 2),
        (["--int8"], "--int8 rounds during the recovery training", 2),
        (["--heads", "2"], "give texts: --texts FILE", 2),
        (["--layers", "two"], "layers must be a number", 2),
        (["--layers", "9", "--texts", "TEXTS"], "cannot keep 9 layers of 3", 2),
        (["--layers", "2,1", "--texts", "TEXTS"], "layers to keep must be in ascending order", 2),
        (["--vocabulary", "nowhere.txt"], "nowhere.txt: No such file", 2),
        (["--layers", "2", "--data", "nowhere", "--texts", "TEXTS"], "no data folder nowhere", 2),
        (["--layers", "2"], "nothing to measure on", 2),
    ],
)
def test_mistakes_are_one_line(
    folder: Path,
    texts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
    code: int,
) -> None:
    options = [str(texts) if option == "TEXTS" else option for option in options]
    assert main(["compress", str(folder), str(tmp_path / "out"), *options]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_nothing_but_an_older_pack_is_replaced(
    folder: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear", encoding="utf-8")
    options = ["--layers", "2", "--texts", str(texts)]
    assert main(["compress", str(folder), str(tmp_path / "mine"), *options]) == 2
    assert "is neither a pack nor an exported model: it is not replaced" in capsys.readouterr().err
    assert (tmp_path / "mine/letter.txt").read_text(encoding="utf-8") == "dear"
    assert main(["compress", str(folder), str(folder), *options]) == 2
    assert "holds what the new folder is made from" in capsys.readouterr().err
    convert_checkpoint(folder, tmp_path / "older", name="older")
    assert main(["compress", str(folder), str(tmp_path / "older"), *options]) == 0
    config = json.loads((tmp_path / "older/config.json").read_text(encoding="utf-8"))
    assert config["n_layers"] == 2


def test_no_model_is_told(tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(tmp_path / "none"), str(tmp_path / "out"), "--layers", "2"]) == 7
    assert "there is no checkpoint at" in capsys.readouterr().err


def test_every_combination_once() -> None:
    options = CompressOptions(
        model=Path("a"), out=Path("b"), texts=(Path("c"),), layers=(6, (1, 3, 6)), hidden=(1024, 768)
    )
    assert list(options.cuts()) == [
        Cut(6, None, 1024), Cut(6, None, 768), Cut((1, 3, 6), None, 1024), Cut((1, 3, 6), None, 768),
    ]  # fmt: skip
    assert [cut.name for cut in options.cuts()][-1] == "1+3+6-layers-768-columns"


def test_rates_are_relative_to_the_first(folder: Path, tmp_path: Path) -> None:
    pack = convert_checkpoint(folder, tmp_path / "pack", name="x").path
    found = rates({"one": pack, "two": pack}, ["the film was great"] * 20, rounds=3)
    assert (found["one"].ratio, found["one"].low, found["one"].high) == (1.0, 1.0, 1.0)
    assert 0.01 < found["two"].low <= found["two"].ratio <= found["two"].high < 100
    assert found["one"].per_second > 0


def _points() -> list[Point]:
    return [
        Point("original", 1000, 2.0, Rate(100.0, 1.0, 1.0, 1.0), {"a": 1.0}, {"sst2 accuracy": 0.9}),
        Point("small", 500, 1.0, Rate(190.0, 1.9, 1.7, 2.0), {"a": 0.8}, {"sst2 accuracy": 0.85}),
    ]


def test_the_table_has_a_line_a_model() -> None:
    lines = table(_points()).splitlines()
    assert len(lines) == 3
    assert lines[2].split()[:3] == ["small", "500", "1.0"]
    assert "1.90 (1.70 to 2.00)" in lines[2]
    assert "85.0" in lines[2]


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra `plots`")
    picture, values = draw(_points(), 0.5, tmp_path / "deep" / "curve.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(values.read_text(encoding="utf-8")) == json.loads(json.dumps(as_json(_points(), 0.5)))
    assert _points()[1].quality == 0.85


def test_each_pack_decides_by_its_own_numbers(tmp_path: Path) -> None:
    """Two packs with the same weights: one calls every text toxic, and lets a label pass everywhere."""
    loud = {
        **MARKING,
        "toxicity": {**MARKING["toxicity"], "logit_adjustment": [0.0, -500.0]},
        "emotion": {**MARKING["emotion"], "thresholds": [0.0, 0.4, 0.6, 0.5, 0.3]},
    }
    silent = {
        **loud,
        "toxicity": {**MARKING["toxicity"], "logit_adjustment": [0.0, 500.0]},
        "emotion": {**MARKING["emotion"], "thresholds": [1.0, 0.4, 0.6, 0.5, 0.3]},
    }
    packs: list[Path] = []
    for name, heads in (("loud", loud), ("silent", silent)):
        write_checkpoint(tmp_path / f"{name}-checkpoint", {**SIZES, "heads": heads}, random_tensors(CONFIG))
        packs.append(convert_checkpoint(tmp_path / f"{name}-checkpoint", tmp_path / name, name=name).path)
    found = agreement(packs[0], packs[1], ["the film was great", "it is late"])
    assert (found["toxicity"], found["sentiment"]) == (0.0, 1.0)
    assert found["emotion"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("option", ["--texts", "--vocabulary"])
@pytest.mark.parametrize("rows", [30, 400])
def test_texts_to_learn_from_are_left_where_the_same_are_measured_on(
    folder: Path, tmp_path: Path, option: str, rows: int
) -> None:
    path = tmp_path / "posts.txt"
    path.write_text("".join(f"post number {number}\n" for number in range(rows)), encoding="utf-8")
    options = CompressOptions(
        model=folder,
        out=tmp_path / "out",
        layers=((1,),),
        recover=(path,),
        texts=(path,) if option == "--texts" else (),
        vocabulary=(path,) if option == "--vocabulary" else (),
    )
    read = _read(options)
    assert len(read.learnt) >= rows * 9 // 10
    assert read.measured
    assert not set(read.learnt) & set(read.measured)


def test_one_text_to_learn_and_measure_on_is_too_few(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "posts.txt"
    path.write_text("one post\n", encoding="utf-8")
    with pytest.raises(CutError, match="no texts to recover on, other than those to measure on"):
        _read(
            CompressOptions(
                model=folder, out=tmp_path / "out", layers=((1,),), recover=(path,), texts=(path,)
            )
        )
