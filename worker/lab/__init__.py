"""Models made and measured: training, distillation, pruning, evaluation, conversion.

A module that needs a package of an extra imports it at the top. Whoever imports such a module asks `need`
first, so that a missing package is one line and no traceback.
"""

import os
from collections.abc import Callable
from importlib import util

from worker.errors import PackagesMissing

Progress = Callable[[str], None]
"""Takes one line that says how far a run is, or what it does next."""

_EXTRAS = {
    "import": ("onnx", "safetensors"),
    "train": ("onnx", "safetensors", "torch", "transformers"),
    "plots": ("matplotlib",),
}


def has(extra: str) -> bool:
    """Whether the packages of an extra are installed."""
    return all(util.find_spec(name) is not None for name in _EXTRAS[extra])


def need(extra: str, what: str) -> None:
    """Raise PackagesMissing where a package of the extra is not installed; `what` needs it.

    For training, this also sets how OpenMP's threads wait for one another: they sleep instead of spinning.
    On a busy machine a run is many times as fast, and what runs beside it gains too. OpenMP reads the
    variable as torch is loaded, so this comes before.
    """
    if not has(extra):
        raise PackagesMissing(f"{what} needs more packages: pip install 'moodstream[{extra}]'")
    if extra == "train":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
