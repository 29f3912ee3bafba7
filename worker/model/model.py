"""The older name of the classifier."""

from worker.model.classifier import Classifier as Model

__all__ = ["Model"]
