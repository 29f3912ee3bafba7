"""What the machine offers: cores and memory, within the cgroup's limits, and its processor's abilities."""

import contextlib
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path

_CGROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_threads() -> int:
    """Count the cores that this process may use, hyper-threads not counted, within its cgroup's CPU quota."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = _whole_cores(affinity) if affinity else (os.cpu_count() or 1)
    quota = cgroup_quota(_CGROUPS, _MEMBERSHIP)
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
    """Return the CPU quota of this process in cores, or None if there is none.

    Reads cgroup v2 (`cpu.max`) from the process's own group up to `root`, taking the smallest quota, and
    cgroup v1 (`cpu/cpu.cfs_quota_us`).
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


def available_memory(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return how many bytes of memory this process may use: the machine's, or less if its cgroup limits it.

    Reads cgroup v2 (`memory.max`) as `cgroup_quota` does, and v1 (`memory/memory.limit_in_bytes`).
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in (
        *(folder / "memory.max" for folder in _groups(root, membership)),
        root / "memory" / "memory.limit_in_bytes",
    ):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(file.read_text()))
    return min(found)


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


_CPUINFO = Path("/proc/cpuinfo")
_SUMS_IN_32_BITS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def saturates(machine: str | None = None, cpuinfo: Path = _CPUINFO) -> bool:
    """Whether onnxruntime's fast uint8 by int8 product would clip its sums on this processor.

    On x86 it adds pairs of products in 16 bits, unless the processor has VNNI or AMX, which sum in 32. The
    exact product that onnxruntime has for the others takes three times as long (measured: 118 against 38 ms
    per pass), so it is used only where it is needed, or if the processor is unknown.

    Args:
        machine: architecture as `platform.machine()` names it.
        cpuinfo: Linux's list of processors with their flags.
    """
    if (machine or platform.machine()).lower() not in {"x86_64", "amd64", "i686"}:
        return False
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return _SUMS_IN_32_BITS.isdisjoint(flags.split())
