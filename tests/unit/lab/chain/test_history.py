"""Packs that shipped once are taken from the repository's history instead of being trained again."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from worker.errors import TrainingError
from worker.lab.chain import history
from worker.lab.chain.history import fetch_stage, from_history, missing_from_history
from worker.lab.chain.needs import check
from worker.lab.chain.places import CHECKPOINT, Layout
from worker.lab.chain.record import Found, Status, survey
from worker.lab.chain.runner import run_chain
from worker.lab.chain.stages import STAGES, Shipped, Stage, chosen
from worker.lab.checkpoint import read_checkpoint
from worker.model.pack import bundled_pack, load_pack

REVISION = load_pack(bundled_pack()).revision.rpartition("@")[2]


def _git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=t", "-c", "user.email=t@t")
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(bundled_pack(), root / "worker/packs/compact")
    _git(root, "init", "--quiet")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "-m", "Ship it")
    shutil.rmtree(root / "worker/packs/compact")
    return root


def _stage(repository: Path, revision: str = REVISION, name: str = "compact") -> Stage:
    (stage,) = chosen(["compact-19"])
    return replace(stage, shipped=Shipped(_git(repository, "rev-parse", "HEAD"), name, revision))


def _quiet(_line: str) -> None:
    pass


def test_the_way_to_what_ships_begins_with_what_shipped() -> None:
    stages = from_history()
    names = [stage.name for stage in stages]
    assert names == [stage.name for stage in STAGES if stage.name in names]
    assert {stage.name for stage in STAGES if stage.ships} <= set(names)
    assert stages[0].shipped is not None
    assert len(stages) < 10


def test_a_stage_from_the_history_is_done_and_what_was_before_it_is_not_needed(
    layout: Layout, repository: Path
) -> None:
    before = survey(from_history(), layout, fetch=True)
    assert {each.status for each in before} == {Status.NEW}
    assert not [line for line in check(before, layout, again=False).missing if "name the stage" in line]
    (each,) = (each for each in before if each.stage.name == "compact-19")
    assert each.fetched
    pack = fetch_stage(_stage(repository), layout, each.digest, say=_quiet, root=repository)
    assert pack.revision == REVISION
    (after,) = survey(chosen(["compact-19"]), layout)
    assert after.status is Status.DONE
    heads = read_checkpoint(layout.folder(each.stage) / CHECKPOINT).heads
    assert set(heads) == {"sentiment", "emotion", "toxicity", "toxic_spans"}


def test_a_commit_that_is_not_here_gives_one_line_with_two_ways_out(
    layout: Layout, repository: Path, tmp_path: Path
) -> None:
    stage = _stage(repository)
    assert stage.shipped is not None
    away = replace(stage, shipped=replace(stage.shipped, commit="0" * 40))
    for other, root in ((away, repository), (stage, tmp_path)):
        with pytest.raises(TrainingError) as caught:
            fetch_stage(other, layout, "digest", say=_quiet, root=root)
        message = str(caught.value)
        assert "\n" not in message
        assert "a clone with its whole history" in message
        assert "--from-base" in message


def test_another_pack_than_the_one_that_is_named_is_refused(layout: Layout, repository: Path) -> None:
    with pytest.raises(TrainingError, match=rf"has the pack {REVISION}"):
        fetch_stage(_stage(repository, "000000000000"), layout, "digest", say=_quiet, root=repository)
    (after,) = survey(chosen(["compact-19"]), layout)
    assert after.status is not Status.DONE


def test_a_history_that_is_not_here_is_missed_before_anything_starts(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each pack that would be taken from it; with all stages trained it is not needed."""
    monkeypatch.setattr(history.missing_from_history, "__defaults__", (tmp_path,))
    shipped = sum(stage.shipped is not None for stage in from_history())
    assert shipped
    for fetch, lines in ((True, shipped), (False, 0)):
        found = survey(from_history(), layout, fetch=fetch)
        missing = check(found, layout, again=False).missing
        assert sum("is in the history of this repository" in line for line in missing) == lines


def test_the_runner_fetches_what_shipped_and_trains_the_rest(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lab.chain.needs.missing_from_history", lambda stage: "")
    started: dict[str, bool] = {}

    class Ended:
        def poll(self) -> int:
            return 0

        def terminate(self) -> None: ...

        def wait(self) -> int:
            return 0

    def start(each: Found, resume: bool) -> Ended:
        started[each.stage.name] = each.fetched
        return Ended()

    made = run_chain(from_history(), layout, start, fetch=True, say=_quiet)
    assert sorted(made) == sorted(started)
    assert {name for name, fetched in started.items() if fetched} == {
        stage.name for stage in from_history() if stage.shipped is not None
    }


def test_a_stage_that_is_there_again_is_read_from_the_repository(layout: Layout, repository: Path) -> None:
    assert missing_from_history(_stage(repository), repository) == ""
    assert "whole history" in missing_from_history(_stage(repository, name="other"), repository)


def test_a_stage_that_never_shipped_is_trained(layout: Layout) -> None:
    (stage,) = chosen(["compact-15"])
    with pytest.raises(TrainingError, match="compact-15 never shipped"):
        fetch_stage(stage, layout, "digest", say=_quiet)
