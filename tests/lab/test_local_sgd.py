"""Several processes that train one network: one that dies does not leave the others waiting."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from worker.errors import TrainingError
from worker.lab.device import LocalSgd, local_sgd

pytestmark = pytest.mark.train


class _Deadly:
    """Work that ends the process as soon as it gets there, before the process has joined the others."""

    def __call__(self, group: LocalSgd) -> None:
        raise AssertionError("never called")

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


def _double(group: LocalSgd) -> None:
    group.agree(0)


def _die(group: LocalSgd) -> None:
    os._exit(3)


_ALONE = """
from tests.lab.test_local_sgd import _Deadly
from worker.errors import TrainingError
from worker.lab.device import local_sgd

try:
    with local_sgd(2, _Deadly()):
        print("somebody came")
except TrainingError as error:
    print(error)
"""


def test_a_process_that_dies_before_it_joins_ends_the_run_at_once() -> None:
    """In a process of its own, as a run is: torch goes on waiting on a thread that nothing can end."""
    command = [sys.executable, "-c", _ALONE]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=100, check=False
    )
    assert result.stdout == "another process of the run has ended before it took part; see its output\n"
    assert result.returncode == 0, result.stderr


def test_a_process_that_dies_later_ends_the_run_too() -> None:
    with pytest.raises(TrainingError, match="--resume"), local_sgd(2, _die) as group:
        group.average([torch.zeros(3)])


def test_processes_agree_and_leave_no_thread_behind() -> None:
    with local_sgd(2, _double) as group:
        assert group.agree(7.0) == (7.0,)
    assert "moodstream-join" not in [thread.name for thread in threading.enumerate()]


def test_what_follows_a_run_has_all_threads_again() -> None:
    before = torch.get_num_threads()
    with local_sgd(2, _double) as group:
        torch.set_num_threads(1)
        group.agree(7.0)
    assert torch.get_num_threads() == before
