"""Producers: their settings, and waiting for the brokers to let one open."""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
)
from kafka.serializer import Serializer

from worker.errors import BrokerRefused, BrokerUnavailable, ExitCode, Fatal
from worker.kafka.diagnose import probe
from worker.kafka.options import client_options
from worker.kafka.outcome import Phase, find_rule, judge, one_line
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings

NULL = object()


class NullAware(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """Lets a record have neither key nor value.

    The client's `send` refuses None for both, though Kafka does not: a tombstone without a key comes in and
    must go out. It checks before it serialises, so a stand-in passes and becomes None here.
    """

    def serialize(self, topic: str, headers: list[tuple[str, bytes]], data: Any) -> bytes | None:  # noqa: ARG002 - the client's signature
        """Bytes as they are, the stand-in as None."""
        return None if data is NULL else data


LINGER_MS = 5
OPENING_WAIT_MS = 5_000
"""How long one wait for the transaction coordinator or for a topic's metadata lasts; a line follows it."""

RETRY_S = 0.5
TELL_EVERY_S = 3.0
"""A broker that is back is met soon; a person is told every few seconds."""

MAX_RECORD_BYTES = 96 * 1024 * 1024
"""The client's own limit, just under what a broker reads in one request: the topic's limit decides."""

_log = structlog.get_logger(__name__)


def delivery_timeout_ms(delivery: DeliverySettings) -> int:
    """How long a record may take to be acknowledged: under the transaction's own limit. Milliseconds."""
    return min(20_000, delivery.transaction_timeout_ms * 2 // 3)


def producer_options(kafka: KafkaSettings, sink: SinkSettings, delivery: DeliverySettings) -> dict[str, Any]:
    """Keyword arguments of an idempotent producer; a transactional one adds its id."""
    deliver_ms = delivery_timeout_ms(delivery)
    return {
        **client_options(kafka),
        "value_serializer": NullAware(),
        "acks": "all",
        "enable_idempotence": True,
        "allow_auto_create_topics": False,
        "compression_type": None if sink.compression_type == "none" else sink.compression_type,
        "batch_size": 128 * 1024,
        "linger_ms": LINGER_MS,
        "max_request_size": MAX_RECORD_BYTES,
        "max_block_ms": OPENING_WAIT_MS,
        # delivery must exceed linger + request, or the client refuses the settings.
        "delivery_timeout_ms": deliver_ms,
        "request_timeout_ms": min(8_000, deliver_ms * 2 // 5),
        # After a commit the coordinator answers the next transaction with «still busy» for a few
        # milliseconds, and the client waits this long before it asks again: 100 by default, which halves the
        # transactions a second on one node and quarters them on three.
        "retry_backoff_ms": 10,
        "metrics_enabled": False,
    }


def open_patiently(
    kafka: KafkaSettings, open_once: Callable[[], KafkaProducer], stop: threading.Event
) -> KafkaProducer | None:
    """Open a producer, however long the brokers take within `kafka.connect_limit_s`.

    A line is logged every few seconds while they are away. None when `stop` was set before it succeeded.

    Raises:
        Fatal: a broker refuses, or the limit is reached.
    """
    started, told_s = time.monotonic(), -TELL_EVERY_S
    while True:
        try:
            # The client's constructor hides why it fails; the probe says it, and leaks no connections.
            probe(kafka)
            return open_once()
        except BrokerRefused as problem:
            raise Fatal(ExitCode.BROKER_REFUSED, str(problem)) from problem
        except (BrokerUnavailable, KafkaError) as problem:
            if find_rule(problem, Phase.OPENING) is not None:
                judge(problem, Phase.OPENING)
            waited = time.monotonic() - started
            reason = str(problem) if isinstance(problem, BrokerUnavailable) else one_line(problem)
        if waited >= kafka.connect_limit_s:
            raise Fatal(
                ExitCode.BROKER_UNAVAILABLE,
                f"gave up after {waited:.0f} s (kafka.connect_limit_s): {reason}",
            )
        if stop.is_set():
            return None
        if waited >= told_s + TELL_EVERY_S:
            told_s = waited
            _log.warning("cannot write to Kafka yet; trying again", reason=reason, waited_s=round(waited, 1))
        stop.wait(RETRY_S)
