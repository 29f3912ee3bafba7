"""Measuring a scorer with known scores: every figure equals the value computed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from worker.heads import MULTI, SINGLE, TOKENS, Gate, Head
from worker.lab.evaluate.examples import Examples
from worker.lab.evaluate.measure import measure
from worker.lab.evaluate.result import shown, table
from worker.lab.evaluate.score import TokenScores, asked, asked_by
from worker.lab.evaluate.spans import marked_ranges
from worker.lab.evaluate.tuning import tune_head

MOOD = Head("mood", SINGLE, ("bad", "so-so", "good"))
TOPICS = Head("topics", MULTI, ("war", "peace", "food"), (0.5, 0.5, 0.5), groups={"world": ("war", "peace")})
RUDE = Head("rude", SINGLE, ("no", "yes"))
WORDS = Head("words", TOKENS, ("rude",), (0.5,), layers=(1,), gate=Gate("rude", "yes", 0.3))


@dataclass
class Fixed:
    """A model with fixed answers."""

    scores: Mapping[str, Any]
    given_tokens: list[TokenScores] = field(default_factory=list)
    title: str = "fixed"
    words: Head = WORDS

    @property
    def heads(self) -> Mapping[str, Head]:
        return {head.name: head for head in (MOOD, TOPICS, RUDE, self.words)}

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
        return np.array(self.scores[head], dtype=float)

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        return self.given_tokens

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[tuple[int, int], ...]]:
        may = asked(self, texts, max_tokens, head)
        return [
            marked_ranges(text, each.ranges, each.scores, 0.5) if ask else ()
            for text, each, ask in zip(texts, self.given_tokens, may, strict=True)
        ]


def test_one_label_a_row() -> None:
    model = Fixed({"mood": [[0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4]]})
    examples = Examples("set", "Set", "mood", list("abcd"), MOOD.labels, classes=np.array([0, 2, 2, 2]))
    result = measure(model, examples)
    assert result.figures["accuracy"].value == pytest.approx(3 / 4)
    assert result.figures["macro_recall"].value == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert result.confusion == [[1, 0, 0], [0, 0, 0], [0, 1, 2]]
    assert result.labels["good"].rows == 3
    assert result.labels["good"].precision == 1
    assert result.labels["good"].recall == pytest.approx(2 / 3)
    assert result.figures["ece"].value == pytest.approx((0.2 + 0.5 + 0.7 + 0.6) / 4)
    assert result.figures["nll"].value == pytest.approx(-np.log([0.8, 0.5, 0.2, 0.4]).mean())
    assert "auroc" not in result.figures


def test_a_set_that_knows_two_of_three_labels_is_judged_between_them() -> None:
    model = Fixed({"mood": [[0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.5, 0.4]]})
    examples = Examples("set", "Set", "mood", list("abc"), ("bad", "good"), classes=np.array([0, 0, 1]))
    result = measure(model, examples)
    # 2/3 against 1/3, even, 1/5 against 4/5
    assert result.figures["accuracy"].value == 1
    assert result.figures["nll"].value == pytest.approx(-np.log([2 / 3, 1 / 2, 4 / 5]).mean())
    assert result.figures["auroc"].value == 1


def test_many_labels_by_the_models_thresholds_and_their_groups() -> None:
    model = Fixed({"topics": [[0.9, 0.1, 0.1], [0.4, 0.6, 0.1], [0.1, 0.2, 0.4]]})
    gold = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], dtype=bool)
    result = measure(model, Examples("set", "Set", "topics", list("abc"), TOPICS.labels, table=gold))
    assert result.decisions == "own thresholds"
    assert result.figures["accuracy"].value == pytest.approx(1 / 3)
    assert result.figures["micro_f1"].value == pytest.approx(2 * 1 / (3 + 2))
    # war is right once of two, peace is given in vain, food is missed; the group of both is right twice
    assert result.labels["war"].f1.value == pytest.approx(2 / 3)
    assert result.groups["world"].value == 1
    assert result.figures["group_macro_f1"].value == 1
    assert not result.confusion


def test_tuned_sets_are_judged_by_cross_fitted_thresholds_unless_asked() -> None:
    rng = np.random.default_rng(1)
    gold = rng.random((60, 3)) < 0.4
    model = Fixed({"topics": np.where(gold, 0.3, 0.1)})
    examples = Examples("set", "Set", "topics", ["x"] * 60, TOPICS.labels, table=gold, tuned=True)
    assert measure(model, examples).figures["macro_f1"].value == 1
    assert measure(model, examples, "own").figures["macro_f1"].value == 0


def test_an_adjusted_head_is_measured_by_what_it_says_and_by_its_probabilities() -> None:
    asking = replace(RUDE, logit_adjustment=(0.0, -0.5))

    class Adjusted(Fixed):
        @property
        def heads(self) -> Mapping[str, Head]:
            return {**super().heads, "rude": asking}

    scores = [[0.55, 0.45], [0.7, 0.3], [0.3, 0.7]]  # 0.45 is called rude, 0.3 is not
    examples = Examples("set", "Set", "rude", list("abc"), RUDE.labels, classes=np.array([1, 1, 1]))
    plain, result = (measure(model({"rude": scores}), examples) for model in (Fixed, Adjusted))
    assert plain.figures["accuracy"].value == pytest.approx(1 / 3)
    assert result.figures["accuracy"].value == pytest.approx(2 / 3)
    assert (plain.decisions, result.decisions) == ("largest score", "adjusted logits")
    assert result.figures["brier"].value == plain.figures["brier"].value
    flagged = asked_by(Gate("rude", "yes", 0.2), asking, np.array(scores))
    assert flagged.tolist() == [True, False, True]


def test_spans_in_flagged_posts_through_the_gate_and_everywhere() -> None:
    texts = ["you fool", "you fool", "you fool", "good day"]
    model = Fixed(
        {"rude": [[0.1, 0.9], [0.6, 0.4], [0.8, 0.2], [0.9, 0.1]]},  # flagged, through the gate, neither
        [TokenScores(np.array([0.0, 0.1, 0.9, 0.0]), [(0, 0), (0, 3), (4, 8), (0, 0)])] * 3
        + [TokenScores(np.array([0.0, 0.1, 0.2, 0.0]), [(0, 0), (0, 4), (5, 8), (0, 0)])],
    )
    marked = [*[frozenset(range(4, 8))] * 3, frozenset[int]()]
    result = measure(model, Examples("set", "Set", "words", texts, WORDS.labels, marked=marked))
    assert result.figures["span_f1"].value == pytest.approx(2 / 4)
    assert result.figures["span_f1_gate"].value == pytest.approx(3 / 4)
    assert result.figures["span_f1_no_gate"].value == 1
    assert result.figures["flagged"].value == pytest.approx(1 / 4)
    assert result.figures["gate_open"].value == pytest.approx(2 / 4)


def test_a_gate_asks_by_its_score_and_flags_by_its_heads_decision() -> None:
    two = np.array([[0.55, 0.45], [0.45, 0.55], [0.5, 0.5]])
    assert asked_by(Gate("rude", "yes", 0.3), RUDE, two, "gate").tolist() == [True, True, True]
    assert asked_by(Gate("rude", "yes", 0.3), RUDE, two).tolist() == [False, True, False]
    # A gate above the decision stays what it is: the head has no answer below it.
    assert asked_by(Gate("rude", "yes", 0.6), RUDE, two).tolist() == [False, False, False]
    # Any number of labels: the label passes its own threshold.
    many = replace(TOPICS, thresholds=(0.5, 0.2, 0.5))
    scores = np.array([[0.9, 0.1, 0.0], [0.9, 0.2, 0.0], [0.0, 0.3, 0.9]])
    assert asked_by(Gate("topics", "peace", 0.05), many, scores).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("scores", "ranges", "expected"),
    [
        ([0.9, 0.9], [(0, 3), (4, 8)], [(0, 8)]),  # white space between two marked tokens is marked too
        ([0.9, 0.1], [(0, 3), (4, 8)], [(0, 3)]),
        ([0.9, 0.0, 0.9], [(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3)]),
        ([0.9, 0.9], [(0, 0), (0, 3)], [(0, 3)]),  # a mark has no characters
        ([0.5], [(0, 3)], [(0, 3)]),
    ],
)
def test_neighbouring_tokens_become_one_range(
    scores: list[float], ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert marked_ranges("you fool", ranges, np.array(scores), 0.5) == tuple(expected)


def test_a_head_of_another_kind_or_with_other_labels_is_refused() -> None:
    model = Fixed({"mood": [[1, 0, 0]]})
    other = Examples("set", "Set", "mood", ["a"], ("angry", "good"), classes=np.array([0]))
    with pytest.raises(ValueError, match="no label 'angry'"):
        measure(model, other)
    kind = Examples("set", "Set", "mood", ["a"], MOOD.labels, table=np.zeros((1, 3), dtype=bool))
    with pytest.raises(ValueError, match="which is single_label"):
        measure(model, kind)


def test_tuning_finds_temperature_and_thresholds() -> None:
    rng = np.random.default_rng(3)
    gold = rng.random((1_000, 3)) < 0.5
    honest = np.where(gold, 0.7, 0.3)
    flipped = rng.random(gold.shape) < 0.3
    honest[flipped] = 1 - honest[flipped]
    loud = 1 / (1 + np.exp(-4 * np.log(honest / (1 - honest))))
    examples = Examples("set", "Set", "topics", ["x"] * 1_000, TOPICS.labels, table=gold, tuned=True)
    fitted = tune_head(Fixed({"topics": loud}), examples)
    assert fitted["temperature"] == pytest.approx(4, rel=0.2)
    assert all(0.3 < value <= 0.7 for value in fitted["thresholds"])  # after the temperature


def test_the_span_threshold_is_chosen_on_the_posts_that_are_flagged() -> None:
    texts = ["you fool"] * 3
    tokens = [TokenScores(np.array([0.25, score]), [(0, 3), (4, 8)]) for score in (0.4, 0.45, 0.45)]
    marked = [frozenset(range(4, 8)), frozenset[int](), frozenset[int]()]
    spans = Examples("set", "Set", "words", texts, WORDS.labels, marked=marked)
    model = Fixed({"rude": [[0.4, 0.6], [0.6, 0.4], [0.6, 0.4]]}, tokens)
    assert 0.25 < tune_head(model, spans)["threshold"] <= 0.4
    # Where the other two are asked as well, marking nothing is best.
    model = Fixed({"rude": [[0.4, 0.6]] * 3}, tokens)
    assert tune_head(model, spans)["threshold"] > 0.45


def test_the_span_threshold_follows_what_is_fitted_for_the_head_of_its_gate() -> None:
    texts = ["you fool"] * 3
    tokens = [TokenScores(np.array([0.25, score]), [(0, 3), (4, 8)]) for score in (0.4, 0.45, 0.45)]
    marked = [frozenset(range(4, 8)), frozenset[int](), frozenset[int]()]
    spans = Examples("set", "Set", "words", texts, WORDS.labels, marked=marked)
    # At a temperature of 0.2 a score of 0.55 becomes 0.73, and the gate opens for the first alone.
    model = Fixed({"rude": [[0.45, 0.55], [0.5, 0.5], [0.5, 0.5]]}, tokens)
    model.words = replace(WORDS, gate=Gate("rude", "yes", 0.6))
    assert tune_head(model, spans, {"rude": {"temperature": 0.2}})["threshold"] <= 0.4
    model.words = replace(WORDS, gate=Gate("rude", "yes", 0.9))
    assert tune_head(model, spans, {"rude": {"temperature": 0.2}})["threshold"] > 0.45


def test_the_table_stands_side_by_side() -> None:
    model = Fixed({"mood": [[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]]})
    examples = Examples("set", "Set", "mood", list("ab"), MOOD.labels, classes=np.array([0, 0]))
    result = measure(model, examples)
    other = measure(Fixed({"mood": [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1]]}), examples)
    lines = table([("one", [result]), ("two", [other])]).splitlines()
    assert lines[0].split() == ["one", "two", "difference"]
    assert lines[1] == "Set, 2 rows"
    assert " ".join(lines[2].split()) == (
        "accuracy 50.0 (0.0 to 100.0) 100.0 (100.0 to 100.0) +50.0 (+0.0 to +100.0)"
    )
    missing = table([("one", [result]), ("two", [])]).splitlines()
    assert missing[2].split()[-2:] == ["-", "-"]
    assert shown("nll", result.figures["nll"]).startswith("1.263 (")
