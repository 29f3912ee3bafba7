"""A producer that does what a test tells it, and writes down what it was asked."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata

SNAPSHOT = ConsumerGroupMetadata("group", 3, "member-1", "group.0")


class Answer:
    """A future of `send`."""

    def __init__(self, exception: Exception | None = None, *, done: bool = True) -> None:
        self.exception = exception
        self.is_done = done

    def succeeded(self) -> bool:
        """As the client's future."""
        return self.is_done and self.exception is None


class Scripted:
    """Stands in for KafkaProducer. `fail` maps a call's name to what it raises, once."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.offsets: list[Any] = []
        self.fail: dict[str, Exception] = {}
        self.answer: Callable[[dict[str, Any]], Answer] = lambda _: Answer()
        self.closed = False
        self._metadata = SimpleNamespace(config={"allow_auto_create_topics": True})

    def _call(self, name: str) -> None:
        self.calls.append(name)
        error = self.fail.pop(name, None)
        if error is not None:
            raise error

    def init_transactions(self) -> None:
        self._call("init_transactions")

    def begin_transaction(self) -> None:
        self._call("begin_transaction")

    def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2}

    def send(self, topic: str, **record: Any) -> Answer:
        self._call("send")
        sent = {"topic": topic, **record}
        self.sent.append(sent)
        return self.answer(sent)

    def flush(self, timeout: float) -> None:
        self._call("flush")

    def send_offsets_to_transaction(self, offsets: Any, metadata: Any) -> None:
        self._call("send_offsets_to_transaction")
        self.offsets.append((offsets, metadata))

    def commit_transaction(self) -> None:
        self._call("commit_transaction")

    def close(self, timeout: float) -> None:
        self.closed = True


def error_in(call: str, error: KafkaError) -> dict[str, Exception]:
    """For `fail`."""
    return {call: error}
