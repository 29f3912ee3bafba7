"""Sends the rows of files to a topic as JSON messages, for `moodstream feed`."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError

from worker.errors import InputError, OutputRefused, TopicMissing, printable
from worker.expressions import Path
from worker.kafka.diagnose import describe, explain
from worker.kafka.outcome import REFUSALS
from worker.kafka.producer import await_all, delivery_timeout_ms, producer_options, send_all
from worker.kafka.retry import first_connection, patiently
from worker.kafka.topics import TopicSpec, create_topics, missing_topics
from worker.settings.groups import Settings
from worker.tables.open import Format, open_rows
from worker.tables.rows import BadRow, Pause, cell_text, from_json
from worker.types import OutputRecord

TOGETHER = 500
"""Messages that are sent and waited for together."""

_TOGETHER_BYTES = 4 * 1024 * 1024
_SHORTEST_PAUSE_S = 0.02


class Sendable(NamedTuple):
    """A row as it is sent."""

    place: str
    """File and line, or in Parquet the row."""
    key: bytes | None
    value: bytes


OnBad = Callable[[str, int, str], None]
"""Called with the file, the line and the reason for a row that cannot be read."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What to read. `key` is the column or field whose value becomes the key of the message."""

    names: Sequence[str]
    format: Format = "auto"
    encoding: str = "utf-8"
    key: str | None = None
    loop: bool = False

    def __call__(self, on_bad: OnBad) -> Iterator[Sendable | Pause]:
        """Yield the rows of all files, with `loop` for ever.

        Raises:
            InputError: a file cannot be read, has no column `key`, or there are no rows to repeat.
        """
        while True:
            count = 0
            for row in self._once(on_bad):
                count += isinstance(row, Sendable)
                yield row
            if not self.loop:
                return
            if not count:
                raise InputError("there are no rows to send over and over")

    def _once(self, on_bad: OnBad) -> Iterator[Sendable | Pause]:
        for name in self.names:
            with closing(open_rows(name, self.format, self.encoding, self.key)) as source:
                for row in source:
                    if isinstance(row, BadRow):
                        on_bad(source.name, row.place, row.reason)
                    elif isinstance(row, Pause):
                        yield row
                    else:
                        place = f"{printable(source.name)}:{row.place}"
                        yield Sendable(place, _key(row.value, self.key), row.value)


def _key(value: bytes, column: str | None) -> bytes | None:
    """Return the key of a message: a string as it is, anything else as JSON, None where there is none."""
    if column is None:
        return None
    try:
        body = from_json(value)
    except ValueError:
        return None
    text = cell_text(Path(column).find(body) if isinstance(body, dict) else None)
    return None if text is None else text.encode()


def prepare(
    settings: Settings, topic: str, *, create: bool, say: Callable[[str, float], None], stop: threading.Event
) -> bool:
    """Wait for a broker and look whether the topic exists. False when `stop` was set meanwhile.

    Raises:
        TopicMissing: it does not exist, and `create` is not set.
        BrokerUnavailable, BrokerRefused: see `first_connection`.
    """
    kafka = settings.kafka
    first_connection(kafka, limit_s=kafka.connect_limit_s, say=say, stop=stop)
    if stop.is_set():
        return False
    missing = patiently(
        "the topics", lambda: missing_topics(kafka, [topic]), limit_s=kafka.connect_limit_s, stop=stop
    )
    if missing and not create:
        raise TopicMissing(
            f"there is no topic {printable(topic)}: --create makes it as the broker's defaults say, and "
            "`moodstream topics create` makes all that a worker needs"
        )
    if missing:
        create_topics(kafka, [TopicSpec(topic)])
    return not stop.is_set()


class Sender:
    """Sends rows at a rate. Use it in a `with` block.

    Raises:
        BrokerUnavailable, BrokerRefused: no producer can be made.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = topic
        self._limit_s = delivery_timeout_ms(settings.delivery) / 1_000 + 10
        self.sent = 0
        """Messages that are acknowledged."""
        try:
            self._producer = KafkaProducer(
                **producer_options(settings.kafka, settings.sink, settings.delivery)
            )
        except KafkaError as error:
            raise explain(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(timeout=5)

    def send(
        self,
        rows: Iterable[Sendable | Pause],
        *,
        rate: float | None,
        limit: int | None,
        stop: threading.Event,
    ) -> int:
        """Send rows until they, `limit` or `stop` end it, and return how many were sent.

        Args:
            rows: what to send.
            rate: messages a second, evenly; as fast as the broker takes them when None.
            limit: the most messages to send.
            stop: ends the sending after the messages that are under way.

        Raises:
            OutputRefused: the topic does not take a message; the ones before it may have been sent.
            BrokerUnavailable, BrokerRefused: the broker does not answer, or refuses.
        """
        started = time.monotonic()
        waiting: list[Sendable] = []
        taken = size = 0
        left = iter(rows)
        # The row behind the last one that is sent is not even looked at: it may be bad.
        while not stop.is_set() and taken != limit and (row := next(left, None)) is not None:
            if isinstance(row, Pause):
                self._flush(waiting)
                continue
            if rate is not None:
                early_s = started + taken / rate - time.monotonic()
                if early_s > _SHORTEST_PAUSE_S or (early_s > 0 and rate < 1 / _SHORTEST_PAUSE_S):
                    self._flush(waiting)
                    if stop.wait(max(0.0, started + taken / rate - time.monotonic())):
                        break
            size = size + len(row.value) if waiting else len(row.value)
            waiting.append(row)
            taken += 1
            if len(waiting) == TOGETHER or size > _TOGETHER_BYTES:
                self._flush(waiting)
        self._flush(waiting)
        return self.sent

    def _flush(self, rows: list[Sendable]) -> None:
        """Send these rows, wait for all of them, and empty the list."""
        if not rows:
            return
        outputs = [OutputRecord(self._topic, row.key, row.value) for row in rows]
        try:
            await_all(self._producer, send_all(self._producer, outputs, self.sent), self._limit_s)
        except REFUSALS as error:
            where = rows[0].place if len(rows) == 1 else f"a row from {rows[0].place} to {rows[-1].place}"
            raise OutputRefused(f"{where}: the topic does not take it: {describe(error)}") from error
        except KafkaError as error:
            raise explain(error) from error
        self.sent += len(rows)
        rows.clear()
