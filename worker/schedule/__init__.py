"""Messages to micro-batches: when a window closes, and how it is cut. No model, no Kafka, no clock."""

from worker.schedule.plan import plan
from worker.schedule.window import Window

__all__ = ["Window", "plan"]
