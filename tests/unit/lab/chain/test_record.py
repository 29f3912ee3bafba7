"""What a stage has left: done, broken off, or from something else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.lab.chain.conftest import Leave
from worker.errors import TrainingError
from worker.lab.chain.places import CHECKPOINT, Layout
from worker.lab.chain.record import RECORD, Found, Status, read_record, survey, write_record
from worker.lab.chain.stages import STAGES, Stage, chosen
from worker.lab.data import own_posts, tweet_labels
from worker.lab.recipe import Recipe, load_recipe


def _found(layout: Layout, *names: str) -> dict[str, Found]:
    return {each.stage.name: each for each in survey(chosen(names), layout)}


def _status(layout: Layout, *names: str) -> list[Status]:
    return [each.status for each in _found(layout, *names).values()]


def test_nothing_is_there_then_begun_then_done(layout: Layout, leave: Leave) -> None:
    assert _status(layout) == [Status.NEW] * len(STAGES)
    found = _found(layout, "compact-1")["compact-1"]
    write_record(layout.work / "compact-1", found.digest)
    assert _status(layout, "compact-1") == [Status.BEGUN]
    leave("compact-1")
    assert _status(layout, "compact-1") == [Status.DONE]


@pytest.mark.parametrize("gone", ["pack", "checkpoint"])
def test_a_half_written_stage_goes_on(layout: Layout, leave: Leave, gone: str) -> None:
    leave("compact-1")
    folder = layout.work / "compact-1"
    if gone == "pack":
        (folder / "pack").unlink()
        (folder / "pack").mkdir()
        (folder / "pack" / "manifest.json").write_text('{"format": 1, "na', encoding="utf-8")
    else:
        (folder / CHECKPOINT / "model.safetensors").unlink()
    found = _found(layout, "compact-1")["compact-1"]
    assert found.status is Status.BEGUN
    assert found.why == "its pack or checkpoint is gone or damaged"


def test_another_pack_than_the_one_that_was_made_is_not_the_stages(layout: Layout, leave: Leave) -> None:
    leave("compact-1")
    digest = _found(layout, "compact-1")["compact-1"].digest
    write_record(layout.work / "compact-1", digest, "0" * 12)
    assert _status(layout, "compact-1") == [Status.BEGUN]


@pytest.mark.parametrize(
    "record", ["", "[1]", "{}", '{"digest": 7}', "{\xff", '{"digest": "0123456789abcdef"}']
)
def test_a_record_that_is_damaged_or_of_other_recipes_is_refused(layout: Layout, record: str) -> None:
    (layout.work / "compact-1").mkdir(parents=True)
    (layout.work / "compact-1" / RECORD).write_text(record, encoding="latin-1")
    found = _found(layout, "compact-1")["compact-1"]
    assert (found.status, found.why) == (Status.OTHER, "was made by other recipes or from other data")


def test_a_folder_without_a_record_is_not_taken_over(layout: Layout) -> None:
    (layout.work / "compact-1").mkdir(parents=True)
    assert _status(layout, "compact-1") == [Status.NEW]
    (layout.work / "compact-1" / "state.safetensors").touch()
    found = _found(layout, "compact-1")["compact-1"]
    assert found.status is Status.OTHER
    assert found.why == "has no stage.json: something else made it"


def test_a_changed_recipe_changes_the_digests_of_what_reads_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: found.digest for name, found in _found(layout).items()}

    def changed(path: Path) -> Recipe:
        recipe = load_recipe(path)
        if path.stem != "compact-6":
            return recipe
        return recipe.changed(optimiser=recipe.optimiser.changed(trunk_rate=0.123))

    monkeypatch.setattr("worker.lab.chain.stages.load_recipe", changed)
    after = {name: found.digest for name, found in _found(layout).items()}
    same = {name for name in before if before[name] == after[name]}
    assert "compact-5" in same
    assert "teacher-spans-bert" in same
    assert not same & {"compact-6", "compact-7", "compact-8", "compact-11", "compact", "compact-fast"}


def test_options_and_data_change_a_digest_and_folders_do_not(layout: Layout, tmp_path: Path) -> None:
    before = _found(layout, "compact-9")["compact-9"].digest
    moved = replace(layout, work=tmp_path / "elsewhere", packs=tmp_path / "others")
    assert _found(moved, "compact-9")["compact-9"].digest == before
    with (layout.data / "sst2" / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("a film\t1\n")
    assert _found(layout, "compact-9")["compact-9"].digest != before


def test_every_option_of_a_distillation_is_in_its_digest(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "compact-9"
    before = _found(layout, name)[name].digest
    number = next(n for n, stage in enumerate(STAGES) if stage.name == name)
    how = STAGES[number].distillation
    assert how is not None
    for other in (
        replace(how, limit=11.0),
        replace(how, layers="3"),
        replace(how, quantised=False),
        replace(how, student=how.teacher),
    ):
        changed = (*STAGES[:number], replace(STAGES[number], distillation=other), *STAGES[number + 1 :])
        monkeypatch.setattr("worker.lab.chain.record.STAGES", changed)
        (found,) = survey([changed[number]], layout)
        assert found.digest != before


def test_the_posts_of_our_own_are_part_of_the_data(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _found(layout, "compact-13", "compact-1")
    monkeypatch.setattr(own_posts, "FOLDER", tmp_path)
    after = _found(layout, "compact-13", "compact-1")
    assert before["compact-13"].digest != after["compact-13"].digest
    assert before["compact-1"].digest == after["compact-1"].digest


def test_our_labels_of_tweets_are_part_of_the_data(layout: Layout) -> None:
    names = ("teacher-social", "teacher-social-2")
    before = _found(layout, *names)
    with (layout.data / tweet_labels.FILE.name).open("a", encoding="utf-8") as file:
        file.write("00ff\tneutral\tneutral\tnot_toxic\n")
    after = _found(layout, *names)
    assert before["teacher-social-2"].digest != after["teacher-social-2"].digest
    assert before["teacher-social"].digest == after["teacher-social"].digest


def test_a_corrected_label_changes_a_digest_though_the_file_is_as_long(layout: Layout) -> None:
    before = _found(layout, "teacher-social-2")["teacher-social-2"].digest
    path = layout.data / tweet_labels.FILE.name
    text = path.read_text(encoding="utf-8")
    assert "\tnegative\t" in text
    path.write_text(text.replace("\tnegative\t", "\tpositive\t", 1), encoding="utf-8")
    assert path.stat().st_size == len(text.encode("utf-8"))
    assert _found(layout, "teacher-social-2")["teacher-social-2"].digest != before


def test_a_digest_does_not_depend_on_what_else_is_chosen(layout: Layout) -> None:
    whole = _found(layout, *(stage.name for stage in STAGES))
    for name in list(whole)[::7]:
        assert _found(layout, name)[name].digest == whole[name].digest


def test_a_stage_older_than_what_it_reads_is_refused(layout: Layout, leave: Leave) -> None:
    leave("compact-1", "teacher-tweets")
    assert _status(layout, "compact-1", "teacher-tweets") == [Status.DONE, Status.DONE]
    (layout.work / "compact-1" / RECORD).unlink()
    for file in sorted((layout.work / "compact-1").rglob("*"), reverse=True):
        file.unlink() if file.is_symlink() or file.is_file() else file.rmdir()
    found = _found(layout, "compact-1", "teacher-tweets")
    assert found["compact-1"].status is Status.NEW
    assert found["teacher-tweets"].status is Status.OTHER
    assert found["teacher-tweets"].why.startswith("is older than compact-1")
    # Alone, what is there is enough.
    assert _status(layout, "teacher-tweets") == [Status.DONE]


def test_a_record_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"^cannot write .*stage\.json: "):
        write_record(tmp_path / "file", "digest")
    assert read_record(tmp_path / "none") is None


def test_a_record_is_json(layout: Layout) -> None:
    write_record(layout.work / "s", "abc", "def")
    assert json.loads((layout.work / "s" / RECORD).read_bytes()) == {"digest": "abc", "pack": "def"}
    assert sorted(path.name for path in (layout.work / "s").iterdir()) == [RECORD]


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(TrainingError, match=r"^unknown stage 'compact-99': there is teacher-sst2, "):
        chosen(["compact-1", "compact-99"])
    assert chosen(["compact-2", "compact-1"]) == [
        stage for stage in STAGES if stage.name in ("compact-1", "compact-2")
    ]
    assert isinstance(chosen()[0], Stage)
