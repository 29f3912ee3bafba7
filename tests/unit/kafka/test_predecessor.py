"""Which process a member of the group is, and whether it is dead."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka import predecessor
from worker.kafka.predecessor import SignedRange, is_dead, process_identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process numbers are looked up in /proc")

_SAY = "from worker.kafka.predecessor import process_identity; print(process_identity())"


def _other_process() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", f"{_SAY}; import sys; sys.stdout.flush(); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_is_dead_once_it_has_ended_and_not_before() -> None:
    process = _other_process()
    assert process.stdout is not None
    identity = process.stdout.readline()
    assert not is_dead(identity)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(identity), "ended, and its parent has not asked for its exit code yet"
    process.communicate()
    assert is_dead(identity)


def test_this_process_lives() -> None:
    assert not is_dead(process_identity())


def _changed(**changes: Any) -> str:
    return json.dumps({**json.loads(process_identity()), **changes})


def test_another_process_with_the_same_number_does_not_bring_it_back() -> None:
    assert is_dead(_changed(started="1"))


@pytest.mark.parametrize("changes", [{"boot": "another machine"}, {"processes": "pid:[1]"}])
def test_what_cannot_be_seen_from_here_counts_as_alive(changes: dict[str, str]) -> None:
    """Another machine, or another container on this one."""
    assert not is_dead(_changed(pid=2**22 + 1, **changes))


def test_a_process_of_another_user_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_dead(_changed(started="1"))


def test_nothing_is_said_and_nobody_is_dead_without_linux(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _changed(started="1")
    monkeypatch.setattr(predecessor, "_BOOT_ID", tmp_path / "none")
    assert process_identity() == ""
    assert not is_dead(ours)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.text() | _JSON.map(json.dumps))
def test_other_members_may_say_anything(told: str) -> None:
    """The assignors of other clients use the same field."""
    assert not is_dead(told)


@given(_JSON)
def test_no_process_number_does_harm(pid: object) -> None:
    dead = is_dead(_changed(pid=pid, started="1"))
    assert not dead or (isinstance(pid, int) and pid > 0)


def test_the_identity_goes_to_the_group_under_the_name_that_other_members_know() -> None:
    subscription = SignedRange.metadata({"posts"})
    assert SignedRange.name == "range"
    assert subscription.topics == ["posts"]
    assert json.loads(subscription.user_data)["pid"] == os.getpid()
