"""Slots on a scripted group: what is chosen, what follows a loss, and whose transactions are ended."""

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.admin import TransactionDescription, TransactionListing, TransactionState
from kafka.errors import (
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    ProducerFencedError,
    UnsupportedVersionError,
)

from worker.errors import BrokerRefused, BrokerUnavailable, ExitCode, Fenced
from worker.kafka import guards, slots
from worker.kafka.diagnose import explain
from worker.kafka.slots import LOSSES, Leftovers, Slots, free_slots
from worker.kafka.topics import Member, group_members
from worker.settings.groups import KafkaSettings

LOST = Fenced("another worker has taken slot moods.0")


class Group:
    """A consumer group as Kafka has it: of several workers that join under a name, the last has it."""

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        self.ids = itertools.count()

    def join(self, slot: str) -> str:
        member = f"member-{next(self.ids)}"
        self.members[f"moods.{slot}"] = member
        return member

    def has(self, slot: str, member: str) -> bool:
        return self.members.get(f"moods.{slot}") == member

    def listed(self) -> list[Member]:
        return [Member(member, name) for name, member in self.members.items()]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    made = Group()
    monkeypatch.setattr(slots, "group_members", lambda kafka, group_id: made.listed())
    monkeypatch.setattr(slots, "LONGEST_PAUSE_S", 0.0)
    return made


def _slots(seed: int = 1, **more: Any) -> Slots:
    return Slots(KafkaSettings(), "moods", stop=threading.Event(), chance=random.Random(seed), **more)


def test_a_single_worker_keeps_the_name_it_always_had(group: Group) -> None:
    assert _slots().take() == "0"


@given(st.sets(st.integers(0, 40)), st.lists(st.sampled_from(["demo", "eu~0", "00", "-1"])))
def test_the_lowest_numbers_that_nobody_has_are_free(taken: set[int], named: list[str]) -> None:
    names = [*(f"moods.{slot}" for slot in [*map(str, taken), *named]), "other.0", None]
    members = [Member(f"member-{number}", name) for number, name in enumerate(names)]
    found = free_slots("moods", members, 3)
    assert found == [str(number) for number in range(50) if number not in taken][:3]


def test_the_slot_of_a_dead_process_of_this_machine_is_the_first_choice(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "is_dead", "dead".__eq__)
    processes = {"moods.0": "alive", "moods.3": "dead", "moods.demo": "dead", "other.1": "dead", "1": "dead"}
    members = [Member(name, name, process) for name, process in processes.items()]
    assert free_slots("moods", members, 3) == ["3", "1", "2"]


def test_a_slot_that_is_held_by_name_is_left_alone(group: Group) -> None:
    group.join("0")
    group.join("demo")
    group.join("2")
    assert _slots().take() == "1"


@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_workers_that_start_at_once_all_end_up_with_a_slot_of_their_own(
    count: int, chance: random.Random
) -> None:
    """All look, then all join, as when they start at the same instant; whoever was replaced chooses again."""
    group = Group()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "group_members", lambda kafka, group_id: group.listed())
        patch.setattr(slots, "LONGEST_PAUSE_S", 0.0)
        stop = threading.Event()
        waiting = [Slots(KafkaSettings(), "moods", stop=stop, chance=chance) for _ in range(count)]
        held: list[tuple[str, str]] = []
        while waiting:
            chosen = [(one, str(one.take())) for one in waiting]
            joined = [(one, slot, group.join(slot)) for one, slot in chosen]
            waiting = [one for one, slot, member in joined if not group.has(slot, member)]
            held += [(slot, member) for _, slot, member in joined if group.has(slot, member)]
            for one, slot, member in joined:
                if not group.has(slot, member):
                    one.lost(slot, LOST)  # raises after too many losses, which would fail the test
    assert all(group.has(slot, member) for slot, member in held), "nobody who had a slot has lost it"
    assert len({slot for slot, _ in held}) == count


def test_after_too_many_losses_in_a_row_the_worker_ends(group: Group) -> None:
    taker = _slots()
    with structlog.testing.capture_logs() as lines:
        for _ in range(LOSSES - 1):
            taker.lost(str(taker.take()), LOST)
    with pytest.raises(Fenced, match=r"12 times in a row") as end:
        taker.lost(str(taker.take()), LOST)
    assert end.value.exit_code == ExitCode.FENCED
    assert "source.group_id" in str(end.value)
    said = [line for line in lines if line["event"].startswith("another worker has taken this slot")]
    assert len(said) == LOSSES - 1


def test_a_slot_that_was_held_for_long_does_not_count(group: Group) -> None:
    """A worker that is paused once a day must not end after twelve days."""
    now = itertools.count(step=1_000)
    taker = _slots(clock=lambda: float(next(now)))
    for _ in range(3 * LOSSES):
        taker.lost(str(taker.take()), LOST)
    assert taker.take() is not None


def test_a_stop_while_the_group_is_asked_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def away(kafka: KafkaSettings, group_id: str) -> list[Member]:
        stop.set()
        raise BrokerUnavailable("b:9092 does not listen")

    monkeypatch.setattr(slots, "group_members", away)
    assert Slots(KafkaSettings(), "moods", stop=stop).take() is None


class Admin:
    """Answers what the slots ask a broker: the group's members and the open transactions."""

    def __init__(self, *, error: str | None = None, members: list[str] | None = None) -> None:
        self.error = error
        self.members = members or []
        self.open: dict[str, TransactionDescription] = {}
        self.brokers = [{"broker_id": 1}]
        self.fail: dict[int, Exception] = {}
        self.ended: list[str] = []

    def describe_groups(self, names: list[str]) -> dict[str, Any]:
        members = [
            {"member_id": name, "group_instance_id": name, "member_metadata": None} for name in self.members
        ]
        return {names[0]: {"error": self.error, "members": members}}

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": self.brokers}

    def list_transactions(self, *, broker_ids: list[int], state_filters: list[str]) -> dict[int, Any]:
        assert [type(state) for state in state_filters] == [str], "the client writes an enum's name"
        if broker_ids[0] in self.fail:
            raise self.fail[broker_ids[0]]
        rows = [TransactionListing(name, 7, TransactionState.ONGOING) for name in self.open]
        return {broker_ids[0]: rows if broker_ids == [1] else []}

    def describe_transactions(self, names: list[str]) -> dict[str, TransactionDescription]:
        return {name: self.open[name] for name in names}


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    made = Admin()

    @contextmanager
    def client(kafka: KafkaSettings) -> Iterator[Admin]:
        try:
            yield made
        except KafkaError as error:
            raise explain(error) from error

    monkeypatch.setattr(slots, "admin_client", client)
    monkeypatch.setattr("worker.kafka.topics.admin_client", client)
    monkeypatch.setattr(guards, "end_transaction", lambda _admin, name, seen: made.ended.append(name))
    return made


def _open(*topics: str, state: TransactionState = TransactionState.ONGOING) -> TransactionDescription:
    return TransactionDescription(1, state, 7, 0, 30_000, 0, {TopicPartition(topic, 0) for topic in topics})


def _leftovers(group_id: str = "app") -> Leftovers:
    return Leftovers(KafkaSettings(), group_id, ["moods", "dead"])


def test_what_a_dead_slot_left_open_is_ended_and_nothing_else(admin: Admin) -> None:
    ours = _open("moods", "__consumer_offsets")
    admin.members = ["app.1"]
    admin.open = {
        "app.0": ours,
        "app.eu~0": ours,
        "app.2": _open("dead"),
        "app.1": ours,  # a member
        "app.eu.0": ours,  # slot 0 of group `app.eu`
        "apple.0": ours,
        "app": ours,
        "app.joiner": _open("moods", "orders"),  # another program
        "app.3": _open("moods", state=TransactionState.PREPARE_ABORT),  # it is ending by itself
    }
    assert sorted(_leftovers().end()) == admin.ended == ["app.0", "app.2", "app.eu~0"]


def test_a_broker_that_does_not_answer_hides_only_its_own_transactions(admin: Admin) -> None:
    """The others' are ended, and the search is tried again."""
    admin.brokers = [{"broker_id": 2}, {"broker_id": 1}, {"broker_id": 3, "is_fenced": True}]
    admin.fail = {2: KafkaConnectionError("away"), 3: AssertionError("it is known to be away")}
    admin.open = {"app.0": _open("moods")}
    with pytest.raises(BrokerUnavailable):
        _leftovers().end()
    assert admin.ended == ["app.0"]


def test_a_broker_that_cannot_list_transactions_is_no_trouble(admin: Admin) -> None:
    admin.fail = {1: UnsupportedVersionError("before 3.0")}
    assert _leftovers().end() == []


def test_a_successor_that_came_in_between_is_no_trouble(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_admin: Admin, name: str, seen: TransactionDescription) -> None:
        raise ProducerFencedError(name)

    monkeypatch.setattr(guards, "end_transaction", refuse)
    admin.open = {"app.0": _open("moods")}
    assert _leftovers().end() == []


def test_the_search_runs_beside_the_stream_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, admin: Admin
) -> None:
    monkeypatch.setattr(slots, "ATTEMPT_PAUSE_S", 0.01)
    leftovers, turns = _leftovers(), iter([CoordinatorNotAvailableError("loading"), None])
    admin.open = {"app.0": _open("moods")}
    describe = admin.describe_groups

    def at_first_away(names: list[str]) -> dict[str, Any]:
        if (problem := next(turns)) is not None:
            raise problem
        return describe(names)

    monkeypatch.setattr(admin, "describe_groups", at_first_away)
    leftovers.end_soon()
    assert leftovers._thread is not None
    leftovers._thread.join(5)
    assert admin.ended == ["app.0"]


def test_a_group_that_may_not_be_described_is_one_clear_refusal(admin: Admin) -> None:
    admin.error = "[Error 30] GroupAuthorizationFailedError: "
    with pytest.raises(BrokerRefused) as end:
        _slots().take()
    assert end.value.exit_code == ExitCode.BROKER_REFUSED
    assert "source.group_id" in str(end.value)
    assert "delivery.slot" in str(end.value)
    assert len(str(end.value).splitlines()) == 1


def test_another_refusal_is_told_as_it_is(admin: Admin) -> None:
    admin.error = "[Error 58] SaslAuthenticationFailedError: "
    with pytest.raises(BrokerRefused) as end:
        _slots().take()
    assert "delivery.slot" not in str(end.value)


@pytest.mark.parametrize("error", ["NotCoordinatorError", "CoordinatorLoadInProgressError"])
def test_a_coordinator_that_is_not_ready_is_not_an_empty_group(admin: Admin, error: str) -> None:
    """Taken for one, every slot would look free, and a living worker would be fenced."""
    admin.error = f"[Error 14] {error}: "
    with pytest.raises(BrokerUnavailable):
        group_members(KafkaSettings(), "moods")


def test_a_group_that_nobody_has_joined_yet_has_no_members(admin: Admin) -> None:
    admin.error = "[Error 69] GroupIdNotFoundError: "
    assert group_members(KafkaSettings(), "moods") == []


def test_the_request_names_the_producer_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A successor has another epoch, so the broker can tell them apart."""
    sent: list[Any] = []

    class Manager:
        def __init__(self, code: int) -> None:
            self.code = code

        async def send(self, request: Any, node_id: int) -> Any:
            sent.append((request, node_id))
            return SimpleNamespace(error_code=self.code)

        def run(self, ask: Any) -> Any:
            try:
                ask().send(None)
            except StopIteration as answer:
                return answer.value

    for code in (0, 51):  # done; CONCURRENT_TRANSACTIONS: it is being aborted
        guards.end_transaction(SimpleNamespace(_manager=Manager(code)), "app.0", _open("moods"))
    with pytest.raises(ProducerFencedError):
        guards.end_transaction(SimpleNamespace(_manager=Manager(90)), "app.0", _open("moods"))
    request, node_id = sent[0]
    assert (request.transactional_id, request.producer_id, request.producer_epoch) == ("app.0", 7, 0)
    assert node_id == 1
