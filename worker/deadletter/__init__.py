"""A record and why it failed, as a dead letter: the original bytes, and headers that say why."""

from worker.deadletter.letter import REASON_HEADER, DeadLetters
from worker.deadletter.profiles import Origin, connect_headers, spring_headers

__all__ = ["REASON_HEADER", "DeadLetters", "Origin", "connect_headers", "spring_headers"]
