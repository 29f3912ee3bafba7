"""Logits to scores and labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worker.errors import InferenceError
from worker.heads import MULTI as MULTI_LABEL
from worker.heads import SINGLE as SINGLE_LABEL
from worker.heads import Head
from worker.model.heads import text_results

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
    assert text_results(SINGLE, logits([0.0, 0.0, 0.0]))[0].groups is None
