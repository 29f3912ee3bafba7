"""Making and measuring models: training, distillation, pruning, evaluation, conversion.

A module that needs a package of an extra imports it at the top. Whoever imports such a module calls `need`
first, so that a missing package gives one line instead of a traceback.
"""

import os
from collections.abc import Callable
from importlib import util

from worker.errors import PackagesMissing

Progress = Callable[[str], None]
"""Receives one line about how far a run has got, or what it does next."""

_EXTRAS = {
    "import": ("onnx", "safetensors"),
    "train": ("onnx", "safetensors", "torch", "transformers"),
    "plots": ("matplotlib",),
}


def has(extra: str) -> bool:
    """Whether the packages of an extra are installed."""
    return all(util.find_spec(name) is not None for name in _EXTRAS[extra])


def need(extra: str, what: str) -> None:
    """Raise PackagesMissing if a package of the extra is not installed; `what` names what needs it.

    For training, this also sets how OpenMP's threads wait for one another: they sleep instead of spinning.
    On a busy machine this makes a run many times as fast, and other programs gain too. OpenMP reads the
    variable when torch is loaded, so it has to be set before that.
    """
    if not has(extra):
        raise PackagesMissing(f"{what} needs more packages: pip install 'moodstream[{extra}]'")
    if extra == "train":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
