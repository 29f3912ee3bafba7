"""Workers without slots on the embedded broker: two, four, and one after the other."""

from pathlib import Path

import pytest

from tests.support.fleet import Fleet, slot_of
from tests.support.topics import Topics


@pytest.mark.timeout(240)
def test_four_workers_without_a_slot_share_the_work(embedded: str, unique: str, tmp_path: Path) -> None:
    fleet = Fleet(Topics(embedded, unique), tmp_path, 4)
    with fleet.running():
        fleet.start(fleet.workers[:2])
        assert len(set(fleet.settle())) == 2
        fleet.start(fleet.workers[2:])
        assert len(set(fleet.settle())) == 4
        counted = fleet.end()
    counted.check()


@pytest.mark.timeout(180)
def test_a_worker_that_was_killed_gets_its_slot_back_at_its_next_start(
    embedded: str, unique: str, tmp_path: Path
) -> None:
    """This broker never removes a dead member; its successor sees that the process is gone."""
    fleet = Fleet(Topics(embedded, unique), tmp_path, 2)
    with fleet.running():
        fleet.start(fleet.workers)
        killed, other = fleet.workers
        slot, kept = slot_of(killed), slot_of(other)
        killed.kill()
        fleet.start([killed])
        assert (slot_of(killed), slot_of(other)) == (slot, kept)
        counted = fleet.end()
    counted.check()


@pytest.mark.timeout(180)
def test_a_worker_that_has_left_gives_its_slot_to_the_next(
    embedded: str, unique: str, tmp_path: Path
) -> None:
    fleet = Fleet(Topics(embedded, unique), tmp_path, 2)
    first, second = fleet.workers
    with fleet.running():
        fleet.start([first])
        assert slot_of(first) == "0"
        assert first.terminate() == 0
        fleet.start([second])
        assert slot_of(second) == "0"
        counted = fleet.end()
    counted.check()
