"""Workers without slots on a real Apache Kafka: each has one of its own, and nothing is lost or doubled."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fleet import SESSION_S, kills, pauses, scaling
from tests.support.topics import Topics

KILLS = int(os.environ.get("MOODSTREAM_KILLS", "3"))
"""The long scenario is run by hand on a quiet machine, with MOODSTREAM_KILLS=50."""

MARGIN_S = 2.0 if "MOODSTREAM_KILLS" in os.environ else 20.0
"""What a take-over may add to the session time-out. Beside other tests the machine is busy, so the limit is
only below the time at which Kafka would end a dead worker's transaction by itself."""


@pytest.mark.timeout(120 + 20 * KILLS)
def test_four_workers_started_at_once_have_a_slot_each_and_survive_kills(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    fleet, counted, told = kills(Topics(kafka, unique), tmp_path, workers=4, kills=KILLS, seed=21)
    tell(f"Apache Kafka, {told}: {counted}")
    counted.check()
    assert max(fleet.stood_still_s) <= SESSION_S + MARGIN_S
    assert max(fleet.stood_still_twice_s, default=0) <= 2 * SESSION_S + MARGIN_S


@pytest.mark.timeout(180)
def test_a_paused_worker_whose_slot_was_taken_takes_another(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    fleet, counted, told = pauses(Topics(kafka, unique), tmp_path, rounds=1)
    tell(f"Apache Kafka, {told}: {counted}")
    counted.check()
    assert max(fleet.stood_still_s) <= SESSION_S + MARGIN_S
    assert {code for worker in fleet.workers for code in worker.exit_codes} == {0}


@pytest.mark.timeout(240)
def test_one_four_two_and_six_workers(
    kafka: str, unique: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    fleet, counted, told = scaling(Topics(kafka, unique), tmp_path)
    tell(f"Apache Kafka, {told}: {counted}")
    counted.check()
    assert max(fleet.stood_still_s) <= SESSION_S + MARGIN_S
