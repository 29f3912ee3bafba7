"""The demo's books: a lost, a doubled, a foreign and a wrong answer are each seen, and named."""

import pytest

from worker.demo.feeder import Sent
from worker.demo.ledger import Ledger
from worker.demo.reader import Answer, DeadLetter, Labelled, PassedThrough
from worker.demo.samples import Sample
from worker.types import TopicPartition

PART = TopicPartition("posts", 0)


def _sent(offset: int, expected: str = "labelled") -> Sent:
    value = None if expected == "tombstone" else b"hello"
    sample = Sample(f"s{offset:03d}", b"key", value, (), expected)
    return Sent(sample, PART, offset, 1_000 + offset)


def _labelled(offset: int, sentiment: str = "positive", latency_s: float = 0.02) -> Labelled:
    return Labelled(PART, offset, "hi", sentiment, 0.9, "joy", (("joy", 0.8),), "compact@0", latency_s)


def _dead(offset: int, reason: str = "not_json") -> DeadLetter:
    return DeadLetter(PART, offset, reason, "the value is not JSON", b"{", 0.01)


def _passed(offset: int) -> PassedThrough:
    return PassedThrough(b"key", 1_000 + offset, 0.01)


def _ledger(sent: list[Sent], answers: list[Answer]) -> Ledger:
    ledger = Ledger()
    for entry in sent:
        ledger.sent(entry)
    for answer in answers:
        ledger.answered(answer)
    return ledger


def test_a_clean_run_has_no_faults() -> None:
    sent = [_sent(0), _sent(1, "dead_letter:not_json"), _sent(2, "tombstone")]
    ledger = _ledger(sent, [_labelled(0), _dead(1), _passed(2)])
    assert ledger.complete()
    assert ledger.faults() == []
    assert "3 in = 1 labelled + 1 passed through + 1 dead letters" in ledger.summary()
    assert "nothing lost, nothing doubled" in ledger.summary()


@pytest.mark.parametrize(
    ("sent", "answers", "fault"),
    [
        ([_sent(0), _sent(1)], [_labelled(0)], "1 lost: s001"),
        ([_sent(0)], [_labelled(0), _labelled(0)], "1 doubled: s000"),
        ([_sent(0, "tombstone")], [_passed(0), _passed(0)], "1 doubled: s000"),
        ([_sent(0)], [_labelled(0), _labelled(9)], "1 answers to nothing that was sent: labelled"),
        (
            [_sent(0, "dead_letter:not_json")],
            [_dead(0, "text_empty")],
            "s000 is dead_letter:text_empty and should be dead_letter:not_json",
        ),
        ([_sent(0)], [_dead(0)], "s000 is dead_letter:not_json and should be labelled"),
        ([_sent(0, "dead_letter:not_json")], [_labelled(0)], "s000 is labelled and should be dead_letter"),
    ],
)
def test_every_fault_is_seen(sent: list[Sent], answers: list[Answer], fault: str) -> None:
    ledger = _ledger(sent, answers)
    assert any(fault in line for line in ledger.faults()), ledger.faults()
    assert "NOT as it should be" in ledger.summary()
    assert "nothing lost" not in ledger.summary()


def test_an_answer_may_come_before_the_acknowledgement() -> None:
    ledger = Ledger()
    ledger.answered(_labelled(0))
    ledger.answered(_passed(1))
    assert not ledger.complete()
    ledger.sent(_sent(0))
    ledger.sent(_sent(1, "tombstone"))
    assert ledger.complete()
    assert ledger.faults() == []


def test_equal_sums_do_not_hide_a_lost_and_a_doubled_message() -> None:
    ledger = _ledger([_sent(0), _sent(1)], [_labelled(0), _labelled(0)])
    assert ledger.answers == ledger.inputs
    assert not ledger.complete()
    assert len(ledger.faults()) == 2


def test_percentiles_are_nearest_rank() -> None:
    ledger = _ledger([_sent(n) for n in range(20)], [_labelled(n, latency_s=n + 1) for n in range(20)])
    latency = ledger.latency()
    assert latency is not None
    assert (latency.p50, latency.p95) == (10, 19)
    assert Ledger().latency() is None


def test_the_rate_forgets_what_is_older_than_ten_seconds() -> None:
    now = [100.0]
    ledger = Ledger(clock=lambda: now[0])
    for offset in range(10):
        ledger.sent(_sent(offset))
        ledger.answered(_labelled(offset))
    now[0] = 102.0
    assert ledger.rate() == pytest.approx(5.0)
    now[0] = 109.0
    assert ledger.rate() == pytest.approx(10 / 9)
    now[0] = 120.0
    assert ledger.rate() == 0.0
