"""Committed offsets that Kafka does not return, because a transaction that wrote some is not finished yet.

This is normal for up to `delivery.transaction_timeout_ms` after a worker was killed. It lasts for ever if
Kafka never wrote the markers of a commit, which can happen when a single broker is killed within milliseconds
of it. Nothing that this worker could write repairs it: a transaction with offsets alone, tried as a repair,
lost messages.
"""

import time
from collections.abc import Callable

import structlog
from kafka.errors import KafkaError, KafkaTimeoutError

from worker.errors import CommitUnfinished, MoodstreamError
from worker.kafka.diagnose import describe
from worker.kafka.retry import TELL_EVERY_S, since_until
from worker.kafka.topics import committed_anyhow
from worker.settings.groups import KafkaSettings

_log = structlog.get_logger(__name__)


class Withheld:
    """Follows the attempts to read the group's offsets: logs what is wrong, and gives up at a limit.

    Args:
        kafka: how to reach the brokers; the limit is `connect_limit_s`.
        group: the consumer group.
        on_change: called with whether the offsets are withheld now.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        on_change: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._on_change = on_change
        self._clock = clock
        self._since: float | None = None
        self._tell_at = float("-inf")
        self._withheld = False

    def failed(self, error: KafkaError) -> None:
        """An attempt has failed.

        Raises:
            CommitUnfinished: brokers answer, and have withheld the offsets for `kafka.connect_limit_s`.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        if now < self._tell_at:
            return
        self._tell_at = now + TELL_EVERY_S
        waited_s = now - self._since
        times = since_until(waited_s, self._kafka.connect_limit_s)
        if not self._are_withheld(error):
            _log.warning("waiting for the group's committed offsets", reason=describe(error), **times)
            return
        if not self._withheld:
            self._withheld = True
            self._on_change(True)
        if waited_s >= self._kafka.connect_limit_s:
            raise CommitUnfinished(
                f"Kafka has withheld the offsets of group {self._group} for {waited_s:.0f} s "
                "(kafka.connect_limit_s): the broker has never finished a transaction that committed some. "
                "Look for it with kafka-transactions.sh find-hanging, and end it with abort"
            )
        _log.warning(
            "waiting for the group's committed offsets",
            reason="Kafka withholds them: a transaction that wrote some is not finished yet",
            **times,
        )

    def succeeded(self) -> None:
        """The offsets were read."""
        self._since, self._tell_at = None, float("-inf")
        if self._withheld:
            self._withheld = False
            self._on_change(False)

    def _are_withheld(self, error: KafkaError) -> bool:
        """Whether the broker answers the same request when it may ignore unfinished transactions."""
        if not isinstance(error, KafkaTimeoutError):
            return False
        try:
            committed_anyhow(self._kafka, self._group)
        except MoodstreamError:
            return False
        return True
