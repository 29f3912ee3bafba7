"""The loop of the worker: poll, label and commit, window after window, until it is told to stop."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from worker.errors import ExitCode, Fatal
from worker.kafka.checkpoint import Checkpoint
from worker.kafka.outcome import Outcome
from worker.kafka.source import Source
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.settings.groups import BatchSettings
from worker.stream.pipeline import Pipeline, Processed
from worker.stream.window import Window
from worker.types import Failure, Record, TopicPartition

log = structlog.get_logger(__name__)

_IDLE_POLL_S = 0.5
_WINDOW_BYTES = 8 * 1024 * 1024
_LAG_EVERY_S = 1.0
_AFTER_A_FAILURE_S = 0.2


@dataclass(frozen=True, slots=True)
class Labelled:
    """A window that is labelled and not yet committed."""

    records: Sequence[Record]
    processed: Processed
    snapshot: object

    def offsets(self) -> dict[TopicPartition, int]:
        """Last offset of each partition in the window."""
        return {record.topic_partition: record.offset for record in self.records}


class Loop:
    """Runs the stream on the thread that calls it.

    While one window is labelled, the window before it is committed on a second thread, so the broker's
    answers cost the model no time. `poll` is called only when no commit is under way: rebalances happen
    inside `poll`, so none can fall between a commit and the window that it belongs to. A window whose
    generation has passed is dropped and read again: its partitions may belong to another worker now.
    """

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        checkpoint: Checkpoint,
        *,
        batch: BatchSettings,
        connect_limit_s: float,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._pipeline = pipeline
        self._checkpoint = checkpoint
        self._batch = batch
        self._health = health
        self._metrics = metrics
        self._generation = source.generation
        self._connect_limit_s = connect_limit_s
        self._joined_at = time.monotonic()
        self._lag_due = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then commit what is labelled and return.

        Raises:
            Fatal: the checkpoint found something that only a new process can mend, or the worker has been
                outside its group for `connect_limit_s`.
        """
        self._health.watch("loop", threading.current_thread())
        pending: Labelled | None = None
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as thread:
            while not stop.is_set():
                pending = self._turn(pending, thread)
            if pending is not None:
                self._settle(pending, self._commit(pending))

    def _turn(self, pending: Labelled | None, thread: ThreadPoolExecutor) -> Labelled | None:
        """Read one window, commit the pending one beside labelling it, and return the new pending one."""
        records = self._collect(wait=pending is None)
        self._report()
        snapshot = self._source.snapshot()
        if self._source.generation != self._generation or (records and snapshot is None):
            self._start_over(records, pending)
            return None
        commit: Future[Outcome] | None = thread.submit(self._commit, pending) if pending else None
        try:
            labelled = self._label(records, snapshot) if records else None
        finally:
            outcome = commit.result() if commit else Outcome.COMMITTED
        if pending is None:
            return labelled
        self._settle(pending, outcome)
        if outcome is Outcome.COMMITTED:
            return labelled
        self._source.settle(records)  # the rewind has put them before us again
        return None

    def _collect(self, *, wait: bool) -> list[Record]:
        """Read a window.

        Args:
            wait: nothing else is to be done, so an empty topic may be waited for and a window filled.
        """
        window = Window(self._batch.max_messages, _WINDOW_BYTES, self._batch.max_wait_ms / 1000)
        records = self._poll(window, _IDLE_POLL_S if wait else 0.0)
        while wait and not window.complete(now := time.monotonic()):
            if not records or self._source.generation != self._generation:
                break
            records += self._poll(window, window.remaining_s(now))
        return records

    def _poll(self, window: Window, timeout_s: float) -> list[Record]:
        records = self._source.poll(window.room(), timeout_s)
        window.add(len(records), sum(record.size for record in records), time.monotonic())
        return records

    def _label(self, records: list[Record], snapshot: object) -> Labelled:
        self._health.beat("classify")
        processed = self._pipeline.process(records)
        self._health.rest("classify")  # an idle topic is no stall
        return Labelled(records, processed, snapshot)

    def _commit(self, window: Labelled) -> Outcome:
        started = time.perf_counter()
        outcome = self._checkpoint.commit(window.processed.outputs, window.offsets(), window.snapshot)
        self._metrics.stage("commit", time.perf_counter() - started)
        self._metrics.transaction(outcome.value)
        return outcome

    def _settle(self, window: Labelled, outcome: Outcome) -> None:
        """Close the books of a window: count it, or go back before it."""
        self._source.settle(window.records)
        if outcome is Outcome.COMMITTED:
            self._tell(window)
            return
        log.warning("window goes back", outcome=outcome.value, messages=len(window.records))
        time.sleep(_AFTER_A_FAILURE_S)
        self._source.rewind()

    def _start_over(self, records: list[Record], pending: Labelled | None) -> None:
        """After a rebalance: forget what an earlier generation read, and read on from what is committed."""
        self._generation = self._source.generation
        dropped = [*records, *(pending.records if pending else ())]
        self._source.settle(dropped)
        log.info("rebalanced", partitions=len(self._source.assignment()), dropped=len(dropped))
        self._source.rewind()

    def _report(self) -> None:
        """Tell health and metrics where the stream stands."""
        self._health.beat("poll")
        joined, now = self._source.joined, time.monotonic()
        self._health.set_ready("brokers", joined)
        self._health.set_ready("partitions", joined and bool(self._source.assignment()))
        if joined:
            self._joined_at = now
        elif now - self._joined_at > self._connect_limit_s:
            raise Fatal(
                ExitCode.BROKER_UNAVAILABLE,
                f"outside the consumer group for {self._connect_limit_s:g} s (kafka.connect_limit_s): "
                "no broker answers, or the group never settles",
            )
        if now >= self._lag_due:
            self._lag_due = now + _LAG_EVERY_S
            self._metrics.source(self._source.lag(), self._source.rebalances)

    def _tell(self, window: Labelled) -> None:
        """Count what is committed, and write the window's one line. Dead letters get a line each."""
        failures = 0
        for record, answer in zip(window.records, window.processed.answers, strict=True):
            self._metrics.message(record, answer)
            if isinstance(answer, Failure):
                failures += 1
                log.warning(
                    "dead letter",
                    stage=answer.stage,
                    reason=answer.reason,
                    message=answer.message,
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                )
        log.info("window", messages=len(window.records), dead_letters=failures)
