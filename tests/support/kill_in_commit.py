"""The worker's command, except that a broker is killed in the middle of the worker's third commit.

`WorkerProcess(…, module=MODULE)` runs it. The environment names the broker's process (`PID`) and the call of
the client that is about to be made when it dies (`CALL`).
"""

import os
import signal
import sys

from kafka import KafkaProducer

from worker.cli.main import main

MODULE = "tests.support.kill_in_commit"
PID, CALL = "KILL_IN_COMMIT_PID", "KILL_IN_COMMIT_CALL"


def _kill_before(call: str, pid: int, at: int = 3) -> None:
    made, calls = getattr(KafkaProducer, call), iter(range(1, 1_000_000))

    def interrupted(producer: KafkaProducer, *arguments: object) -> object:
        if next(calls) == at:
            os.kill(pid, signal.SIGKILL)
        return made(producer, *arguments)

    setattr(KafkaProducer, call, interrupted)


if __name__ == "__main__":
    _kill_before(os.environ[CALL], int(os.environ[PID]))
    sys.exit(main())
