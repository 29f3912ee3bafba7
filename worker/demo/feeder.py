"""Sends the samples to a topic, at a human pace or all at once.

`python -m worker.demo.feeder --bootstrap localhost:9092 --topic posts --rate 4` feeds any cluster, as
`compose.yaml` does.
"""

import itertools
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import click
from kafka import KafkaProducer
from kafka.errors import KafkaError

from worker.demo.samples import Sample, load_samples
from worker.errors import ExitCode, FeederError, MoodstreamError, SettingsError
from worker.kafka.options import client_options
from worker.kafka.retry import first_connection
from worker.kafka.topics import require_topics
from worker.settings.groups import KafkaSettings
from worker.settings.load import load_settings
from worker.types import TopicPartition

_ACKNOWLEDGED_S = 30.0
_SHORTEST, _LONGEST = 0.1, 4.0  # of the mean pause


@dataclass(frozen=True, slots=True)
class Sent:
    """A sample that the broker has acknowledged, and its place. `timestamp_ms` is Unix time."""

    sample: Sample
    source: TopicPartition
    offset: int
    timestamp_ms: int


def pauses(rate: float, rng: random.Random) -> Iterator[float]:
    """Seconds between messages at `rate` messages a second.

    Exponential, since people write independently of one another; long pauses are cut, or the demo would seem
    to have stopped.
    """
    while True:
        yield min(max(rng.expovariate(rate), _SHORTEST / rate), _LONGEST / rate)


def laps(samples: Sequence[Sample], count: int | None, rng: random.Random | None = None) -> Iterator[Sample]:
    """The samples `count` times (for ever when None): first in their order, then shuffled each time."""
    order = list(samples)
    rng = rng or random.Random()  # noqa: S311 - an order
    for lap in itertools.count():
        if lap == count:
            return
        yield from order
        rng.shuffle(order)


class Feeder:
    """A producer for samples; a context manager.

    Raises:
        FeederError: the broker cannot be reached.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._topic = topic
        try:
            self._producer = KafkaProducer(
                **client_options(kafka), acks="all", enable_idempotence=True, linger_ms=0
            )
        except KafkaError as error:
            raise FeederError(f"cannot send samples: {error}") from error

    def feed(
        self,
        samples: Iterable[Sample],
        *,
        rate: float | None,
        stop: threading.Event,
        on_sent: Callable[[Sent], None],
        rng: random.Random | None = None,
    ) -> int:
        """Send samples until they or `stop` end it, and return how many were sent.

        Args:
            samples: what to send.
            rate: messages a second on average; as fast as the broker takes them when None.
            stop: ends the feeding after the current message.
            on_sent: called for each acknowledged message, in the order of sending, on this thread.
            rng: source of the random pauses.

        Raises:
            FeederError: the broker did not take a message.
        """
        waits = pauses(rate, rng or random.Random()) if rate is not None else None  # noqa: S311 - jitter
        pending: list[tuple[Sample, Any]] = []
        count = 0
        for sample in samples:
            if stop.is_set() or (waits is not None and stop.wait(next(waits))):
                break
            pending.append((sample, self._send(sample)))
            count += 1
            if waits is not None:
                self._confirm(pending, on_sent)
        self._confirm(pending, on_sent)
        return count

    def close(self) -> None:
        """Close the producer. What was sent is acknowledged already."""
        self._producer.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, sample: Sample) -> Any:
        try:
            return self._producer.send(
                self._topic,
                key=sample.key,
                value=sample.value,
                headers=list(sample.headers),
                timestamp_ms=time.time_ns() // 1_000_000,
            )
        except KafkaError as error:
            raise FeederError(f"sample {sample.id} could not be sent: {error}") from error

    def _confirm(self, pending: list[tuple[Sample, Any]], on_sent: Callable[[Sent], None]) -> None:
        for sample, future in pending:
            try:
                place = future.get(_ACKNOWLEDGED_S)
            except KafkaError as error:
                raise FeederError(f"sample {sample.id} was not acknowledged: {error}") from error
            source = TopicPartition(place.topic, place.partition)
            on_sent(Sent(sample, source, place.offset, place.timestamp))
        pending.clear()


@click.command(help="Send the demo's samples to a topic. The settings of `kafka` are those of the worker.")
@click.option("--bootstrap", help="Brokers, as host:port; else MOODSTREAM_KAFKA__BOOTSTRAP_SERVERS.")
@click.option("--topic", help="Topic to feed; else the first of MOODSTREAM_SOURCE__TOPICS.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=4.0, show_default=True,
              help="Messages a second, on average.")  # fmt: skip
@click.option("--at-once", is_flag=True, help="No pauses.")
@click.option(
    "--laps", "lap_count", type=click.IntRange(min=1), help="How often to send all samples; else for ever."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the pauses and of the order.")
def command(
    *, bootstrap: str | None, topic: str | None, rate: float, at_once: bool, lap_count: int | None, seed: int
) -> None:
    """Feed a cluster until all laps are sent or SIGTERM arrives; both end with exit code 0."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    flags = {"kafka.bootstrap_servers": bootstrap, "source.topics": topic}
    sys.exit(_feed(flags, None if at_once else rate, lap_count, seed, stop))


def _feed(
    flags: dict[str, str | None], rate: float | None, lap_count: int | None, seed: int, stop: threading.Event
) -> int:
    try:
        settings = load_settings({name: value for name, value in flags.items() if value}).settings
        kafka = settings.kafka
        topic = next(iter(settings.source.topics), None)
        if topic is None:
            raise SettingsError(["source.topic_pattern does not name a topic to feed; give --topic"])
        first_connection(kafka, limit_s=kafka.connect_limit_s, say=_waiting, stop=stop)
        if stop.is_set():
            return ExitCode.OK
        require_topics(kafka, [topic])  # a producer would wait for it in silence
        rng = random.Random(seed)  # noqa: S311 - jitter
        with Feeder(kafka, topic) as feeder:
            samples = laps(load_samples(), lap_count, rng)
            count = feeder.feed(samples, rate=rate, stop=stop, on_sent=lambda _: None, rng=rng)
    except MoodstreamError as error:
        click.echo(str(error), err=True)
        return ExitCode.BROKER_UNAVAILABLE if isinstance(error, FeederError) else error.exit_code
    click.echo(f"sent {count} messages to {topic}")
    return ExitCode.OK


def _waiting(reason: str, waited_s: float) -> None:
    click.echo(f"waiting for the brokers ({waited_s:.0f} s): {reason}", err=True)


if __name__ == "__main__":
    command()
