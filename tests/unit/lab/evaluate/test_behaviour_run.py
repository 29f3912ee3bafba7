"""Which cases pass and which fail, with a fake classifier."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from worker.heads import MULTI, SINGLE, TOKENS, Head
from worker.lab.evaluate.behaviour import Report, run
from worker.lab.evaluate.cases import Case, Family

SENTIMENT = Head("sentiment", SINGLE, ("negative", "positive"))
EMOTION = Head("emotion", MULTI, ("joy", "anger"))
SPANS = Head("toxic_spans", TOKENS, ("toxic",))
HEADS = (SENTIMENT, EMOTION, SPANS)


def fields(
    positive: float, labels: Sequence[str] = (), spans: Sequence[list[int]] = (), joy: float = 0.0
) -> dict[str, Any]:
    return {
        "sentiment_label": "positive" if positive >= 0.5 else "negative",
        "sentiment_score": max(positive, 1 - positive),
        "sentiment_positive": positive,
        "sentiment_negative": 1 - positive,
        "emotion_label": "joy",
        "emotion_labels": list(labels),
        "emotion_joy": joy,
        "emotion_anger": 0.0,
        "toxic_spans": list(spans),
    }


def family(check: Any, *cases: Case, head: str | None = "sentiment", **more: Any) -> Family:
    return Family("f", "about", check, more.pop("rate", 1.0), head, cases, **more)


def misses(tested: Family, answers: Mapping[str, dict[str, Any]]) -> list[str]:
    (result,) = run([tested], lambda texts: [answers[text] for text in texts], HEADS)
    assert result.rate == 1 - len(result.misses) / len(tested.cases)
    return [miss.said for miss in result.misses]


def test_label_takes_any_of_those_wanted() -> None:
    tested = family("label", Case(("a",), ("positive",)), Case(("b",), ("negative", "positive")))
    assert misses(tested, {"a": fields(0.4), "b": fields(0.4)}) == ["negative 0.60"]


def test_holds_looks_at_the_labels_that_pass() -> None:
    tested = family("holds", Case(("a",), ("joy",)), Case(("b",), ("joy",)), head="emotion")
    assert misses(tested, {"a": fields(0.5, ["anger", "joy"]), "b": fields(0.5, [])}) == ["no label"]


def test_a_pair_holds_only_whole() -> None:
    tested = family("pair", Case(("a", "b"), ("negative", "positive")))
    assert misses(tested, {"a": fields(0.1), "b": fields(0.9)}) == []
    assert misses(tested, {"a": fields(0.9), "b": fields(0.9)}) == ["positive | positive"]


@pytest.mark.parametrize(
    ("scores", "holds"),
    [
        ((0.2, 0.5, 0.9), True),
        ((0.98, 0.975, 0.99), True),  # a step back within the slack, and up in the end
        ((0.98, 0.985, 0.98), False),  # no higher at the end
        ((0.2, 0.9, 0.5), False),
        ((0.9, 0.5, 0.2), False),
    ],
)
def test_order_rises_from_first_to_last(scores: Sequence[float], holds: bool) -> None:
    texts = ("a", "b", "c")
    tested = family("order", Case(texts), up="positive", down="negative")
    answers = {text: fields(score) for text, score in zip(texts, scores, strict=True)}
    assert (misses(tested, answers) == []) is holds


def test_swap_looks_at_all_heads_and_names_the_score_that_moves_most() -> None:
    tested = family("swap", Case(("a", "b")), head=None, within=0.05)
    still = {"a": fields(0.50, joy=0.10), "b": fields(0.53, joy=0.14)}
    assert misses(tested, still) == []
    (said,) = misses(tested, {"a": fields(0.50, joy=0.10), "b": fields(0.53, joy=0.20)})
    assert said == "emotion_joy moves by 0.100 on average"


def test_a_family_of_swaps_also_fails_by_its_average() -> None:
    """Even if single sentences may fail by the rate, the mean over all of them must stay within the limit."""
    tested = family("swap", Case(("a", "b")), Case(("c", "d")), head=None, within=0.05, rate=0.5)
    answers = {"a": fields(0.5), "b": fields(0.5), "c": fields(0.1), "d": fields(0.4)}
    (result,) = run([tested], lambda texts: [answers[text] for text in texts], HEADS)
    assert result.rate == 0.5
    assert result.moved is not None
    assert result.moved.by == pytest.approx(0.15)
    assert not result.holds


def test_same_compares_labels_or_all_scores() -> None:
    answers = {"a": fields(0.6), "b": fields(0.9), "c": fields(0.4)}
    assert misses(family("same", Case(("a", "b"))), answers) == []
    assert misses(family("same", Case(("a", "c"))), answers) == ["positive | negative"]
    assert misses(family("same", Case(("a", "b")), head=None, within=0.4), answers) == []
    (said,) = misses(family("same", Case(("a", "b")), head=None, within=0.02), answers)
    assert said.endswith("moves by 0.300")
    # A family of one head asks of that head alone.
    joyful = {"a": fields(0.6), "b": fields(0.6, joy=0.4)}
    assert misses(family("same", Case(("a", "b")), within=0.02), joyful) == []
    (said,) = misses(family("same", Case(("a", "b")), head="emotion", within=0.02), joyful)
    assert said == "emotion_joy moves by 0.400"


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        ([[11, 16]], True),
        ([[8, 16]], True),  # "an " beside it: most of what is marked is right
        ([[11, 14]], True),
        ([[0, 16]], False),
        ([[11, 12]], False),
        ([], False),
    ],
)
def test_spans_hit_the_word_and_little_else(found: list[list[int]], holds: bool) -> None:
    tested = family("spans", Case(("You are an idiot.",), spans=((11, 16),)), head="toxic_spans")
    assert (misses(tested, {"You are an idiot.": fields(0.1, spans=found)}) == []) is holds


def test_no_insult_means_no_span() -> None:
    tested = family("spans", Case(("Hello there",)), head="toxic_spans")
    assert misses(tested, {"Hello there": fields(0.9)}) == []
    assert misses(tested, {"Hello there": fields(0.9, spans=[[0, 5]])}) == ["'Hello'"]


def test_a_text_that_got_no_labels_misses() -> None:
    tested = family("label", Case(("a",), ("positive",)))
    assert misses(tested, {"a": {"failure": "the model could not label this text"}}) == [
        "the model could not label this text"
    ]


def test_a_text_that_got_no_labels_moves_no_score() -> None:
    failed = {"failure": "the model could not label this text"}
    tested = family("swap", Case(("a", "b")), Case(("c", "d")), head=None, within=0.05, rate=0.5)
    answers = {"a": fields(0.50), "b": fields(0.52), "c": fields(0.1), "d": failed}
    (result,) = run([tested], lambda texts: [answers[text] for text in texts], HEADS)
    assert [miss.said for miss in result.misses] == [failed["failure"]]
    assert result.moved is not None
    assert result.moved.by == pytest.approx(0.02)
    nothing = dict.fromkeys("abcd", failed)
    (result,) = run([tested], lambda texts: [nothing[text] for text in texts], HEADS)
    assert (result.rate, result.moved, result.holds) == (0, None, False)


def test_families_that_the_pack_cannot_answer_are_skipped_with_the_reason() -> None:
    neutral = family("label", Case(("a",), ("neutral",)))
    toxicity = family("label", Case(("a",), ("toxic",)), head="toxicity")
    results = run([neutral, toxicity], lambda texts: [fields(0.5) for _ in texts], HEADS)
    assert [result.skipped for result in results] == [
        "the head `sentiment` has no label `neutral`",
        "the pack has no head `toxicity`",
    ]
    assert all(result.holds for result in results)


def test_a_report_shows_what_falls_short_in_json_and_markdown() -> None:
    tested = family("label", Case(("a",), ("positive",)), Case(("b",), ("positive",)), rate=0.9)
    answers = {"a": fields(0.9), "b": fields(0.2)}
    report = Report("tiny@0", run([tested], lambda texts: [answers[text] for text in texts], HEADS))
    entry = json.loads(json.dumps(report.as_dict()))["families"]["f"]
    assert (entry["rate"], entry["required"], entry["holds"]) == (0.5, 0.9, False)
    assert entry["misses"] == [{"text": "b", "said": "negative 0.80"}]
    assert "| f | about | 2 | 90% | **50%** |" in report.as_markdown()
