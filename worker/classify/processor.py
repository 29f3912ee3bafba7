"""What this machine's processor can do that the graph's speed or its results hang on."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_SUMS_IN_32_BITS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def saturates(machine: str | None = None, cpuinfo: Path = _CPUINFO) -> bool:
    """Whether onnxruntime's quick product of uint8 by int8 would clip its sums on this processor.

    On x86 it adds pairs of products in 16 bits, unless the processor has VNNI or AMX, which sum in 32. The
    exact product that onnxruntime has for the others takes three times as long (measured: 118 against 38 ms
    a pass), so it is asked for only where it is needed, and where nothing is known of the processor.

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
