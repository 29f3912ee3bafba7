"""Who has a slot: each member tells the group which process it is, so that a dead one of this machine shows.

A worker that crashed and is started again on the same machine need not wait until its old session times out:
it can see that the process that has the slot is gone, and take that slot. It saves time and nothing else. If
the answer were wrong, Kafka would fence the other worker, which would take another slot.
"""

import json
import os
from pathlib import Path
from typing import Any

from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"


def process_identity() -> str:
    """This process, told from every other one: machine and start, process namespace, number and its start.

    Empty where there is no Linux to ask.
    """
    try:
        return json.dumps({**_machine(), "pid": os.getpid(), "started": _started(os.getpid())})
    except (OSError, ValueError):
        return ""


def is_dead(identity: str) -> bool:
    """Whether that process ran on this machine, where its number could be seen, and has ended."""
    try:
        told = json.loads(identity)
        pid = told["pid"]
        if not isinstance(pid, int) or pid < 1 or any(told[key] != own for key, own in _machine().items()):
            return False
        os.kill(pid, 0)
        return bool(_started(pid) != told["started"])
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return False


def _machine() -> dict[str, str]:
    return {"boot": _BOOT_ID.read_text().strip(), "processes": str((_PROC / "self/ns/pid").readlink())}


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None for one that has ended and was not fetched yet."""
    state, *fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


class SignedRange(RangePartitionAssignor):  # type: ignore[misc]  # kafka-python has no types
    """The client's own range assignor, whose members say which process they are (`user_data`)."""

    @classmethod
    def metadata(cls, topics: Any) -> Any:
        """What a member says of itself when it joins."""
        subscription = super().metadata(topics)
        subscription.user_data = process_identity().encode()
        return subscription


ASSIGNORS = (SignedRange, RoundRobinPartitionAssignor)
"""The client's own two, by name: members of other versions share the group."""
