"""What the worker's loop asks of a checkpoint."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from worker.checkpoint.outcome import Outcome
from worker.types import OutputRecord, TopicPartition


class Checkpoint(Protocol):
    """Outputs and offsets as one step."""

    def open(self, stop: threading.Event | None = None) -> None:
        """Connect, within `kafka.connect_limit_s`, or until `stop` is set. Raises Fatal."""

    def commit(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[TopicPartition, int], snapshot: Any | None
    ) -> Outcome:
        """Write outputs and the last processed offsets. Raises Fatal."""

    def close(self) -> None:
        """Let go of the connection. Never raises."""
