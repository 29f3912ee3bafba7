"""The public Classifier: what it takes, order, batches side by side, and one bad text that costs no other."""

import copy
import os
import pickle
import select
import signal
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.packs import vouch
from worker.errors import InferenceError, PackError
from worker.model.classifier import Classifier
from worker.model.tokenizer import Tokens
from worker.types import Failure, Prediction

TEXTS = [f"{word} " * (1 + number % 40) for number, word in enumerate(["good", "bad", "so so", "😡"] * 60)]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load(threads=2)


def test_results_stand_in_the_order_of_the_texts(classifier: Classifier) -> None:
    alone = [classifier.classify([text])[0] for text in TEXTS[:30]]
    together = classifier.classify(TEXTS)
    assert len(together) == len(TEXTS)
    assert together[:30] == alone  # to the last digit: a text's scores do not depend on its neighbours


def test_threads_change_no_score(classifier: Classifier) -> None:
    assert Classifier.load(threads=1).classify(TEXTS) == classifier.classify(TEXTS)


def test_no_texts_no_results(classifier: Classifier) -> None:
    assert classifier.classify([]) == []


class Poisoned(Classifier):
    """The real model, but for one text that it cannot stand."""

    def predict(self, batch: Sequence[Tokens]) -> list[Prediction]:
        if any("bad luck" in row.text for row in batch):
            raise InferenceError("a logit that is not finite")
        return super().predict(batch)


def test_a_text_that_the_model_cannot_stand_costs_no_other() -> None:
    results = Poisoned.load(threads=1).classify(["good day", "bad luck", "nice one"])
    failure = results[1]
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("classify", "inference_failed")
    assert "bad luck" not in failure.message
    assert all(isinstance(results[index], Prediction) for index in (0, 2))


class Word(StrEnum):
    """A text that is no plain `str`."""

    GOOD = "so good"


@pytest.mark.parametrize(
    "several",
    [
        pytest.param(("so good", "bad"), id="tuple"),
        pytest.param((text for text in ("so good", "bad")), id="generator"),
        pytest.param({"so good": 1, "bad": 2}.keys(), id="keys"),
        pytest.param(np.array(["so good", "bad"]), id="numpy"),
        pytest.param(np.array(["so good", "bad"], dtype=object), id="numpy-objects"),
        pytest.param(pyarrow.array(["so good", "bad"]), id="pyarrow"),
        pytest.param(pyarrow.chunked_array([["so good"], ["bad"]]), id="pyarrow-chunks"),
        pytest.param([Word.GOOD, np.str_("bad")], id="subclasses"),
    ],
)
def test_any_iterable_of_texts_is_labelled(classifier: Classifier, several: Any) -> None:
    assert classifier.classify(several) == classifier.classify(["so good", "bad"])


NO_TEXTS = [
    None,
    float("nan"),
    np.float64("nan"),
    5,
    True,
    b"so good",
    ["so good"],
    {"text": "so good"},
    object(),
]


@pytest.mark.parametrize("value", NO_TEXTS, ids=lambda value: type(value).__name__)
def test_what_is_no_text_fails_alone(classifier: Classifier, value: Any) -> None:
    before, failure, after = classifier.classify(["so good", value, "bad"])
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("classify", "text_not_string")
    assert failure.exception == "worker.errors.TextNotString"
    assert type(value).__name__ in failure.message
    assert "so good" not in failure.message
    assert [before, after] == classifier.classify(["so good", "bad"])


@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(NO_TEXTS)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_each_value_gets_one_answer_in_its_place(values: list[Any]) -> None:
    answers = shared().classify(values)
    for value, answer in zip(values, answers, strict=True):
        if not isinstance(value, str):
            assert getattr(answer, "reason", "") == "text_not_string"
        elif len(shared().tokenize([str(value)])[0].ids) == 2:  # [CLS] and [SEP]: nothing in between
            assert getattr(answer, "reason", "") == "text_empty"
        else:
            assert isinstance(answer, Prediction)


@cache
def shared() -> Classifier:
    return Classifier.load(threads=1)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("so good", r"pass a list, classify\(\[text\]\)"),
        (b"so good", r"pass a list, classify\(\[text\]\)"),
        (np.array("so good"), "one column of texts"),
        (np.array([["so good"]]), "one column of texts"),
        (pyarrow.table({"text": ["so good"]}), "one column of texts"),
        ({"text": "so good"}, "not dict"),
        (None, "not NoneType"),
        (5, "not int"),
    ],
)
def test_what_are_not_several_texts_is_refused_with_a_word_on_what_to_pass(
    classifier: Classifier, value: Any, line: str
) -> None:
    with pytest.raises(TypeError, match=line):
        classifier.classify(value)


class Failing(Classifier):
    """A tokenizer that fails on one text."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        if any("bad luck" in text for text in texts):
            raise InferenceError("the tokenizer failed: PanicException")
        return super().tokenize(texts)


def test_a_text_that_the_tokenizer_cannot_stand_costs_no_other() -> None:
    answers = Failing.load(threads=1).classify(["good day", None, "bad luck", "nice one"])
    assert [isinstance(answer, Failure) for answer in answers] == [False, True, True, False]
    assert getattr(answers[2], "reason", "") == "inference_failed"


def in_child(classifier: Classifier, texts: list[str]) -> object:
    """What a forked child answers, as it was pickled there; it is ended if it does not answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "wb") as out:
                pickle.dump(classifier.classify(texts), out)
        finally:
            os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], 30)
    if not ready:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as answer:
        found = answer.read()
    os.waitpid(child, 0)
    assert found, "the child did not answer"
    return pickle.loads(found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of a fork beside threads
def test_a_forked_child_goes_on(classifier: Classifier) -> None:
    expected = classifier.classify(TEXTS)  # its threads run by now
    assert in_child(classifier, TEXTS) == expected
    assert in_child(classifier, TEXTS) == expected
    assert classifier.classify(TEXTS) == expected


def test_a_pickled_classifier_is_its_pack(tiny_pack: Path, own_pack: Path) -> None:
    first = Classifier.load(tiny_pack, threads=2)
    pickled = pickle.dumps(first)
    assert len(pickled) < 2_000
    again = pickle.loads(pickled)
    assert (again.pack.revision, again.threads) == (first.pack.revision, 2)
    assert again.classify(["great"]) == first.classify(["great"])
    assert copy.deepcopy(first).classify(["great"]) == first.classify(["great"])


def test_a_pack_that_has_changed_since_is_not_taken_for_the_pickled_one(own_pack: Path) -> None:
    pickled = pickle.dumps(Classifier.load(own_pack, threads=1))
    (own_pack / "MODEL_CARD.md").write_text("# Another\n")
    vouch(own_pack)
    with pytest.raises(PackError, match="when it was pickled"):
        pickle.loads(pickled)
