"""The whole chain of the bundled packs on tiny models and made-up rows: every stage, from an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.errors import ExitCode, TrainingError
from worker.lab.chain import record, smoke
from worker.lab.chain.places import CHECKPOINT, Layout
from worker.lab.chain.record import RECORD, Status, survey
from worker.lab.chain.runner import run_chain
from worker.lab.chain.smoke import in_this_process
from worker.lab.chain.stage import make_stage
from worker.lab.chain.stages import STAGES, Stage, chosen
from worker.lab.recipe import BASE
from worker.model.classifier import Classifier
from worker.model.pack import load_pack

pytestmark = [pytest.mark.train, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, list[str]]:
    """Run the chain once; return where, and what it said."""
    folder, said = tmp_path_factory.mktemp("chain"), list[str]()
    smoke.smoke(folder, said.append)
    layout = Layout(
        folder / "data",
        folder / "train",
        folder / "packs",
        folder / "bases",
        {BASE: folder / "bases" / BASE},
        small=True,
    )
    return layout, said


def test_every_stage_leaves_a_pack_and_a_checkpoint(made: tuple[Layout, list[str]]) -> None:
    layout, said = made
    assert [each.status for each in survey(STAGES, layout)] == [Status.DONE] * len(STAGES)
    for stage in STAGES:
        folder = layout.folder(stage)
        left = {path.name for path in folder.iterdir()}
        assert {RECORD, CHECKPOINT, "recipe.toml"} <= left
        assert not left & {"state.safetensors", "draft", "taught"}
        assert load_pack(layout.pack(stage)).name == stage.name
    assert sum(" labels: " in line for line in said) == sum(stage.ships for stage in STAGES)


def test_what_ships_has_every_head_its_layers_and_a_card_with_figures(made: tuple[Layout, list[str]]) -> None:
    layout, _ = made
    for stage in STAGES:
        card = (layout.pack(stage) / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert ("SST-2 dev |" in card) == stage.ships
        assert ("Not measured" in card) != stage.ships
    shipped = [stage for stage in STAGES if stage.ships]
    packs = [load_pack(layout.pack(stage)) for stage in shipped]
    for pack in packs:
        assert [head.name for head in pack.outputs] == ["sentiment", "emotion", "toxicity", "toxic_spans"]
        model = Classifier.load(pack.path)
        (said,) = model.predict(model.tokenize(["what a lovely film"]))
        assert set(said.heads) == {"sentiment", "emotion", "toxicity"}
    assert {pack.name: pack.config["n_layers"] for pack in packs} == {"compact": 6, "compact-fast": 3}
    (teacher,) = chosen(["teacher-social-3"])
    heads = {head.name for head in load_pack(layout.pack(teacher)).outputs}
    assert heads == {"sentiment", "emotion", "toxicity", "toxic_spans"}


def test_a_second_run_makes_nothing(made: tuple[Layout, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    layout, said = made[0], list[str]()
    monkeypatch.setattr(smoke, "make_stage", None)
    assert run_chain(STAGES, layout, in_this_process(layout), say=said.append) == []
    assert said == [f"all {len(STAGES)} stages are done"]


def _goemotions(tmp_path: Path) -> tuple[Stage, Layout, str]:
    layout = smoke.small_layout(tmp_path)
    (stage,) = chosen(["teacher-goemotions-1"])
    (found,) = survey([stage], layout)
    return stage, layout, found.digest


def test_a_stage_that_was_broken_off_goes_on_from_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, layout, digest = _goemotions(tmp_path)

    def full(*_: object) -> None:
        raise TrainingError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("worker.lab.build.write_folder", full)
        with pytest.raises(TrainingError, match="the disk is full"):
            make_stage(stage, layout, digest, resume=False, say=lambda _line: None)
    assert (layout.folder(stage) / "state.safetensors").is_file()
    (found,) = survey([stage], layout)
    assert found.status is Status.BEGUN
    said: list[str] = []
    run_chain([stage], layout, in_this_process(layout, said.append), say=said.append)
    assert any(line.startswith("resumed at step ") for line in said)
    assert [each.status for each in survey([stage], layout)] == [Status.DONE]
    assert not (layout.folder(stage) / "state.safetensors").exists()


def test_a_half_written_state_gives_one_line(tmp_path: Path) -> None:
    stage, layout, digest = _goemotions(tmp_path)
    record.write_record(layout.folder(stage), digest)
    (layout.folder(stage) / "state.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(TrainingError, match=r"state\.safetensors cannot be read: .*") as error:
        run_chain([stage], layout, in_this_process(layout), say=lambda _line: None)
    assert "\n" not in str(error.value)


def _command(layout: Layout, *options: str) -> subprocess.CompletedProcess[str]:
    folders = [f"--{name}={getattr(layout, name)}" for name in ("data", "work", "packs", "bases")]
    command = [sys.executable, "-m", "worker.lab.chain", *folders, *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


def test_the_command_makes_a_stage_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The real recipe and the real trunk, on a few rows."""
    layout = smoke.small_layout(tmp_path)
    done = _command(layout, "--only", "teacher-goemotions-1")
    assert done.returncode == 0, done.stderr
    assert "moodstream: 1 of 1 stages to make: teacher-goemotions-1" in done.stderr
    assert "teacher-goemotions-1: pack teacher-goemotions-1 " in done.stderr
    entry = json.loads((layout.work / "teacher-goemotions-1" / RECORD).read_bytes())
    assert load_pack(layout.work / "teacher-goemotions-1" / "pack").revision == entry["pack"]
    again = _command(layout, "--only", "teacher-goemotions-1")
    assert (again.returncode, again.stderr) == (0, "moodstream: all 1 stages are done\n")


def test_the_command_refuses_a_folder_of_other_recipes_and_what_is_missing(
    made: tuple[Layout, list[str]],
) -> None:
    """The small recipes made this folder; the command has the real ones."""
    done = _command(made[0], "--only", "compact-1", "--only", "teacher-sst2")
    assert done.returncode == ExitCode.USAGE
    says, *_, first, second = done.stderr.splitlines()
    assert says == "moodstream: 2 of 2 stages to make: teacher-sst2, compact-1"
    assert [first, second] == [
        f"moodstream: stage {name}: {made[0].work / name} was made by other recipes or from other data; "
        "--again makes it anew"
        for name in ("teacher-sst2", "compact-1")
    ]
    assert "unknown stage 'none'" in _command(made[0], "--only", "none").stderr


def test_a_stage_that_fails_in_its_process_says_why_in_one_line(tmp_path: Path) -> None:
    layout = smoke.small_layout(tmp_path)
    rows = layout.data / "goemotions" / "train.tsv"
    rows.write_text("no tabs\n", encoding="utf-8")
    done = _command(layout, "--only", "teacher-goemotions-1")
    assert done.returncode == ExitCode.USAGE
    why, failed = done.stderr.splitlines()[-2:]
    assert why == f"teacher-goemotions-1: {rows}, line 1: expected 3 columns, found 1"
    assert failed.startswith("moodstream: stage teacher-goemotions-1 failed (exit code 2)")
