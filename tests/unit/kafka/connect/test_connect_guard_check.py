"""The start-up check of the guards, and those that need no broker."""

import threading
from types import SimpleNamespace

import pytest
import structlog
from kafka.errors import KafkaConnectionError
from kafka.structs import MemberState

from worker.kafka import guards


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


class _Metadata:
    """A consumer whose topic becomes known with the request of this number; 0: never."""

    def __init__(self, known_after: int, error: Exception | None = None) -> None:
        self.requests, self.known_after, self.error = 0, known_after, error
        self._cluster = SimpleNamespace(partitions_for_topic=self._known, request_update=lambda: "update")
        self._manager = SimpleNamespace(wait_for=None)
        self._net = SimpleNamespace(run=self._run)

    def _known(self, _topic: str) -> set[int] | None:
        return {0} if 0 < self.known_after <= self.requests else None

    def _run(self, _wait_for: object, future: str, _limit_ms: int) -> None:
        assert future == "update"
        self.requests += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(("known_after", "requests"), [(1, 1), (2, 2), (0, 3)])
def test_topics_are_asked_for_until_they_are_known_but_not_for_ever(known_after: int, requests: int) -> None:
    consumer = _Metadata(known_after)
    guards.know_topics(consumer, ["posts"])
    assert consumer.requests == requests


def test_a_broker_that_does_not_answer_for_a_topic_does_not_stop_the_start() -> None:
    consumer = _Metadata(0, KafkaConnectionError("gone"))
    guards.know_topics(consumer, ["posts"])
    assert consumer.requests == 1


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
