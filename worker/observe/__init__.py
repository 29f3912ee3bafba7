"""What a worker reports about itself: logs, Prometheus metrics, health, and the server for them."""

from worker.errors import PortInUse
from worker.observe.health import READY_CHECKS, Health
from worker.observe.logs import LogFormat, LogLevel
from worker.observe.logs import configure as configure_logging
from worker.observe.metrics import STAGES, Metrics, resident_memory_bytes
from worker.observe.server import ObserveServer
from worker.observe.summary import Summary

__all__ = [
    "READY_CHECKS",
    "STAGES",
    "Health",
    "LogFormat",
    "LogLevel",
    "Metrics",
    "ObserveServer",
    "PortInUse",
    "Summary",
    "configure_logging",
    "resident_memory_bytes",
]
