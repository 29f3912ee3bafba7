"""No single record ends the worker: a failing one is found within its window and handled by itself.

A window that cannot be labelled, or whose outputs Kafka refuses, is bisected until the record or records to
blame are found. This happens at once and within this process, so there is no count of attempts that a restart
would reset.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import structlog

from worker.errors import InternalError, OutputRefused, RegistryError, SettingsError
from worker.kafka.checkpoint import Checkpoint
from worker.kafka.outcome import Outcome
from worker.observe.metrics import Metrics
from worker.stream.fitting import Fitter
from worker.stream.pipeline import Pipeline, Processed, Result
from worker.types import Failure, Record, Skipped, TopicPartition

SEARCH_S = 30.0
"""A search that has made progress stops after this time: the worker must poll to stay in its group."""

_log = structlog.get_logger(__name__)


class _Window(NamedTuple):
    records: Sequence[Record]
    processed: Processed
    snapshot: Any | None
    started: float


class Isolation:
    """Labels and commits windows, and keeps the other records of a window going when one fails.

    Args:
        pipeline: labels records.
        checkpoint: commits outputs and offsets.
        fitter: fits outputs to their topics, and makes ever smaller dead letters. Without one nothing is
            isolated, and every error goes to the caller.
        on_poison: what to do with a record for which Kafka refuses even a dead letter.
        metrics: count what became of refused records.
        beat: called during a search, which may take longer than a commit does.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        checkpoint: Checkpoint,
        fitter: Fitter | None,
        *,
        on_poison: Literal["stop", "skip"] = "stop",
        metrics: Metrics,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipeline = pipeline
        self._checkpoint = checkpoint
        self._fitter = fitter
        self._on_poison = on_poison
        self._metrics = metrics
        self._beat = beat
        self._labelled: Record | None = None
        self.done = 0
        """How many records of the last window are committed. They are the first ones."""

    def process(self, records: Sequence[Record]) -> Processed:
        """Turn the messages of each record into outputs that their topics accept, in the same order.

        Raises:
            RegistryError, SettingsError: messages cannot be read for now, or not with these settings.
            Exception: the pipeline's own error, when it also fails for a record that was labelled before.
        """
        fitter = self._fitter
        if fitter is None:
            return self._pipeline.process(records)
        try:
            processed = self._pipeline.process(records)
        except (RegistryError, SettingsError):
            raise  # no message is to blame
        except Exception as error:  # noqa: BLE001 - no error of one record may end the worker
            _log.warning(
                "a window cannot be labelled; looking for the message that fails",
                messages=len(records),
                reason=type(error).__name__,
            )
            processed = Processed([])
            self._label_apart(fitter, records, error, processed)
        else:
            self._labelled = records[-1]
        return fitter.fit_all(processed)

    def commit(self, records: Sequence[Record], processed: Processed, snapshot: Any | None) -> Outcome:
        """Commit a window. Outputs and answers of records that Kafka refuses are replaced in `processed`.

        Returns:
            COMMITTED, or why the window was not committed whole; `done` says how much of it was.

        Raises:
            OutputRefused: with `on_poison` `stop`, for a record for which Kafka refuses even a dead letter.
            MoodstreamError: as the checkpoint raises it.
        """
        window = _Window(records, processed, snapshot, time.monotonic())
        self.done = 0
        try:
            return self._commit(window, 0, len(records))
        except OutputRefused as refusal:
            if self._fitter is None:
                raise
            _log.warning(
                "Kafka refuses the output of a message; looking for it",
                messages=len(records),
                reason=str(refusal),
            )
            return self._commit_apart(self._fitter, window, 0, len(records), refusal)

    def _label_apart(
        self, fitter: Fitter, records: Sequence[Record], error: Exception, into: Processed
    ) -> None:
        """Label a window that has failed as a whole, in halves."""
        if len(records) == 1:
            self._check_pipeline(error)
            why = InternalError(f"labelling this message fails with {type(error).__name__}")
            answer = Failure.of("classify", why.reason, why)
            into.results.append([Result(records[0], answer, fitter.dead_letter(records[0], answer))])
            return
        middle = len(records) // 2
        for part in (records[:middle], records[middle:]):
            try:
                processed = self._pipeline.process(part)
            except (RegistryError, SettingsError):
                raise
            except Exception as problem:  # noqa: BLE001 - see `process`
                self._label_apart(fitter, part, problem, into)
            else:
                self._labelled = part[-1]
                into.results.extend(processed.results)

    def _check_pipeline(self, error: Exception) -> None:
        """Make sure that this record is at fault, and not the pipeline.

        Raises:
            Exception: `error`, when a record that was labelled before fails too.
        """
        try:
            self._pipeline.process([self._labelled or Record("", 0, 0, -1, None, b"It is a fine day.")])
        except Exception:  # noqa: BLE001 - the first error is the informative one
            raise error from None

    def _commit(self, window: _Window, start: int, stop: int) -> Outcome:
        records = window.records[start:stop]
        outcome = self._checkpoint.commit(
            window.processed.outputs_of(start, stop), last_offsets(records), window.snapshot
        )
        if outcome is Outcome.COMMITTED:
            self.done = stop
        return outcome

    def _commit_apart(
        self, fitter: Fitter, window: _Window, start: int, stop: int, refusal: OutputRefused
    ) -> Outcome:
        """Commit a part of a window that was refused as a whole, in halves and in order."""
        if stop - start == 1:
            return self._commit_alone(fitter, window, start, refusal)
        middle = (start + stop) // 2
        for part in ((start, middle), (middle, stop)):
            if self.done and time.monotonic() - window.started > SEARCH_S:
                return Outcome.ABORTED  # the rest is read again
            self._beat()
            try:
                outcome = self._commit(window, *part)
            except OutputRefused as again:
                outcome = self._commit_apart(fitter, window, *part, again)
            if outcome is not Outcome.COMMITTED:
                return outcome
        return Outcome.COMMITTED

    def _commit_alone(self, fitter: Fitter, window: _Window, index: int, refusal: OutputRefused) -> Outcome:
        """Commit one record that was refused: in another form, or as a dead letter."""
        record = window.records[index]
        for results, became in _other_forms(fitter, window.processed.results[index], refusal):
            window.processed.results[index] = results
            try:
                outcome = self._commit(window, index, index + 1)
            except OutputRefused as again:
                refusal = again
                continue
            if outcome is Outcome.COMMITTED:
                self._say(record, refusal, became)
            return outcome
        return self._give_up(window, index, refusal)

    def _give_up(self, window: _Window, index: int, refusal: OutputRefused) -> Outcome:
        """Stop, or skip the record: Kafka refuses every output for it."""
        record = window.records[index]
        if self._on_poison == "stop":
            self._say(record, refusal, "stopped")
            raise OutputRefused(
                f"topic {record.topic}, partition {record.partition}, offset {record.offset}: Kafka takes "
                f"neither an output nor a dead letter for this message: {refusal}. Look at the dead-letter "
                "topic's configuration; delivery.on_poison = skip gives such messages up"
            )
        outcome = self._checkpoint.commit([], last_offsets([record]), window.snapshot)
        if outcome is Outcome.COMMITTED:
            self.done = index + 1
            window.processed.results[index] = [Result(record, Skipped(), None)]
            self._say(record, refusal, "skipped")
        return outcome

    def _say(self, record: Record, refusal: OutputRefused, became: str) -> None:
        self._metrics.refused(record.topic, became)
        (_log.error if became in {"skipped", "stopped"} else _log.warning)(
            "Kafka refused the output of a message",
            became=became,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=str(refusal),
        )


def _other_forms(
    fitter: Fitter, results: list[Result], refusal: OutputRefused
) -> Iterator[tuple[list[Result], str]]:
    """What else can be written for a record whose output is refused, from the most to the least complete.

    Kafka does not say which output of several it refuses, so the messages of an array change together.
    """
    written = [result for result in results if result.output is not None]
    now = [
        result._replace(output=fitter.at_the_current_time(result.record, result.output) or result.output)
        for result in written
        if result.output is not None
    ]
    if now != written:
        failed = all(isinstance(result.answer, Failure) for result in written)
        yield now, "dead_letter" if failed else "written"
    letters: list[Result] = []
    for result in written:
        if isinstance(result.answer, Failure):
            letters.append(result)
            continue
        why = fitter.refused(str(refusal))
        letters.append(Result(result.record, why, fitter.dead_letter(result.record, why)))
    if letters != written:
        yield letters, "dead_letter"
    yield (
        [
            Result(letter.record, letter.answer, fitter.smallest_dead_letter(letter.record, letter.answer))
            for letter in letters
            if isinstance(letter.answer, Failure)
        ],
        "dead_letter",
    )


def last_offsets(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """The last offset of each partition among records in order."""
    return {record.topic_partition: record.offset for record in records}
