"""The producer: its settings, sending a window's outputs, and waiting for every one of them."""

from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownError,
)
from kafka.serializer import Serializer

from worker.kafka.diagnose import plain
from worker.kafka.options import client_options
from worker.kafka.outcome import REFUSALS, Unsendable
from worker.kafka.records import header_name
from worker.settings.groups import DeliverySettings, KafkaSettings, SinkSettings
from worker.types import OutputRecord

_SETTINGS = {
    MessageSizeTooLargeError: "max.message.bytes of the topic",
    RecordListTooLargeError: "max.message.bytes of the topic",
    InvalidTimestampError: "message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic",
    InvalidRecordError: "cleanup.policy of the topic: a compacted one takes no record without a key",
}

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
"""How long one wait for the transaction coordinator or a topic's metadata lasts; then a line is logged."""

BATCH_BYTES = 128 * 1024
"""Records of one partition are sent in batches of this size, or smaller if a topic's limit is lower."""

MAX_RECORD_BYTES = 96 * 1024 * 1024
"""The client's own limit, just under what a broker reads in one request: the topic's limit decides."""


def delivery_timeout_ms(delivery: DeliverySettings) -> int:
    """How long a record may take to be acknowledged: under the transaction's own limit. Milliseconds."""
    return min(20_000, delivery.transaction_timeout_ms * 2 // 3)


def producer_options(
    kafka: KafkaSettings, sink: SinkSettings, delivery: DeliverySettings, batch_bytes: int = BATCH_BYTES
) -> dict[str, Any]:
    """Keyword arguments of an idempotent producer; a transactional one adds its id."""
    deliver_ms = delivery_timeout_ms(delivery)
    return {
        **client_options(kafka),
        "value_serializer": NullAware(),
        "acks": "all",
        "enable_idempotence": True,
        "allow_auto_create_topics": False,
        "compression_type": None if sink.compression_type == "none" else sink.compression_type,
        "batch_size": batch_bytes,
        "linger_ms": LINGER_MS,
        "max_request_size": MAX_RECORD_BYTES,
        "max_block_ms": OPENING_WAIT_MS,
        # delivery must exceed linger + request, or the client refuses the settings.
        "delivery_timeout_ms": deliver_ms,
        "request_timeout_ms": min(8_000, deliver_ms * 2 // 5),
        # After a commit the coordinator answers the next transaction with "still busy" for a few
        # milliseconds, and the client waits this long before it asks again: 100 by default, which halves the
        # transactions a second on one node and quarters them on three.
        "retry_backoff_ms": 10,
        "metrics_enabled": False,
    }


Sent = list[tuple[OutputRecord, Any]]
"""Each output with the client's future for it."""


def send_all(producer: KafkaProducer, outputs: Sequence[OutputRecord], turn: int) -> Sent:
    """Hand all outputs to the producer, whose value serialiser must be `NullAware`.

    Records with a key go to the key's partition. The others of one checkpoint go to one partition per topic,
    and `turn`, which counts up, selects the next one each time: the client's own choice would add partitions
    to the transaction that nothing is written to.

    A header whose value is null is written with an empty value, because kafka-python cannot write null.

    Raises:
        Unsendable: the client cannot write one of the records.
        KafkaError: as the client raises it.
    """
    partitions: dict[str, int] = {}
    sent: Sent = []
    for output in outputs:
        partition = None
        if output.key is None:
            if output.topic not in partitions:
                known = sorted(producer.partitions_for(output.topic))
                partitions[output.topic] = known[turn % len(known)]
            partition = partitions[output.topic]
        try:
            future = producer.send(
                output.topic,
                value=NULL if output.value is None else output.value,
                key=output.key,
                headers=client_headers(output),
                partition=partition,
                timestamp_ms=output.timestamp_ms,
            )
        except KafkaError as error:
            raise _named(error, output) from error
        except Exception as error:  # the client checks what it writes with asserts, struct and codecs
            raise Unsendable(f"{type(error).__name__} for a record to topic {output.topic}") from error
        sent.append((output, future))
    return sent


def await_all(producer: KafkaProducer, sent: Sent, limit_s: float) -> None:
    """Wait until every output is acknowledged, and look at each one's future.

    A batch that expired leaves the transaction open, and its commit then succeeds without the batch. Only
    the futures show it.

    Raises:
        Unsendable: the client has split a batch, so it is not known which of its records is too large.
        KafkaError: the error of a future, that of a refused record first; KafkaTimeoutError after `limit_s`
            seconds.
    """
    try:
        producer.flush(timeout=limit_s)
    except UnknownError as error:
        # It has split a batch that was too large, and its flush does not know the parts.
        raise Unsendable("several records together are larger than their topic takes") from error
    errors: list[KafkaError] = []
    for output, future in sent:
        if not future.is_done:
            errors.append(KafkaTimeoutError(f"a record for {output.topic} is still not acknowledged"))
        elif not future.succeeded():
            cause = future.exception
            errors.append(_named(cause if isinstance(cause, KafkaError) else KafkaError(str(cause)), output))
    if errors:
        # The other records of a refused one's batch fail too, with an error that does not say why.
        raise next((error for error in errors if isinstance(error, REFUSALS)), errors[0])


def _named(error: KafkaError, output: OutputRecord) -> KafkaError:
    """The same error with topic and size, if it is about a record."""
    if not isinstance(error, REFUSALS):
        return error
    size = len(output.key or b"") + len(output.value or b"")
    size += sum(len(name.encode()) + len(value) for name, value in client_headers(output))
    setting = _SETTINGS.get(type(error), "the topic's configuration")
    return type(error)(f"topic {output.topic}, {size:,} bytes: {plain(error)} (see {setting})")


def client_headers(output: OutputRecord) -> list[tuple[str, bytes]]:
    """The headers as the client writes them."""
    return [(header_name(name), value or b"") for name, value in output.headers]
