"""The onnxruntime session of a pack, and how many threads it may use."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Before the import: the wheels for Linux report to their maker as soon as they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort
from numpy.typing import NDArray

from worker.classify.errors import InferenceError, PackError

IDS, LENGTHS = "ids", "lengths"
"""Inputs of the graph: token numbers (batch, longest) and how many of each row count (batch), both int32."""


class Session:
    """One graph, ready to run.

    Several threads may run passes at the same time, and that is how to use more than one core: a pass itself
    keeps to the thread that calls it. Passes of a few hundred tokens are too short to be shared out: handing
    each of their small operators to a second thread costs most of what the second thread gains.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        """Load the ONNX graph at `path`, which must have these outputs.

        Raises:
            PackError: the graph cannot be loaded, or has other inputs or outputs.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without VNNI the quick uint8 by int8 product saturates; this has such processors use the exact one.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's errors share no base class but Exception.
            raise PackError(f"{path} cannot be loaded: {_one_line(error)}") from error
        self._outputs = list(outputs)
        self._check(path)

    def _check(self, path: Path) -> None:
        inputs = {item.name for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        if inputs != {IDS, LENGTHS}:
            raise PackError(f"{path}: the graph wants inputs {sorted(inputs)}, not {[IDS, LENGTHS]}")
        if missing := [name for name in self._outputs if name not in outputs]:
            raise PackError(f"{path}: the graph has no output {missing[0]!r}")

    def run(self, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Run one forward pass over rows of token numbers, padded to the longest of them.

        Returns one array (batch, …) for each of the outputs asked for, in their order.

        Raises:
            InferenceError: onnxruntime refused the batch, or answered with another number of rows.
        """
        lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
        ids = np.zeros((len(rows), int(lengths.max())), dtype=np.int32)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        try:
            outputs = self._session.run(self._outputs, {IDS: ids, LENGTHS: lengths})
        except Exception as error:
            raise InferenceError(f"the forward pass failed: {_one_line(error)}") from error
        for name, values in zip(self._outputs, outputs, strict=True):
            if len(values) != len(rows):
                raise InferenceError(f"output {name}: {len(values)} results for a batch of {len(rows)}")
        return list(outputs)


def available_threads() -> int:
    """Count the cores that this process may use, hyper-threads not counted, within its cgroup's CPU quota."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = _whole_cores(affinity) if affinity else (os.cpu_count() or 1)
    quota = cgroup_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _whole_cores(cpus: Sequence[int]) -> int:
    """Count cores, not their hyper-threads: two threads on one core share the unit that multiplies."""
    cores = set()
    for cpu in cpus:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            return len(cpus)
    return len(cores)


def cgroup_quota(root: Path, membership: Path) -> float | None:
    """Return the CPU quota of this process in cores, or None where there is none.

    Reads cgroup v2 (`cpu.max`) on the way from the process's own group up to `root`, where the smallest
    quota counts, and cgroup v1 (`cpu/cpu.cfs_quota_us`).
    """
    quotas = [
        quota for folder in _groups(root, membership) if (quota := _v2_quota(folder / "cpu.max")) is not None
    ]
    try:
        quota = int((root / "cpu" / "cpu.cfs_quota_us").read_text())
        period = int((root / "cpu" / "cpu.cfs_period_us").read_text())
        if quota > 0 and period > 0:
            quotas.append(quota / period)
    except (OSError, ValueError):
        pass  # no cgroup v1 here
    return min(quotas, default=None)


def _groups(root: Path, membership: Path) -> list[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder = root / own
    return [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)]


def _v2_quota(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
