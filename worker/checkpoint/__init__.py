"""Outputs and offsets as one: transactions or at-least-once, and what follows each outcome."""

from worker.checkpoint.at_least_once import AtLeastOnceCheckpoint
from worker.checkpoint.outcome import TABLE, Fatal, Outcome, Phase, Rule
from worker.checkpoint.protocol import Checkpoint
from worker.checkpoint.transactional import TransactionalCheckpoint
from worker.checkpoint.watchdog import Watchdog

__all__ = [
    "TABLE",
    "AtLeastOnceCheckpoint",
    "Checkpoint",
    "Fatal",
    "Outcome",
    "Phase",
    "Rule",
    "TransactionalCheckpoint",
    "Watchdog",
]
