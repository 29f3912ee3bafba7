"""Moodstream: a streaming text-classification worker for Kafka.

Nothing but the names below is promised to stay.
"""

__version__ = "0.1.0"
