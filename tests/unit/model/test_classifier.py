"""The public Classifier: order, batches side by side, and one bad text that costs no other."""

from collections.abc import Sequence

import pytest

from worker.errors import InferenceError
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
