"""Predictions of a loaded pack, from one thread and from several."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker.errors import InferenceError
from worker.model.classifier import Classifier
from worker.model.cpu import available_threads
from worker.model.tokenizer import Tokens


def test_predictions_come_in_the_order_of_the_batch(tiny_model: Classifier) -> None:
    texts = ["great", "the train was late and the phone is broken", "it is a film"]
    rows = tiny_model.tokenize(texts)
    forward, backward = tiny_model.predict(rows), tiny_model.predict(rows[::-1])
    assert forward == backward[::-1]
    assert [prediction.token_count for prediction in forward] == [len(row.ids) for row in rows]


def test_an_empty_batch_gives_nothing(tiny_model: Classifier) -> None:
    assert tiny_model.predict([]) == []


@pytest.mark.parametrize("ids", [[], [2, 10_000, 3], [2] * 100])
def test_a_batch_that_cannot_be_run_is_a_typed_error(tiny_model: Classifier, ids: list[int]) -> None:
    with pytest.raises(InferenceError) as caught:
        tiny_model.predict([Tokens(ids, truncated=False), *tiny_model.tokenize(["great"])])
    assert "\n" not in str(caught.value)


def test_several_threads_may_predict_at_once(tiny_model: Classifier) -> None:
    batches = [
        tiny_model.tokenize([f"the film {word}" * (n % 5 + 1) for n in range(9)]) for word in "abcdefgh"
    ]
    expected = [tiny_model.predict(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tiny_model.predict, batches * 5)) == expected * 5


def test_threads_are_as_asked_or_one_for_each_core(tiny_pack: Path) -> None:
    assert Classifier.load(tiny_pack, threads=3).threads == 3
    assert Classifier.load(tiny_pack).threads == available_threads()
