"""`moodstream train` as a process: from a table to a pack, killed in the middle, with a full disk."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.numpy import load_file

from worker.errors import TargetError, TrainingError
from worker.lab import build
from worker.lab.bases import read_base
from worker.lab.build import Places, make_pack
from worker.lab.device import best_precision, choose_device
from worker.lab.network import network_of
from worker.lab.plots import read_history
from worker.lab.recipe import Optimiser, Recipe, Run, Task
from worker.lab.train import train
from worker.lab.trainer import Position, save_state
from worker.model.classifier import Classifier
from worker.types import Failure

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[2]
TOPICS = {"good": "lovely great superb", "bad": "awful broken dull"}
PLAIN = "train film phone on monday the a is was it"


def _table(path: Path, rows: int = 120, header: str = "text,topic") -> Path:
    rng = Random(3)
    lines = []
    for number in range(rows):
        topic = ("good", "bad")[number % 2]
        words = [*rng.choices(PLAIN.split(), k=rng.randint(3, 9)), rng.choice(TOPICS[topic].split())]
        lines.append(f"{' '.join(words)},{topic}")
    path.write_text("\n".join([header, *lines]), encoding="utf-8")
    return path


def _recipe_file(folder: Path, base: Path, table: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        f'name = "own"\nbase = "{base}"\n'
        "[optimiser]\ntrunk_rate = 2e-3\nhead_rate = 5e-3\nmax_padded_tokens = 128\n"
        '[run]\nseed = 3\nthreads = 1\nprecision = "fp32"\ncheckpoint_minutes = 0.0005\n'
        f'[[tasks]]\nfile = "{table}"\nepochs = 15\nmax_tokens = 32\nmasked = 0.1\n',
        encoding="utf-8",
    )
    return path


def _command(*args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "worker", "train", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def _killed_in_the_middle(running: "subprocess.Popen[str]", work: Path) -> None:
    """Kill the process while it writes states, usually when one is half written."""
    until = time.monotonic() + 200
    while time.monotonic() < until and running.poll() is None:
        if len(read_history(work / "history.jsonl")) >= 20 and (work / "state.safetensors").is_file():
            running.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    assert running.wait(30) == -signal.SIGKILL
    if running.stderr is not None:
        running.stderr.close()


@pytest.mark.timeout(600)
def test_a_kill_anywhere_and_the_same_seed_give_the_same_pack(tiny_bert: Path, tmp_path: Path) -> None:
    recipe = _recipe_file(tmp_path, tiny_bert, _table(tmp_path / "mine.csv"))
    whole = _command(recipe, "--work", tmp_path / "whole")
    _, told = whole.communicate(timeout=300)
    assert whole.returncode == 0, told
    assert "training.png" in told
    broken = _command(recipe, "--work", tmp_path / "broken")
    _killed_in_the_middle(broken, tmp_path / "broken")
    assert not (tmp_path / "broken" / "pack").exists()
    resumed = _command(recipe, "--work", tmp_path / "broken", "--resume")
    _, told = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, told
    assert "resumed at step " in told
    for name in ("checkpoint/model.safetensors", "pack/model.onnx"):
        files = [(tmp_path / run / name).read_bytes() for run in ("whole", "broken")]
        assert files[0] == files[1], name
    histories = [read_history(tmp_path / run / "history.jsonl") for run in ("whole", "broken")]
    assert [point.step for point in histories[0]] == [point.step for point in histories[1]]


def test_a_table_becomes_a_pack_that_labels(tiny_bert: Path, tmp_path: Path) -> None:
    places = Places(None, tmp_path / "work", tmp_path / "pack")
    lines: list[str] = []
    make_pack(_recipe(tiny_bert, _table(tmp_path / "mine.csv", 400)), places, say=lines.append)
    answers = Classifier.load(places.pack).classify(["the phone was lovely", "it is broken on monday"])
    assert [None if isinstance(a, Failure) else a.heads["topic"].label for a in answers] == ["good", "bad"]
    report = json.loads((places.work / "report.json").read_text(encoding="utf-8"))
    (row,) = report["int8"]
    assert (row["data"], row["rows"], row["head"]) == ("mine.csv", 80, "topic")
    assert row["figures"]["accuracy"]["value"] > 0.9
    card = (places.pack / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| | good | 160 | 40 |" in card
    config = json.loads((places.pack / "config.json").read_text(encoding="utf-8"))
    assert config["heads"]["topic"]["temperature"] != 1.0  # 80 rows are enough to fit one
    assert (places.work / "training.png").read_bytes().startswith(b"\x89PNG")
    assert "mine.csv: 400 rows read, 400 kept" in lines[0]


def test_several_labels_a_row_and_a_head_with_the_name_of_a_method(tiny_bert: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "mine.csv", 200, "text,type")
    text = table.read_text(encoding="utf-8").replace(",good", ",good;kind").replace("film", "film train")
    table.write_text(text, encoding="utf-8")
    places = Places(None, tmp_path / "work", tmp_path / "pack")
    pack = make_pack(
        _recipe(tiny_bert, table, epochs=20, label_column="type"), places, say=lambda _line: None
    )
    (head,) = pack.heads
    assert (head.name, head.labels) == ("type", ("bad", "good", "kind"))
    (answer,) = Classifier.load(places.pack).classify(["the phone was lovely"])
    assert not isinstance(answer, Failure)
    assert set(answer.heads["type"].labels or ()) == {"good", "kind"}


def test_a_table_beside_a_known_set(tiny_bert: Path, small_data: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_bert, _table(tmp_path / "mine.csv"), epochs=2)
    recipe = recipe.changed(tasks=(*recipe.tasks, Task(data="sst2", epochs=2, max_tokens=32)))
    places = Places(small_data, tmp_path / "work", tmp_path / "pack")
    pack = make_pack(recipe, places, say=lambda _line: None)
    assert [head.name for head in pack.heads] == ["topic", "sentiment"]
    report = json.loads((places.work / "report.json").read_text(encoding="utf-8"))
    assert {"mine.csv", "sst2"} <= {row["data"] for row in report["int8"]}
    card = (places.pack / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| mine.csv | 96 | 2 | a table of the user's | known to its owner |" in card


def test_our_own_checkpoint_is_a_base_and_its_trunk_is_kept(tiny_bert: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_bert, _table(tmp_path / "mine.csv"))
    make_pack(recipe, Places(None, tmp_path / "work", tmp_path / "pack"), say=lambda _line: None)
    base = read_base(str(tmp_path / "work" / "checkpoint"))
    saved = load_file(tmp_path / "work" / "checkpoint" / "model.safetensors")
    assert saved.keys() == base.tensors.keys()
    assert all((saved[name] == array).all() for name, array in base.tensors.items())
    assert "heads" not in base.encoder_config
    packed = read_base(str(tmp_path / "pack"))
    assert packed.encoder_config == base.encoder_config
    for (
        name,
        array,
    ) in base.of_encoder().items():  # rounded as in the pack, which also folds biases
        if not name.endswith("weight"):
            continue
        assert abs(packed.of_encoder()[name] - array).mean() <= 0.02 * abs(array).mean(), name


def test_a_full_disk_leaves_the_older_state_whole_for_real(tiny_bert: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_bert, _table(tmp_path / "mine.csv"), epochs=0.5)
    trained = train(recipe, None, tmp_path / "work", say=lambda _line: None)
    path = tmp_path / "work" / "state.safetensors"
    before = path.read_bytes()
    network = network_of(trained.checkpoint)
    optimiser = torch.optim.AdamW(network.parameters())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 4, hard))  # no file may grow beyond
    try:
        with pytest.raises(TrainingError, match=r"cannot write .*state"):
            save_state(path, network, optimiser, Position(9, 1.0, "x", "fp32"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert not list((tmp_path / "work").glob("*.partial"))


def test_a_folder_that_is_no_pack_is_not_replaced(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path / "none", tmp_path / "mine.csv")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear", encoding="utf-8")
    for place in (tmp_path / "letters", tmp_path / "letters" / "a.txt"):
        with pytest.raises(TargetError, match="is neither a pack nor an exported model: it is not replaced"):
            make_pack(recipe, Places(None, tmp_path / "work", place))
    assert not (tmp_path / "work").exists()


def test_without_a_gpu_auto_is_the_processor_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(TrainingError, match="torch sees no GPU here"):
        choose_device("cuda")
    with pytest.raises(TrainingError, match="several processes can share a processor, but not a GPU"):
        choose_device("cuda", processes=2)
    assert best_precision(torch.device("cpu")) in ("fp32", "bf16")


def _recipe(base: Path, table: Path, epochs: float = 8, label_column: str = "topic") -> Recipe:
    return Recipe(
        name="own",
        base=str(base),
        tasks=(Task(file=str(table), label_column=label_column, epochs=epochs, max_tokens=32),),
        optimiser=Optimiser(trunk_rate=2e-3, head_rate=5e-3, max_padded_tokens=256),
        run=Run(seed=3, threads=1, precision="fp32"),
    )


def test_without_matplotlib_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "has", lambda _extra: False)
    lines: list[str] = []
    build._draw(tmp_path, {}, lines.append)
    assert lines == ["no plot: that needs: pip install 'moodstream[plots]'"]
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_refused_once_the_table_has_changed(tiny_bert: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "mine.csv")
    recipe = _recipe(tiny_bert, table, epochs=0.5)
    train(recipe, None, tmp_path / "work", say=lambda _line: None)
    text = table.read_text(encoding="utf-8").replace("monday", "phone")
    table.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match="was made by another recipe or other data"):
        train(recipe, None, tmp_path / "work", resume=True, say=lambda _line: None)
    (tmp_path / "work" / "state.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(TrainingError, match=r"cannot be read: .*start without --resume"):
        train(recipe, None, tmp_path / "work", resume=True, say=lambda _line: None)
