"""The embedded broker as a fixture; see worker/demo/broker.py for what it can and cannot do."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.demo.broker import EmbeddedBroker


@contextmanager
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """A broker with a data folder of its own, gone at the end."""
    with EmbeddedBroker() as broker:
        yield broker
