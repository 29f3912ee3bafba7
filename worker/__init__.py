"""Moodstream: a streaming text-classification worker for Kafka.

This is the implementation. Programs import `moodstream`, which has all that is promised to stay.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
