"""The demo: an embedded broker, samples fed at a human pace, and a live view of what the worker says of them.

Needs the extra `demo`. Nothing here takes part in the stream: the worker that the demo starts is the same
process that `moodstream run` starts anywhere else.
"""

from worker.demo.broker import BrokerError, EmbeddedBroker

__all__ = ["BrokerError", "EmbeddedBroker"]
