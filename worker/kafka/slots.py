"""Slots: a worker without one takes a free one, and what a dead worker left open in its slot is ended.

The group's member list is the lease: whoever is in the group under a slot's name has the slot.
docs/explanation/exactly-once.md says why two workers can never use one slot at the same time.
"""

import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable

import structlog
from kafka import KafkaAdminClient
from kafka.admin import TransactionState
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    ProducerFencedError,
    UnsupportedVersionError,
)

from worker.errors import BrokerRefused, BrokerUnavailable, Fenced, MoodstreamError
from worker.kafka import guards
from worker.kafka.diagnose import describe, explain
from worker.kafka.options import slot_name
from worker.kafka.predecessor import is_dead
from worker.kafka.retry import patiently
from worker.kafka.topics import Member, admin_client, group_members, members_of
from worker.settings.groups import AUTO_SLOT, KafkaSettings

LOSSES = 12
"""So many slots lost one after the other end the worker."""

HELD_S = 60.0
"""A slot that was held for so long does not count as lost while it was taken."""

LONGEST_PAUSE_S = 2.0
MOST_CHOICES = 32

ATTEMPTS, ATTEMPT_PAUSE_S = 3, 1.0
"""How often dead workers' transactions are looked for after a rebalance, if Kafka does not answer."""

_OFFSETS_TOPIC = "__consumer_offsets"

_log = structlog.get_logger(__name__)


def free_slots(group_id: str, members: Collection[Member], count: int) -> list[str]:
    """The `count` best numbers for a slot: dead processes' of this machine, then the lowest that are free."""
    names = {member.name for member in members}
    numbered = re.compile(re.escape(f"{group_id}.") + "(0|[1-9][0-9]{0,8})")
    held = [(numbered.fullmatch(member.name or ""), member.process) for member in members]
    left = sorted(int(slot[1]) for slot, process in held if slot and is_dead(process))
    free = (number for number in itertools.count() if slot_name(group_id, str(number)) not in names)
    return [str(number) for number in itertools.islice(itertools.chain(left, free), count)]


def slot_members(kafka: KafkaSettings, group_id: str) -> list[Member]:
    """The group's members, asked for by a worker that takes a slot by itself.

    Raises:
        BrokerRefused: the group may not be described.
        BrokerUnavailable: no broker answers.
    """
    try:
        return group_members(kafka, group_id)
    except BrokerRefused as problem:
        if not isinstance(problem.__cause__, GroupAuthorizationFailedError):
            raise
        raise BrokerRefused(
            f'{problem}; delivery.slot = "{AUTO_SLOT}" asks who is in the group, so allow Describe on it, or '
            "give each worker a delivery.slot"
        ) from problem


class Slots:
    """Takes a free slot, and another one whenever one is lost.

    Args:
        kafka: how to reach the brokers.
        group_id: the consumer group.
        stop: ends every wait.
        on_wait: called repeatedly while no broker answers.
        chance: where the choice and the pauses come from.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group_id: str,
        *,
        stop: threading.Event,
        on_wait: Callable[[], None] | None = None,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._group_id = group_id
        self._stop = stop
        self._on_wait = on_wait
        self._chance = chance or random.Random()  # noqa: S311 - it spreads workers out, and keeps no secret
        self._clock = clock
        self._losses = 0
        self._taken_at = 0.0

    def take(self) -> str | None:
        """Choose a slot that no living worker seems to have: the first, or one of several after a loss.

        The slot is held only once the worker has joined the group under its name. None when `stop` was set.

        Raises:
            BrokerRefused: the group cannot be described.
            BrokerUnavailable: no broker has answered for `kafka.connect_limit_s`.
        """
        members = patiently(
            "the list of the group's members",
            lambda: slot_members(self._kafka, self._group_id),
            limit_s=self._kafka.connect_limit_s,
            stop=self._stop,
            on_wait=self._on_wait,
        )
        if members is None:
            return None
        self._taken_at = self._clock()
        slot = self._chance.choice(free_slots(self._group_id, members, min(MOST_CHOICES, 2**self._losses)))
        _log.info("slot taken", slot=slot, members=len(members))
        return slot

    def lost(self, slot: str, reason: Fenced) -> None:
        """Another worker has taken the slot: pause for a random time, longer after each loss.

        Raises:
            Fenced: that was one loss too many.
        """
        if self._clock() - self._taken_at >= HELD_S:
            self._losses = 0
        self._losses += 1
        if self._losses >= LOSSES:
            raise Fenced(
                f"{self._losses} times in a row, another member of group {self._group_id} has taken the slot "
                "that this worker had chosen; does something else join the group under these names? "
                "(source.group_id, delivery.slot)"
            ) from reason
        pause_s = self._chance.uniform(0, min(LONGEST_PAUSE_S, 0.1 * 2**self._losses))
        _log.warning(
            "another worker has taken this slot; what was in flight is dropped, and another slot is taken",
            slot=slot,
            losses=self._losses,
        )
        self._stop.wait(pause_s)


class Leftovers:
    """Ends the transactions that dead workers of the group have left open.

    Without this they would hold up readers of the outputs, and the group's offsets, until
    `delivery.transaction_timeout_ms` and the broker's next clean-up have passed.

    Args:
        kafka: how to reach the brokers.
        group_id: the consumer group.
        topics: where the group's workers write. A transaction with other topics is somebody else's.
    """

    def __init__(self, kafka: KafkaSettings, group_id: str, topics: Iterable[str]) -> None:
        self._kafka = kafka
        self._group_id = group_id
        self._topics = {*topics, _OFFSETS_TOPIC}
        # A slot's name has no dot of its own, so `app.` is not the beginning of group `app.eu`'s slots.
        self._names = re.compile(re.escape(f"{group_id}.") + r"[A-Za-z0-9_~-]{1,64}")
        self._thread: threading.Thread | None = None

    def end_soon(self) -> None:
        """Look for them and end them, on a thread of its own. Never raises, and one search is enough."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._try, name="leftovers", daemon=True)
            self._thread.start()

    def _try(self) -> None:
        for _ in range(ATTEMPTS):
            try:
                self.end()
            except BrokerUnavailable as problem:
                _log.info("cannot look for what dead workers left open yet", reason=describe(problem))
                time.sleep(ATTEMPT_PAUSE_S)
            except MoodstreamError as problem:
                _log.info("what dead workers left open waits for its time-out", reason=describe(problem))
                return
            else:
                return

    def end(self) -> list[str]:
        """End the open transactions whose slot has no member in the group. Their transactional ids.

        The members are asked for last: a worker that came in between has ended its predecessor's
        transaction itself, and the producer id and epoch that were seen before no longer fit.

        Raises:
            BrokerRefused, BrokerUnavailable: see `admin_client`.
        """
        ended: list[str] = []
        with admin_client(self._kafka) as admin:
            found, problem = self._open_transactions(admin)
            for name in found:
                try:
                    if self._end_one(admin, name):
                        ended.append(name)
                except ProducerFencedError:
                    _log.debug("another worker has taken the slot meanwhile", id=name)
                except KafkaError as error:
                    problem = error
        if problem is not None:
            raise explain(problem) from problem
        return ended

    def _open_transactions(self, admin: KafkaAdminClient) -> tuple[list[str], KafkaError | None]:
        """The open transactions of the group's slots, and why a broker could not be asked, if one could not.

        Each broker lists those that it coordinates.
        """
        found: set[str] = set()
        problem: KafkaError | None = None
        try:
            brokers = admin.describe_cluster()["brokers"]
        except KeyError:  # what the client makes of the answer of a broker before Kafka 2.8
            return [], None
        for broker in brokers:
            if broker.get("is_fenced"):
                continue  # it is away, and coordinates nothing
            try:
                # Its value: the client writes the member's name, and the broker then finds nothing.
                listed = admin.list_transactions(
                    broker_ids=[broker["broker_id"]], state_filters=[TransactionState.ONGOING.value]
                )
            except UnsupportedVersionError:
                return [], None  # before Kafka 3.0: they end when they time out
            except KafkaError as error:
                problem = error
            else:
                found |= {one.transactional_id for rows in listed.values() for one in rows}
        return sorted(name for name in found if self._names.fullmatch(name)), problem

    def _end_one(self, admin: KafkaAdminClient, name: str) -> bool:
        """End a slot's open transaction, unless a member has the slot or it is not a worker's."""
        seen = admin.describe_transactions([name])[name]
        if seen.state is not TransactionState.ONGOING:
            return False
        if not {part.topic for part in seen.topic_partitions} <= self._topics:
            return False
        if any(name == member.name for member in members_of(admin, self._group_id)):
            return False
        guards.end_transaction(admin, name, seen)
        _log.info("ended the transaction that a dead worker had left open", id=name)
        return True
