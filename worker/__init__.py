"""Moodstream: a streaming text-classification worker for Kafka.

This is the implementation. Programs import `moodstream`, which has all that is promised to stay.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.python.classifier import Classifier
    from worker.settings.groups import Settings
    from worker.types import Failure, HeadResult, Prediction

__version__ = "0.1.0"
__all__ = ["Classifier", "Failure", "HeadResult", "Prediction", "Settings", "__version__"]

_HOMES = {
    "Classifier": "worker.python.classifier",
    "Failure": "worker.types",
    "HeadResult": "worker.types",
    "Prediction": "worker.types",
    "Settings": "worker.settings",
}


def __getattr__(name: str) -> object:
    """Import on first use, so that `moodstream --help` loads neither onnxruntime nor pydantic."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - see above

    return getattr(importlib.import_module(_HOMES[name]), name)
