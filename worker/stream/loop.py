"""The loop of the worker: poll, label and commit, window after window, until it is told to stop."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import structlog

from worker.errors import BrokerUnavailable, MoodstreamError, RegistryUnavailable
from worker.kafka.checkpoint import Checkpoint
from worker.kafka.outcome import Outcome
from worker.kafka.retry import Waiting, since_until
from worker.kafka.source import Source
from worker.observe.health import Health
from worker.observe.metrics import Metrics
from worker.observe.summary import Summary
from worker.settings.groups import BatchSettings
from worker.stream.fitting import Fitter
from worker.stream.isolation import Isolation
from worker.stream.pipeline import Pipeline, Processed
from worker.stream.window import Pace, Progress, Window
from worker.types import Failure, Record

REBALANCES_WITHOUT_COMMIT = 5
"""After this many rebalances in a row that void all work, the worker logs it and becomes unready."""

_IDLE_POLL_S = 0.5
_WINDOW_BYTES = 8 * 1024 * 1024
_LAG_EVERY_S = 1.0
_AFTER_A_FAILURE_S = 0.2
_TELL_EVERY_S = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """A window that is labelled and not yet committed."""

    records: Sequence[Record]
    processed: Processed
    snapshot: object


class Loop:
    """Runs the stream on the thread that calls it.

    While one window is labelled, the window before it is committed on a second thread, so the model never
    waits for the broker. `poll` is called only when no commit is under way: rebalances happen inside `poll`,
    so none can fall between a commit and the window that it belongs to. A window of an earlier generation is
    dropped and read again: its partitions may belong to another worker now.

    Polled records that do not fit into the time of a window are kept for the next one. `rows` is in how many
    rows the model reads a long text at most, which that time depends on.
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
        fitter: Fitter | None = None,
        on_poison: Literal["stop", "skip"] = "stop",
        rows: int = 1,
        summary: Summary | None = None,
    ) -> None:
        self._source = source
        self._isolation = Isolation(
            pipeline,
            checkpoint,
            fitter,
            on_poison=on_poison,
            metrics=metrics,
            beat=lambda: health.beat("poll"),
        )
        self._batch = batch
        self._health = health
        self._metrics = metrics
        self._summary = summary or Summary()
        self._lag: int | None = None
        self._generation = source.generation
        self._connect_limit_s = connect_limit_s
        self._joined_at = time.monotonic()
        self._tell_outside_at = self._joined_at + _TELL_EVERY_S
        self._lag_due = 0.0
        self._rebalances_told = 0
        self._in_hand: list[Record] = []
        self._pace = Pace(batch.max_window_s, rows)
        # The records wait in hand, and every turn of the loop polls: the worker stays in its group meanwhile.
        self._registry = Waiting("the schema registry", on_wait=lambda: health.waiting("registry"))
        self._without_registry = False
        self._progress = Progress(REBALANCES_WITHOUT_COMMIT)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then commit what is labelled and return.

        Raises:
            MoodstreamError: the source or the checkpoint met an error that needs a new process, or the worker
                has been outside its group for `connect_limit_s`.
        """
        self._health.watch("loop", threading.current_thread())
        pending: LabelledWindow | None = None
        try:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint") as thread:
                while not stop.is_set():
                    pending = self._turn(pending, thread)
                if pending is not None:
                    log.info("draining", messages=len(pending.records))
                    self._finish(pending, self._commit(pending))
        except MoodstreamError:
            self._health.set_ready("stream", ready=False)
            raise
        finally:
            self._summary.close(self._lag)
            self._metrics.source({}, 0)  # the partitions are another worker's now

    def _turn(self, pending: LabelledWindow | None, thread: ThreadPoolExecutor) -> LabelledWindow | None:
        """Read one window, commit the pending one while labelling it, and return the new pending one."""
        if pending is not None and self._source.must_rejoin:
            # The next poll rebalances, which would void the window. Its partitions are still ours.
            self._finish(pending, self._commit(pending))
            pending = None
        records = self._collect(wait=pending is None)
        self._report(idle=not records and pending is None)
        snapshot = self._source.snapshot()
        if self._source.generation != self._generation or (records and snapshot is None):
            self._start_over(records, pending)
            return None
        records = self._cut(records)
        commit: Future[Outcome] | None = thread.submit(self._commit, pending) if pending else None
        try:
            labelled = self._label(records, snapshot) if records else None
        except RegistryUnavailable as problem:
            self._in_hand, records = [*records, *self._in_hand], []
            self._registry.failed(problem)
            labelled = None
        finally:
            outcome = commit.result() if commit else Outcome.COMMITTED
        if pending is None:
            return labelled
        if outcome is not Outcome.COMMITTED:
            self._drop(records)  # they come after the pending window and are read again with it
            labelled = None
        self._finish(pending, outcome)
        return labelled

    def _collect(self, *, wait: bool) -> list[Record]:
        """Read a window, starting with the records kept from the last one.

        Args:
            wait: there is nothing else to do, so it may wait for messages and fill the window.
        """
        most = min(self._batch.max_messages, self._pace.expected())
        window = Window(most, _WINDOW_BYTES, self._batch.max_wait_ms / 1000)
        records, self._in_hand = self._in_hand, []
        window.add(len(records), sum(record.size for record in records), time.monotonic())
        started = time.perf_counter()
        records += self._poll(window, _IDLE_POLL_S if wait and not records else 0.0)
        polled = time.perf_counter()
        self._metrics.stage("poll", polled - started)
        while wait and not window.complete(now := time.monotonic()):
            if not records or self._source.generation != self._generation:
                break
            records += self._poll(window, window.remaining_s(now))
        if records:
            self._metrics.stage("batch_wait", time.perf_counter() - polled)
        return records

    def _poll(self, window: Window, timeout_s: float) -> list[Record]:
        records = self._source.poll(max(1, window.room()), timeout_s)
        window.add(len(records), sum(record.size for record in records), time.monotonic())
        return records

    def _cut(self, records: list[Record]) -> list[Record]:
        """What can be labelled within `batch.max_window_s`; the rest is kept for the next window."""
        count = self._pace.fitting(records)
        self._in_hand = records[count:]
        return records[:count]

    def _label(self, records: list[Record], snapshot: object) -> LabelledWindow:
        self._health.beat("classify")
        started = time.perf_counter()
        try:
            processed = self._isolation.process(records)
        except RegistryUnavailable:
            self._without_registry = True
            self._health.rest("classify")
            raise
        if self._without_registry:
            log.info("the schema registry answers again")
            self._without_registry = False
            self._health.set_ready("registry", ready=True)
            self._registry.succeeded()
        self._pace.measured(records, time.perf_counter() - started)
        self._health.rest("classify")  # an idle topic is not a stall
        return LabelledWindow(records, processed, snapshot)

    def _commit(self, window: LabelledWindow) -> Outcome:
        started = time.perf_counter()
        outcome = self._isolation.commit(window.records, window.processed, window.snapshot)
        self._metrics.stage("commit", time.perf_counter() - started)
        self._metrics.transaction(outcome.value)
        return outcome

    def _finish(self, window: LabelledWindow, outcome: Outcome) -> None:
        """After the commit of a window: count it, or rewind to its beginning."""
        self._source.release(window.records)
        if self._isolation.done:
            self._progressed()
            self._tell(window, self._isolation.done)
        if outcome is Outcome.COMMITTED:
            return
        log.warning("window not committed; read again", outcome=outcome.value, messages=len(window.records))
        self._metrics.dropped(len(window.records))
        self._drop(self._in_hand)
        time.sleep(_AFTER_A_FAILURE_S)
        self._source.rewind()

    def _drop(self, records: Sequence[Record]) -> None:
        """Forget records that are read again later."""
        self._metrics.dropped(len(records))
        self._source.release(records)
        if records is self._in_hand:
            self._in_hand = []

    def _start_over(self, records: list[Record], pending: LabelledWindow | None) -> None:
        """After a rebalance: drop what an earlier generation read, and go on from the committed offsets."""
        self._generation = self._source.generation
        dropped = len(records) + (len(pending.records) if pending else 0)
        self._source.release([*records, *(pending.records if pending else ())])
        self._metrics.dropped(dropped)
        self._source.rewind()
        if not self._source.joined:
            return  # the rebalance goes on
        # The source has named the new partitions; without lost work there is nothing to add.
        say = log.info if dropped else log.debug
        say("rebalanced", partitions=len(self._source.assignment()), dropped=dropped)
        if self._progress.rebalanced():
            log.warning(
                "the group rebalances again and again and nothing is committed in between: look for workers "
                "that start and end, share a delivery.slot, or label longer than batch.max_window_s",
                group=self._source.group,
                rebalances=self._progress.rebalances,
            )
            self._health.set_ready("commits", ready=False)

    def _progressed(self) -> None:
        if self._progress.stuck:
            log.info("messages are committed again", rebalances=self._progress.rebalances)
            self._health.set_ready("commits", ready=True)
        self._progress.reset()

    def _report(self, *, idle: bool) -> None:
        """Update health and metrics."""
        self._health.beat("poll")
        joined, now = self._source.joined, time.monotonic()
        self._health.set_ready("brokers", joined)
        self._health.set_ready("partitions", joined and bool(self._source.assignment()))
        if joined:
            self._joined_at = now
            self._tell_outside_at = now + _TELL_EVERY_S
        else:
            self._outside(now)
        if now >= self._lag_due:
            self._lag_due = now + _LAG_EVERY_S
            lag = self._source.lag()
            self._metrics.source(lag, self._source.rebalances - self._rebalances_told)
            self._rebalances_told = self._source.rebalances
            all_known = joined and len(lag) == len(self._source.assignment())
            self._lag = sum(lag.values()) if all_known else None
            if idle and self._lag == 0:
                self._progressed()  # everything there is has been committed
        if joined:
            self._summary.tick(self._lag)

    def _outside(self, now: float) -> None:
        """The worker is not in its group: log this from time to time, and end at the limit."""
        waited_s = now - self._joined_at
        if waited_s > self._connect_limit_s:
            raise BrokerUnavailable(
                f"outside the consumer group for {self._connect_limit_s:g} s (kafka.connect_limit_s): "
                "no broker answers, or the group never settles",
            )
        if now >= self._tell_outside_at:
            self._tell_outside_at = now + _TELL_EVERY_S
            log.warning(
                "waiting to be in the consumer group: brokers are away, or other workers have yet to join",
                **since_until(waited_s, self._connect_limit_s),
            )

    def _tell(self, window: LabelledWindow, committed: int) -> None:
        """Count what is committed. Dead letters get a line each."""
        told = [result for results in window.processed.results[:committed] for result in results]
        failures = [(result.record, result.answer) for result in told if isinstance(result.answer, Failure)]
        for record, answer in failures:
            log.warning(
                "dead letter",
                stage=answer.stage,
                reason=answer.reason,
                message=answer.message,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
        ages = self._metrics.committed(told)
        self._summary.add(len(told), len(failures), ages)
        log.debug("window", messages=len(told), dead_letters=len(failures))
