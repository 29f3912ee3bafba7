"""What the source makes of trouble: it waits, steps over, or ends with a reason."""

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import (
    CorruptRecordError,
    FencedInstanceIdError,
    KafkaConnectionError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
)
from kafka.structs import ConsumerGroupMetadata, MemberState

from tests.support.scripted_consumer import P0, P1, Make, failing, rebalance, row, rows
from worker.errors import BrokerRefused, BrokerUnavailable, ExitCode, Fenced, SourceUnreadable
from worker.kafka.consumer import who_leaves
from worker.kafka.records import Unreadable
from worker.settings.groups import KafkaSettings
from worker.types import TopicPartition


def test_a_corrupt_batch_is_stepped_over_one_by_one_and_told_once_each(make: Make) -> None:
    told: list[tuple[TopicPartition, int, int]] = []
    source, consumer = make(corrupt=lambda *place: told.append(place))
    for offset in (4, 5, 4):
        consumer.stick(P0, offset)
        consumer.script.append(failing(CorruptRecordError("failed crc check")))
        assert source.poll(10, 0.01) == []
    assert consumer.seeks == [(P0, 5), (P0, 6), (P0, 5)]
    assert told == [(TopicPartition("posts", 0), 4, 4), (TopicPartition("posts", 0), 5, 5)]


def test_a_place_that_stepping_over_does_not_leave_ends_the_source(make: Make) -> None:
    source, consumer = make()
    consumer.stick(P0, 4)
    consumer.script += [failing(CorruptRecordError("odd"))] * 3
    assert source.poll(10, 0.01) == []
    assert source.poll(10, 0.01) == []
    with pytest.raises(SourceUnreadable, match=r"topic posts, partition 0 .* offset 4") as raised:
        source.poll(10, 0.01)
    assert raised.value.exit_code == ExitCode.UNREADABLE


def test_the_same_place_after_a_rewind_is_no_standstill(make: Make) -> None:
    source, consumer = make()
    for _ in range(10):
        consumer.stick(P0, 4)
        consumer.script.append(failing(CorruptRecordError("odd")))
        assert source.poll(10, 0.01) == []
        source.rewind()


def test_a_failure_that_the_client_does_not_place_ends_the_source(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(failing(CorruptRecordError("odd")))
    with pytest.raises(SourceUnreadable):
        source.poll(10, 0.01)


def test_an_unreadable_record_is_handed_out_as_its_raw_bytes(make: Make) -> None:
    told: list[tuple[TopicPartition, int, int]] = []
    source, consumer = make(corrupt=lambda *place: told.append(place))
    alone, rest = row(P0, 3), row(P0, 9)
    alone.headers, alone.value = Unreadable(3, "cannot be parsed"), b"raw"
    rest.headers, rest.value = Unreadable(7, "cannot be parsed"), b"more"
    consumer.script.append(lambda: {P0: [row(P0, 2), alone, rest], P1: [row(P1, 0)]})
    first, second, third, fourth = source.poll(10, 0.01)
    assert [(r.partition, r.offset) for r in (first, second, third, fourth)] == [
        (0, 2),
        (0, 3),
        (0, 9),
        (1, 0),
    ]
    assert first.unreadable is fourth.unreadable is None
    assert (second.value, second.headers, second.unreadable) == (b"raw", (), "cannot be parsed")
    assert third.unreadable == "cannot be parsed; this holds offsets 7 to 9"
    assert told == []


@pytest.mark.parametrize("error", [KafkaConnectionError(), KafkaTimeoutError("away")])
def test_trouble_with_the_connection_is_an_empty_poll(make: Make, error: Exception) -> None:
    source, consumer = make()
    consumer.script += [failing(error), rows(p0=1)]
    assert source.poll(10, 0.01) == []
    assert len(source.poll(10, 0.01)) == 1


def test_a_broker_that_is_away_at_the_start_is_an_empty_poll(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = make(join=False)

    def away(kafka: KafkaSettings) -> None:
        raise BrokerUnavailable("does not listen")

    monkeypatch.setattr("worker.kafka.source.probe", away)
    assert source.poll(10, 0.01) == []
    assert source.assignment() == frozenset()
    assert source.lag() == {}


def test_a_twin_that_the_join_meets_ends_the_source(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(failing(FencedInstanceIdError()))
    with pytest.raises(Fenced, match=r"moodstream\.0"):
        source.poll(10, 0.01)


def test_a_twin_that_the_heartbeat_meets_ends_the_source(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = make()
    monkeypatch.setattr("worker.kafka.source.guards.heartbeats_stopped", lambda consumer: True)
    with pytest.raises(Fenced, match=r"delivery\.slot"):
        source.poll(10, 0.01)


def test_missing_rights_end_the_source(make: Make) -> None:
    source, consumer = make()
    consumer.script.append(failing(TopicAuthorizationFailedError({"posts"})))
    with pytest.raises(BrokerRefused, match="posts"):
        source.poll(10, 0.01)


def test_leaving_takes_out_this_member_and_no_successor(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[Any] = []

    class Admin:
        def remove_group_members(self, group: str, members: list[Any]) -> None:
            removed.append((group, members))

    @contextlib.contextmanager
    def admin_client(kafka: KafkaSettings) -> Iterator[Admin]:
        yield Admin()

    monkeypatch.setattr("worker.kafka.consumer.admin_client", admin_client)
    source, _ = make()
    source.leave()
    source.leave()  # a second time there is nothing to leave
    [(group, [member])] = removed
    assert (group, member.member_id, member.group_instance_id) == ("moodstream", "member-1", "group.0")
    assert source.assignment() == frozenset()


@pytest.mark.parametrize("member_id", ["", "member-1"])
def test_a_fenced_worker_never_takes_out_the_one_that_has_its_slot_now(
    make: Make, monkeypatch: pytest.MonkeyPatch, member_id: str
) -> None:
    """Lost in its first join, it has no member id, and by name alone it would remove the winner."""
    left: list[str | None] = []
    monkeypatch.setattr("worker.kafka.source.leave_group", lambda *given: left.append(given[2].member_id))
    source, consumer = make()
    consumer.metadata = consumer.metadata._replace(member_id=member_id, state=MemberState.REBALANCING)
    source.leave(fenced=True)
    assert left == ([member_id] if member_id else [])


def test_what_others_left_open_is_looked_for_after_each_rebalance_before_the_offsets(
    make: Make,
) -> None:
    source, consumer = make()
    told: list[int] = []
    source._on_assigned = lambda: told.append(len(consumer.asked_committed))
    consumer.script += [rebalance(consumer, P0), rows(p0=1)]
    before = len(consumer.asked_committed)
    source.poll(10, 0.01)
    source.poll(10, 0.01)
    assert told == [before]
    consumer.committed_error = KafkaTimeoutError()
    consumer.script.append(rebalance(consumer, P1))
    source.poll(10, 0.01)
    assert len(told) == 3, "and again where the offsets cannot be read"


@pytest.mark.parametrize(
    ("member_id", "state", "leaves"),
    [
        ("member-1", MemberState.STABLE, ("member-1", "group.0")),
        ("member-1", MemberState.REBALANCING, ("member-1", "group.0")),
        ("", MemberState.REBALANCING, (None, "group.0")),  # its first join has no answer yet
        ("", MemberState.UNJOINED, None),
    ],
)
def test_who_leaves(member_id: str, state: MemberState, leaves: tuple[str | None, str] | None) -> None:
    found = who_leaves(ConsumerGroupMetadata("group", -1, member_id, "group.0", state))
    assert (found and (found.member_id, found.group_instance_id)) == leaves


def test_leaving_never_raises(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(kafka: KafkaSettings) -> None:
        raise BrokerUnavailable("does not listen")

    monkeypatch.setattr("worker.kafka.consumer.admin_client", away)
    source, _ = make()
    source.leave()


class Coordinator:
    """Gives a scripted consumer a join that waits, and writes down which connections are broken."""

    def __init__(self, consumer: Any) -> None:
        self.broken: list[int] = []
        consumer.metadata = consumer.metadata._replace(state=MemberState.REBALANCING)
        self.state = consumer._coordinator
        self.state.state, self.state.coordinator_id = MemberState.REBALANCING, 7
        self.state.request_rejoin = lambda: None
        consumer._manager = self
        consumer._net = SimpleNamespace(run=lambda call: asyncio.run(call()))

    def close(self, node_id: int) -> None:
        """What the client's manager of connections does."""
        self.broken.append(node_id)

    def join(self) -> None:
        """Send a join, whose answer does not come."""
        self.state._join_task = SimpleNamespace(is_done=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The source's clock, in seconds."""
    now = [1_000.0]
    monkeypatch.setattr("worker.kafka.source.SETTLE_LIMIT_S", 0.0)
    monkeypatch.setattr("worker.kafka.source.time.monotonic", lambda: now[0])
    return now


def test_a_join_without_an_answer_is_sent_again_after_two_sessions_and_not_before(
    make: Make, clock: list[float]
) -> None:
    source, consumer = make(session_timeout_ms=6_000)
    coordinator = Coordinator(consumer)
    coordinator.join()
    for passed_s, broken in ((0.0, 0), (11.9, 0), (12.0, 1), (23.9, 1), (24.0, 2)):
        clock[0] = 1_000.0 + passed_s
        source.poll(10, 0.0)
        assert len(coordinator.broken) == broken, passed_s
        if passed_s == 12.0:  # the client joins anew, and that has no answer either
            coordinator.join()
            source.poll(10, 0.0)
    assert set(coordinator.broken) == {7}


def test_a_join_that_was_sent_just_now_is_left_alone_however_long_the_worker_was_outside(
    make: Make, clock: list[float]
) -> None:
    source, consumer = make(session_timeout_ms=6_000)
    coordinator = Coordinator(consumer)
    coordinator.state._join_task, coordinator.state.coordinator_id = None, None
    for _ in range(10):  # the coordinator is away, so that nothing can be sent
        source.poll(10, 0.0)
        clock[0] += 10
    coordinator.state.coordinator_id = 7
    for _ in range(3):  # each is refused and sent anew
        coordinator.join()
        source.poll(10, 0.0)
        clock[0] += 10
    assert coordinator.broken == []


def test_a_join_that_is_over_is_not_sent_again(make: Make, clock: list[float]) -> None:
    source, consumer = make(session_timeout_ms=6_000)
    coordinator = Coordinator(consumer)
    coordinator.state._join_task = SimpleNamespace(is_done=True, succeeded=lambda: True, value=b"")
    for _ in range(5):
        source.poll(10, 0.0)
        clock[0] += 10
    assert coordinator.broken == []
