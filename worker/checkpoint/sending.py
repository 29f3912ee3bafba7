"""Output records to the producer, and the wait for every one of them."""

from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError
from kafka.serializer import Serializer

from worker import exitcodes
from worker.checkpoint.outcome import Fatal
from worker.types import OutputRecord

_NULL = object()


class NullAware(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """Lets a record have neither key nor value.

    The client's `send` refuses None for both, though Kafka does not: a tombstone without a key comes in and
    must go out. It checks before it serialises, so a stand-in passes and becomes None here.
    """

    def serialize(self, topic: str, headers: list[tuple[str, bytes]], data: Any) -> bytes | None:  # noqa: ARG002 - the client's signature
        """Bytes as they are, the stand-in as None."""
        return None if data is _NULL else data


Sent = list[tuple[OutputRecord, Any]]
"""Each output with the client's future for it."""


def send_all(producer: KafkaProducer, outputs: Sequence[OutputRecord], turn: int) -> Sent:
    """Hand all outputs to the producer, whose value serialiser must be `NullAware`.

    Records with a key go to the key's partition. All others of one checkpoint go to one partition a topic,
    and `turn`, which counts up, moves on to the next: the client's own choice would add partitions to the
    transaction that nothing is written to.

    A header whose value is null is written with an empty value, because kafka-python cannot write null.

    Raises:
        Fatal: a record is larger than the client sends.
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
                value=_NULL if output.value is None else output.value,
                key=output.key,
                headers=[(name, value or b"") for name, value in output.headers],
                partition=partition,
                timestamp_ms=output.timestamp_ms,
            )
        except MessageSizeTooLargeError as error:
            raise _too_large(output) from error
        sent.append((output, future))
    return sent


def await_all(producer: KafkaProducer, sent: Sent, limit_s: float) -> None:
    """Wait until every output is acknowledged, and look at each one's future.

    A batch that expired leaves the transaction open, and its commit then succeeds without the batch. Only
    the futures tell.

    Raises:
        Fatal: the broker takes no record of that size.
        KafkaError: the first error of a future; KafkaTimeoutError after `limit_s` seconds.
    """
    producer.flush(timeout=limit_s)
    for output, future in sent:
        if not future.is_done:
            raise KafkaTimeoutError(f"a record for {output.topic} is still not acknowledged")
        if future.succeeded():
            continue
        error = future.exception
        if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
            raise _too_large(output) from error
        raise error if isinstance(error, KafkaError) else KafkaError(str(error))


def _too_large(output: OutputRecord) -> Fatal:
    size = len(output.key or b"") + len(output.value or b"")
    size += sum(len(name.encode()) + len(value or b"") for name, value in output.headers)
    return Fatal(
        exitcodes.BROKER_REFUSED,
        f"a record of {size:,} bytes does not fit into topic {output.topic}: raise that topic's "
        "max.message.bytes (moodstream topics create gives room for 8 MiB)",
    )
