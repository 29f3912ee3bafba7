"""The demo: an embedded broker, samples sent at a human pace, and a live view of the worker's answers.

Needs the extra `demo`. Nothing here is part of the service: the worker that the demo starts is the same
process that `moodstream run` starts anywhere else.
"""

from pathlib import Path

from worker.demo.broker import EmbeddedBroker
from worker.errors import BrokerError

__all__ = ["BrokerError", "EmbeddedBroker", "main"]


def main(
    *, once: bool = False, rate: float | None = None, svg: Path | None = None, page: bool = False
) -> int:
    """Run the demo until Ctrl-C, or with `once` until every sample has its answer.

    Args:
        once: send each sample once and draw nothing; needs no terminal.
        rate: messages a second on average; when None 4, and with `once` as fast as possible.
        svg: write the view, as it is at the end, to this file.
        page: serve the live page as well; needs the extra `dashboard`.

    Returns:
        0 when the worker drained and every message has exactly one answer, the expected one; else 1. The last
        line of standard output is the summary; what is wrong goes to standard error.
    """
    from worker.demo.run import run_demo  # noqa: PLC0415 - the broker alone needs neither rich nor the client

    return run_demo(once=once, rate=rate, svg=svg, page=page)
