"""The ledger of a demo run: what was sent, what was answered, and whether the two agree."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from worker.demo.feeder import Sent
from worker.demo.reader import Answer, DeadLetter, Labelled, PassedThrough
from worker.demo.samples import LABELLED, TOMBSTONE
from worker.types import TopicPartition

_RECENT_S = 10.0
_LATENCIES_KEPT = 5_000
_FAULTS_SHOWN = 5

Position = tuple[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in seconds, from the input record's timestamp until its answer was read."""

    p50: float
    p95: float


class Ledger:
    """Matches the answers of a run with its inputs, each known by its topic, partition and offset.

    A tombstone's answer does not name its input; its key and timestamp do, since both are kept. Use on one
    thread.

    Args:
        clock: seconds, for the rate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: dict[Position, str] = {}
        self._expected: dict[Position, str] = {}
        self._tombstones: dict[tuple[bytes, int], Position] = {}
        self._answered: Counter[Position] = Counter()
        self._early: list[Answer] = []
        self._wrong: list[str] = []
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._recent: deque[float] = deque()
        self._first_sent = self._last_answer = 0.0
        self.labelled = self.passed_through = self.dead_letters = self.toxic = 0
        self.sentiments: Counter[str] = Counter()
        self.emotions: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    @property
    def inputs(self) -> int:
        """Messages that the broker has acknowledged."""
        return len(self._sent)

    @property
    def answers(self) -> int:
        """Answers of every kind, duplicates counted."""
        return self.labelled + self.passed_through + self.dead_letters

    def complete(self) -> bool:
        """Whether every input has an answer."""
        return not self._early and len(self._answered) == len(self._sent)

    def sent(self, sent: Sent) -> None:
        """Enter an acknowledged message."""
        if not self._sent:
            self._first_sent = self._clock()
        position = (sent.source, sent.offset)
        self._sent[position] = sent.sample.id
        self._expected[position] = sent.sample.expected
        if sent.sample.value is None:
            self._tombstones[sent.sample.key, sent.timestamp_ms] = position
        early, self._early = self._early, []
        for answer in early:
            self._match(answer)

    def answered(self, answer: Answer) -> None:
        """Enter an answer. It may arrive before its message is acknowledged."""
        now = self._clock()
        self._last_answer = now
        self._recent.append(now)
        self._latencies.append(answer.latency_s)
        match answer:
            case Labelled():
                self.labelled += 1
                self.sentiments[answer.sentiment] += 1
                self.emotions[answer.emotion] += 1
                self.toxic += answer.toxic is not None
            case DeadLetter():
                self.dead_letters += 1
                self.reasons[answer.reason] += 1
            case PassedThrough():
                self.passed_through += 1
        self._match(answer)

    def rate(self) -> float:
        """Answers a second over the last ten seconds, or since the first message when that is shorter."""
        now = self._clock()
        while self._recent and self._recent[0] < now - _RECENT_S:
            self._recent.popleft()
        span = min(_RECENT_S, now - self._first_sent)
        return len(self._recent) / span if span > 0 else 0.0

    def latency(self) -> Percentiles | None:
        """Percentiles by nearest rank of the last latencies; None before the first answer."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return Percentiles(_nearest_rank(ordered, 0.50), _nearest_rank(ordered, 0.95))

    def faults(self) -> list[str]:
        """What is wrong, a line each; empty when every input has exactly one answer, the expected one."""
        lost = [self._sent[position] for position in self._sent if position not in self._answered]
        doubled = [self._sent[position] for position, count in self._answered.items() if count > 1]
        faults = []
        if lost:
            faults.append(f"{len(lost)} lost: {_some(lost)}")
        if doubled:
            faults.append(f"{len(doubled)} doubled: {_some(doubled)}")
        if self._early:
            faults.append(
                f"{len(self._early)} answers to nothing that was sent: {_some(map(_name, self._early))}"
            )
        if self._wrong:
            faults.append(f"{len(self._wrong)} answered otherwise than expected: {_some(self._wrong)}")
        return faults

    def summary(self) -> str:
        """The last line of a run."""
        answers = f"{self.labelled} labelled + {self.passed_through} passed through"
        parts = [f"{self.inputs} in = {answers} + {self.dead_letters} dead letters"]
        parts.append("nothing lost, nothing doubled" if not self.faults() else "NOT as it should be")
        span = self._last_answer - self._first_sent
        if span > 0:
            parts.append(f"{self.answers / span:.1f} messages/s")
        latency = self.latency()
        if latency is not None:
            parts.append(f"latency p50 {milliseconds(latency.p50)}, p95 {milliseconds(latency.p95)}")
        parts += [_shares(self.sentiments, 3), _shares(self.emotions, 3)]
        return " · ".join(part for part in parts if part)

    def _match(self, answer: Answer) -> None:
        if isinstance(answer, PassedThrough):
            position = self._tombstones.get((answer.key, answer.timestamp_ms))
        else:
            position = (answer.source, answer.offset)
        if position is None or position not in self._sent:
            self._early.append(answer)
            return
        self._answered[position] += 1
        expected = self._expected[position]
        if _name(answer) != expected:
            self._wrong.append(f"{self._sent[position]} is {_name(answer)} and should be {expected}")


def milliseconds(seconds: float) -> str:
    """A latency as people read it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def share(count: int, total: int) -> float:
    """The part of `total` that `count` is, 0 to 1; 0 when `total` is 0."""
    return count / total if total else 0.0


def _name(answer: Answer) -> str:
    match answer:
        case Labelled():
            return LABELLED
        case PassedThrough():
            return TOMBSTONE
        case DeadLetter():
            return f"dead_letter:{answer.reason}"


def _nearest_rank(ordered: Sequence[float], quantile: float) -> float:
    return ordered[max(0, math.ceil(len(ordered) * quantile) - 1)]


def _some(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:_FAULTS_SHOWN]) + (" …" if len(found) > _FAULTS_SHOWN else "")


def _shares(counts: Counter[str], top: int) -> str:
    total = counts.total()
    return ", ".join(f"{name} {share(count, total):.0%}" for name, count in counts.most_common(top))
