"""The start-up check of the guards, and those that need no broker."""

import threading
from types import SimpleNamespace

import pytest
import structlog
from kafka.errors import KafkaConnectionError
from kafka.structs import MemberState

from worker.connect import guards


def test_the_installed_client_has_every_part() -> None:
    assert guards.missing() == []
    assert guards.announce()


def test_a_part_that_is_gone_is_told_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed:
        pass

    monkeypatch.setattr(guards, "missing", lambda: [f"{Renamed.__name__}._supports_epoch_bump"])
    with structlog.testing.capture_logs() as lines:
        assert not guards.announce()
    assert lines[0]["log_level"] == "error"
    assert lines[0]["missing"] == ["Renamed._supports_epoch_bump"]
    assert guards.SEEN_ON in lines[0]["remedy"]


def test_a_missing_part_is_found_by_name() -> None:
    class Client:
        await_ready = None

    assert guards.missing(((Client, "await_ready"), (Client, "gone"))) == ["Client.gone"]


@pytest.mark.parametrize("state", [MemberState.REBALANCING, MemberState.STABLE, MemberState.UNJOINED])
def test_only_a_join_under_way_is_taken_up_again(state: str) -> None:
    asked: list[str] = []
    coordinator = SimpleNamespace(
        _lock=threading.RLock(), state=state, request_rejoin=lambda: asked.append("rejoin")
    )
    guards.finish_join(SimpleNamespace(_coordinator=coordinator))
    assert asked == (["rejoin"] if state is MemberState.REBALANCING else [])


class _Transport:
    """A socket that reads a broker's answer and the end of the stream in one go."""

    def __init__(self) -> None:
        self.reads = [(b"answer", KafkaConnectionError("socket disconnected"))]

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        return self.reads.pop() if self.reads else (b"", KafkaConnectionError("socket disconnected"))


def test_the_answer_comes_before_the_end_of_the_stream() -> None:
    transport = guards.hand_over_last_bytes(_Transport())
    assert transport._sock_recv() == (b"answer", None)
    data, error = transport._sock_recv()
    assert data == b""
    assert isinstance(error, KafkaConnectionError)


@pytest.mark.parametrize(
    ("state", "rejoin", "beats", "fenced"),
    [
        (MemberState.STABLE, False, False, True),
        (MemberState.STABLE, False, True, False),
        (MemberState.STABLE, True, False, False),  # about to join: the client stops its heartbeats itself
        (MemberState.REBALANCING, False, False, False),
        (MemberState.UNJOINED, False, False, False),
    ],
)
def test_only_a_stable_member_without_heartbeats_is_fenced(
    state: str, rejoin: bool, beats: bool, fenced: bool
) -> None:
    coordinator = SimpleNamespace(
        _lock=threading.RLock(), state=state, rejoin_needed=rejoin, _heartbeat_enabled=beats
    )
    assert guards.heartbeats_stopped(SimpleNamespace(_coordinator=coordinator)) is fenced
