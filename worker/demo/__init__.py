"""The demo: an embedded broker, samples fed at a human pace, and a live view of what the worker says of them.

Needs the extra `demo`. Nothing here takes part in the stream: the worker that the demo starts is the same
process that `moodstream run` starts anywhere else.
"""

from pathlib import Path

from worker.demo.broker import EmbeddedBroker
from worker.errors import BrokerError

__all__ = ["BrokerError", "EmbeddedBroker", "main"]


def main(*, once: bool = False, rate: float | None = None, svg: Path | None = None) -> int:
    """Run the demo until Ctrl-C, or with `once` until every sample has its answer.

    Args:
        once: send each sample once, draw nothing; needs no terminal.
        rate: messages a second on average; when None 4, and with `once` as fast as they go.
        svg: write the view as it stands at the end to this file.

    Returns:
        0 when the worker drained and every message has exactly the one answer that it should, else 1. The
        last line of standard output is the summary; what is wrong goes to standard error.
    """
    from worker.demo.run import run_demo  # noqa: PLC0415 - the broker alone needs neither rich nor the client

    return run_demo(once=once, rate=rate, svg=svg)
