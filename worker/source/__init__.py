"""Kafka in: poll, rebalances, flow control, lag."""

from worker.source.errors import SourceFenced
from worker.source.source import Source

__all__ = ["Source", "SourceFenced"]
