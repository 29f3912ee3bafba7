"""Moodstream's public face in Python: labels for texts, without Kafka.

    from moodstream import Classifier, Prediction

    classifier = Classifier()
    for result in classifier.classify(["so good!", "never again"]):
        if isinstance(result, Prediction):
            print(result.heads["sentiment"].label)

Nothing but the names below is promised to stay. The implementation is the package `worker`; another module
of that name, such as a `worker.py` in the current folder, stays what it is.
"""

from typing import TYPE_CHECKING

from moodstream._implementation import implementation

if TYPE_CHECKING:
    from worker import __version__
    from worker.errors import MoodstreamError, PackError
    from worker.python.classifier import Classifier
    from worker.settings.groups import BatchSettings, Settings
    from worker.types import Failure, HeadResult, Prediction, SpanResult

__all__ = [
    "BatchSettings",
    "Classifier",
    "Failure",
    "HeadResult",
    "MoodstreamError",
    "PackError",
    "Prediction",
    "Settings",
    "SpanResult",
    "__version__",
]

_HOMES = {
    "__version__": "worker",
    "BatchSettings": "worker.settings.groups",
    "Classifier": "worker.python.classifier",
    "Failure": "worker.types",
    "HeadResult": "worker.types",
    "MoodstreamError": "worker.errors",
    "PackError": "worker.errors",
    "Prediction": "worker.types",
    "Settings": "worker.settings.groups",
    "SpanResult": "worker.types",
}


def __getattr__(name: str) -> object:
    """Import on first use, so that `import moodstream` loads no onnxruntime."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - see above

    with implementation():
        found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
