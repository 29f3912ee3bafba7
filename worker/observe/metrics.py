"""The Prometheus instruments. Callers report events; the names and labels of metrics are only here."""

import collections
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from worker.heads import Head
from worker.settings.languages import two_letters
from worker.types import (
    Answer,
    Failure,
    Filtered,
    Prediction,
    Record,
    Skipped,
    SpanResult,
    Tombstone,
    TopicPartition,
)

_STATM = Path("/proc/self/statm")


STAGES = (
    "poll",
    "batch_wait",
    "decode",
    "classify",
    "language",
    "tokenise",
    "infer",
    "encode",
    "commit",
)
"""The steps whose durations are measured, in the order in which a message passes them.

`poll` waits for messages, and `batch_wait` for more of them, to fill the window. `language`, `tokenise` and
`infer` are parts of `classify`. `commit` is a whole checkpoint: sending the outputs and offsets, and ending
the transaction.
"""

UNKNOWN_LANGUAGE, OTHER_LANGUAGE = "unknown", "other"
"""Languages in metrics besides the two-letter codes: not known, and any without such a code. The language may
be a field of the sender, which can hold anything."""

_SPAN_OUTCOMES = ("gate_closed", "nothing_marked", "marked")
_MOST_AT_ZERO = 100
"""Labels of a head that are counted from zero on. A head may have thousands, of which few ever occur."""

_OUTCOMES: dict[type[Answer], str] = {
    Prediction: "labelled",
    Failure: "dead_letter",
    Tombstone: "tombstone",
    Filtered: "filtered",
    Skipped: "skipped",
}

_PREFIX = "moodstream"
_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200)
_MESSAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
_TOKENS = (32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192)
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)


def resident_memory_bytes(statm: Path = _STATM) -> int:
    """Resident set size of this process, in bytes.

    Without `/proc` (macOS) it is the largest size so far, since the current one is not available cheaply.
    """
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024


_Counts = collections.Counter[tuple[Any, ...]]
"""By instrument and the values of its labels."""


class Committed(Protocol):
    """What became of a message, once that is committed."""

    @property
    def record(self) -> Record:
        """The message as it was read."""

    @property
    def answer(self) -> Answer:
        """What became of it."""

    @property
    def language(self) -> str | None:
        """Its language, as far as it is known."""


class Metrics:
    """All instruments of a worker, in one registry (a fresh one by default), and the process' own figures.

    The values of every label come from a short list: outcomes, stages, failure codes, the labels of the pack,
    languages, the partitions assigned now. Any thread may call any method, but only one at a time may call
    `source`.

    No metric has a `_created` series, which would double their number. The client library has one switch for
    the whole process, so making an object of this class turns them off for all registries.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._clock = clock
        self._lag_of: set[TopicPartition] = set()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives it no types
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._counters()
        self._histograms()
        self._gauges()

    def _counters(self) -> None:
        self._messages = self._counter("messages", "Messages committed, by what became of them", "outcome")
        # Prometheus sees no rise in a counter that begins at one.
        for outcome in _OUTCOMES.values():
            self._messages.labels(outcome)
        self._rebalances = self._counter("rebalances", "Changes of the assigned partitions")
        self._transactions = self._counter("transactions", "Checkpoints, by how they ended", "outcome")
        for outcome in ("committed", "aborted", "unknown"):
            self._transactions.labels(outcome)
        self._dead_letters = self._counter(
            "dead_letters", "Dead letters committed, by where and why the message failed", "stage", "reason"
        )
        self._labels = self._counter("labels", "Strongest labels committed, by head", "task", "label")
        self._languages = self._counter("languages", "Labelled messages committed, by language", "language")
        self._text_tokens = self._counter(
            "text_tokens", "Tokens of the labelled messages committed, without padding"
        )
        self._spans = self._counter(
            "spans_messages",
            "Messages committed, by what each token head made of them",
            "task",
            "outcome",
        )
        self._refused = self._counter(
            "refused_messages",
            "Messages whose output Kafka refused, by what became of them",
            "topic",
            "outcome",
        )
        self._corrupt = self._counter(
            "corrupt_batches", "Places in the log that could not be read and were passed over", "topic"
        )
        self._dropped = self._counter(
            "dropped_messages",
            "Messages read but not committed, after a rebalance or a failed commit; they are read again",
        )
        self._resets = self._counter(
            "offset_resets",
            "Partitions read from another offset than the one due",
            "topic",
            "reason",
        )
        self._removed = self._counter(
            "removed_messages", "Messages that the broker removed before they were read", "topic"
        )

    def _histograms(self) -> None:
        self._batch_messages = self._histogram("batch_messages", "Messages in a micro-batch", _MESSAGES)
        self._batch_tokens = self._histogram("batch_tokens", "Tokens in a micro-batch with padding", _TOKENS)
        self._padding = self._histogram(
            "batch_padding_ratio", "Share of a micro-batch's tokens that are padding, 0 to 1", _SHARES
        )
        self._stages = self._histogram(
            "stage_duration_seconds",
            "Duration of a step, for one window or one forward pass",
            _DURATIONS,
            "stage",
        )
        self._packs = self._histogram(
            "pack_duration_seconds", "Time that one pack took for one window", _DURATIONS, "pack"
        )
        self._latency = self._histogram(
            "end_to_end_latency_seconds", "From the record's timestamp to its commit", _LATENCIES
        )

    def _gauges(self) -> None:
        self._lag = Gauge(
            f"{_PREFIX}_lag_messages",
            "Messages between the position and the end of a partition",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._model = Info(f"{_PREFIX}_model", "The model that runs", registry=self.registry)
        memory = Gauge(
            f"{_PREFIX}_resident_memory_bytes", "Resident memory of the process", registry=self.registry
        )
        memory.set_function(resident_memory_bytes)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, buckets=buckets, registry=self.registry)

    def committed(self, results: Iterable[Committed]) -> list[float]:
        """Count messages that are committed: their outcomes, labels, languages, tokens and ages.

        Returns:
            The age of each message that has a timestamp: the time since then, in seconds.
        """
        counts: _Counts = collections.Counter()
        languages: collections.Counter[str | None] = collections.Counter()
        ages, now = [], self._clock()
        for result in results:
            answer = result.answer
            counts[self._messages, _OUTCOMES[type(answer)]] += 1
            if isinstance(answer, Prediction):
                languages[result.language] += 1
                self._labelled(answer, counts)
            elif isinstance(answer, Failure):
                counts[self._dead_letters, answer.stage, answer.reason] += 1
            if result.record.timestamp_ms >= 0:
                # A producer's clock may be ahead of ours, but a negative age makes no sense.
                ages.append(max(0.0, now - result.record.timestamp_ms / 1000))
        for tag, count in languages.items():
            counts[self._languages, _language(tag)] += count
        # One call for each label and window: with one for each message, they would cost more than the rest.
        for (metric, *values), count in counts.items():
            (metric.labels(*values) if values else metric).inc(count)
        for age in ages:
            self._latency.observe(age)
        return ages

    def _labelled(self, prediction: Prediction, counts: _Counts) -> None:
        counts[self._text_tokens,] += prediction.token_count
        for task, result in prediction.heads.items():
            counts[self._labels, task, result.label] += 1
        for task, spans in prediction.spans.items():
            counts[self._spans, task, _span_outcome(spans)] += 1

    def stage(self, name: str, seconds: float) -> None:
        """Record the duration of one step of one window; `name` is one of `STAGES`."""
        self._stages.labels(name).observe(seconds)

    def micro_batch(self, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        """Record the size of one forward pass (`padded_tokens` includes padding) and its duration."""
        self._batch_messages.observe(rows)
        self._batch_tokens.observe(padded_tokens)
        self._padding.observe(1 - tokens / padded_tokens if padded_tokens else 0.0)
        self.stage("infer", seconds)

    def pack(self, name: str, seconds: float) -> None:
        """Record how long one pack took for one window, all its forward passes together."""
        self._packs.labels(name).observe(seconds)

    def source(self, lag: Mapping[TopicPartition, int], rebalances: int) -> None:
        """Record the lag of each assigned partition, and the number of rebalances since the last call.

        A partition that is not in `lag` is no longer assigned, and its lag is no longer shown.
        """
        for gone in self._lag_of - lag.keys():
            self._lag.remove(gone.topic, str(gone.partition))
        for partition, messages in lag.items():
            self._lag.labels(partition.topic, str(partition.partition)).set(messages)
        self._lag_of = set(lag)
        self._rebalances.inc(rebalances)

    def transaction(self, outcome: str) -> None:
        """Count a checkpoint by how it ended, also with `at_least_once`, which has no Kafka transaction."""
        self._transactions.labels(outcome).inc()

    def refused(self, topic: str, outcome: str) -> None:
        """Count a message of the input `topic` whose output Kafka refused.

        `outcome` is `written` (in another form), `dead_letter`, `skipped` or `stopped`.
        """
        self._refused.labels(topic, outcome).inc()

    def corrupt_batch(self, topic: str) -> None:
        """Count a place in the log that could not be read and was skipped."""
        self._corrupt.labels(topic).inc()

    def dropped(self, messages: int) -> None:
        """Count messages that are read again because the group rebalanced before they were committed."""
        self._dropped.inc(messages)

    def offset_reset(self, topic: str, reason: str, messages: int) -> None:
        """Count a partition that is read from an offset other than the one due, and the messages lost by it.

        `reason` is `new_partition`, `retention` or `truncated`; only with `retention` are messages lost.
        """
        self._resets.labels(topic, reason).inc()
        if reason == "retention":
            self._removed.labels(topic).inc(messages)

    def model(self, name: str, revision: str, heads: Iterable[Head] = ()) -> None:
        """Set the model that runs from now on, and begin to count the labels of its heads at zero."""
        self._model.info({"name": name, "revision": revision})
        for head in heads:
            if head.by_token:
                for outcome in _SPAN_OUTCOMES:
                    self._spans.labels(head.name, outcome)
            elif len(head.labels) <= _MOST_AT_ZERO:
                for label in head.labels:
                    self._labels.labels(head.name, label)


def _span_outcome(spans: SpanResult) -> str:
    closed, nothing, marked = _SPAN_OUTCOMES
    if not spans.read:
        return closed
    return marked if spans.ranges else nothing


def _language(tag: str | None) -> str:
    if not tag:
        return UNKNOWN_LANGUAGE
    return two_letters(tag) or OTHER_LANGUAGE
