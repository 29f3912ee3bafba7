"""Logits to scores and labels."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worker.errors import InferenceError
from worker.heads import MULTI as MULTI_LABEL
from worker.heads import SINGLE as SINGLE_LABEL
from worker.heads import Head
from worker.model.heads import called, probabilities, text_results

SINGLE = Head("sentiment", SINGLE_LABEL, ("bad", "so-so", "good"))
MULTI = Head("emotion", MULTI_LABEL, ("joy", "anger", "love"), (0.5, 0.5, 0.2))


def logits(*rows: list[float]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.array(rows, np.float32)


def test_a_single_label_head_gives_shares() -> None:
    (result,) = text_results(SINGLE, logits([0.0, np.log(2), np.log(5)]))
    assert result.label == "good"
    assert result.score == pytest.approx(0.625)
    assert result.scores == pytest.approx({"bad": 0.125, "so-so": 0.25, "good": 0.625})
    assert result.labels is None


def test_a_multi_label_head_gives_what_passes_its_own_threshold_strongest_first() -> None:
    (result,) = text_results(MULTI, logits([0.1, -0.1, 3.0]))
    assert result.labels == ("love", "joy")
    (quiet,) = text_results(MULTI, logits([-2.0, -3.0, -1.0]))
    assert quiet.labels == ("love",)
    (silent,) = text_results(MULTI, logits([-2.0, -3.0, -4.0]))
    assert (silent.label, silent.labels) == ("joy", ())


def test_a_score_at_the_threshold_passes() -> None:
    (result,) = text_results(MULTI, logits([0.0, 0.0, -9.0]))
    assert result.labels == ("joy", "anger")


@pytest.mark.parametrize("head", [SINGLE, MULTI])
@given(values=arrays(np.float32, (3, 3), elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_scores_of_any_finite_logits_are_probabilities(
    head: Head, values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"
) -> None:
    for result in text_results(head, values):
        assert all(0 <= score <= 1 for score in result.scores.values())
        assert result.score == max(result.scores.values()) == result.scores[result.label]


@pytest.mark.parametrize("head", [SINGLE, MULTI])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_no_number_is_an_error_not_a_label(head: Head, value: float) -> None:
    with pytest.raises(InferenceError, match=head.name):
        text_results(head, logits([0.0, 1.0, 2.0], [0.0, value, 2.0]))


def test_another_number_of_labels_is_an_error() -> None:
    with pytest.raises(InferenceError, match="3 labels"):
        text_results(SINGLE, logits([0.0, 1.0]))


def test_a_temperature_cools_what_a_head_says_and_changes_no_ranking() -> None:
    warm = Head("sentiment", SINGLE_LABEL, ("bad", "so-so", "good"), temperature=2.0)
    (result,) = text_results(warm, logits([0.0, np.log(4), np.log(9)]))
    assert result.scores == pytest.approx({"bad": 1 / 6, "so-so": 2 / 6, "good": 3 / 6})
    many = Head("emotion", MULTI_LABEL, ("joy", "anger"), (0.7, 0.7), temperature=0.5)
    (result,) = text_results(many, logits([np.log(2), 0.0]))
    assert result.scores == pytest.approx({"joy": 0.8, "anger": 0.5})
    assert result.labels == ("joy",)


def test_a_group_scores_what_the_strongest_of_its_labels_does() -> None:
    groups = {"up": ("joy", "love"), "down": ("anger",), "all": ("anger", "joy", "love")}
    head = Head("emotion", MULTI.problem_type, MULTI.labels, MULTI.thresholds, groups=groups)
    (result,) = text_results(head, logits([-1.0, 0.5, 2.0]))
    scores = result.scores
    assert result.groups == {"up": scores["love"], "down": scores["anger"], "all": scores["love"]}
    assert result.group == "up"
    (single,) = text_results(SINGLE, logits([0.0, 0.0, 0.0]))
    assert (single.groups, single.group) == (None, None)


CALM = Head(
    "mood", MULTI_LABEL, ("neutral", "joy", "fear"), (0.4, 0.4, 0.2), logit_adjustment=(2.0, -0.5, 0.0)
)


def test_an_adjustment_ranks_labels_and_changes_no_score_and_no_threshold() -> None:
    plain = replace(CALM, logit_adjustment=())
    (before,), (after,) = (text_results(head, logits([1.0, -0.4, -1.2])) for head in (plain, CALM))
    assert (before.label, before.labels) == ("neutral", ("neutral", "joy", "fear"))
    # 1 - 2, -0.4 + 0.5, -1.2
    assert (after.label, after.labels) == ("joy", ("joy", "neutral", "fear"))
    assert after.scores == before.scores
    assert after.score == before.scores["joy"]
    # The label that leads need not pass its own threshold, as before.
    (quiet,) = text_results(CALM, logits([0.0, -1.0, -2.0]))
    assert (quiet.label, quiet.labels) == ("joy", ("neutral",))
    # Where it clearly leads, the lowered label still wins.
    assert text_results(CALM, logits([4.0, 0.0, -1.0]))[0].label == "neutral"


def test_the_strongest_group_is_that_of_the_strongest_label() -> None:
    head = replace(
        CALM, groups={"calm": ("neutral",), "felt": ("fear", "joy"), "all": ("fear", "neutral", "joy")}
    )
    (result,) = text_results(head, logits([1.0, -0.4, -1.2]))
    assert result.groups is not None
    assert max(result.groups, key=result.groups.__getitem__) == "calm"
    assert result.group == "felt"


def test_the_group_is_the_first_that_has_the_strongest_label() -> None:
    groups = {"b": ("joy",), "a": ("neutral", "fear"), "c": ("joy", "neutral")}
    for adjustment in ((), (0.0, 0.0, 0.0)):
        head = replace(CALM, logit_adjustment=adjustment, groups=groups)
        (tied,) = text_results(head, logits([0.5, 0.5, 0.5]))
        assert (tied.label, tied.group) == ("neutral", "a")


def test_a_label_in_no_group_leaves_the_group_to_the_next() -> None:
    head = replace(CALM, groups={"felt": ("fear", "joy"), "afraid": ("fear",)})
    (result,) = text_results(head, logits([5.0, -4.0, 1.0]))
    assert (result.label, result.group) == ("neutral", "felt")


def test_an_adjustment_counts_after_the_temperature() -> None:
    head = replace(CALM, temperature=4.0)
    assert text_results(head, logits([8.0, 1.0, 0.0]))[0].label == "joy"  # 2 - 2, 0.25 + 0.5
    assert text_results(head, logits([12.0, 1.0, 0.0]))[0].label == "neutral"  # 3 - 2


def test_scores_of_nothing_and_of_certainty_are_ranked_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certain, tied = text_results(CALM, logits([-5000.0, 5000.0, 0.0], [5000.0, 5000.0, 5000.0]))
    assert certain.labels == ("joy", "fear")
    assert tied.labels == CALM.labels  # equal strength: the order of the pack


@given(
    row=st.lists(st.floats(-12, 12, width=32), min_size=3, max_size=3),
    numbers=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    shift=st.floats(-3, 3),
)
def test_the_strongest_label_has_the_largest_lowered_logit(
    row: list[float], numbers: list[float], shift: float
) -> None:
    head = replace(CALM, logit_adjustment=tuple(numbers))
    lowered = np.array(row) - numbers
    for each in (head, replace(head, logit_adjustment=tuple(number + shift for number in numbers))):
        (result,) = text_results(each, logits(row))
        assert lowered[head.labels.index(result.label)] == pytest.approx(lowered.max(), abs=1e-6)


WARY = Head("toxicity", SINGLE_LABEL, ("not_toxic", "toxic"), logit_adjustment=(0.0, -0.5))


def test_an_adjusted_single_label_head_warns_earlier_at_the_same_scores() -> None:
    plain = replace(WARY, logit_adjustment=())
    rows = logits([0.0, -0.6], [0.0, -0.4], [0.0, 0.1], [3.0, -3.0])
    before, after = text_results(plain, rows), text_results(WARY, rows)
    assert [result.label for result in before] == ["not_toxic", "not_toxic", "toxic", "not_toxic"]
    assert [result.label for result in after] == ["not_toxic", "toxic", "toxic", "not_toxic"]
    assert [result.scores for result in after] == [result.scores for result in before]
    # The score beside the label is that of the label, and here it is the smaller of the two.
    assert after[1].score == after[1].scores["toxic"] == pytest.approx(1 / (1 + np.exp(0.4)))
    assert called(WARY, "toxic", probabilities(WARY, rows)).tolist() == [False, True, True, False]
    assert called(plain, "toxic", probabilities(plain, rows)).tolist() == [False, False, True, False]


@given(
    row=st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3),
    numbers=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    temperature=st.floats(0.5, 4),
)
def test_a_single_label_head_names_the_largest_lowered_logit(
    row: list[float], numbers: list[float], temperature: float
) -> None:
    head = replace(SINGLE, logit_adjustment=tuple(numbers), temperature=temperature)
    lowered = np.array(row) / temperature - numbers
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (result,) = text_results(head, logits(row))
        given = [called(head, label, probabilities(head, logits(row)))[0] for label in head.labels]
    assert lowered[head.labels.index(result.label)] == pytest.approx(lowered.max(), abs=1e-6)
    assert [label for label, one in zip(head.labels, given, strict=True) if one] == [result.label]
    assert result.score == result.scores[result.label]
