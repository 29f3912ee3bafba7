"""Spans in predictions: for the texts that the gate lets through, in the text as it came, in any company."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import MARKING, SIZES, write_checkpoint, write_marking_checkpoint
from worker.errors import InferenceError
from worker.heads import TOKENS, Head
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.spans import marked_tokens
from worker.model.tokenizer import Tokens
from worker.types import Prediction, SpanResult

NAME = "toxic_spans"
TEXTS = [
    *("awful", "the film is great", "THE  AWFUL,\u200b awful train!", "", "broken " * 40, "a\u0301wful é 😡"),
    *("@someone awful", "aaaawful", "great \ud83d\ude00 awful \ud83d"),
]
READ = [text for text in TEXTS if text]
"""Those of which the model has something to read."""


@pytest.fixture(scope="module")
def marking(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A pack whose token head marks exactly the word `awful`, and whose gate lets all texts through."""
    folder = tmp_path_factory.mktemp("marking")
    checkpoint = write_marking_checkpoint(folder / "checkpoint", "awful")
    return Classifier.load(convert_checkpoint(checkpoint, folder / "pack", name="marking").path, threads=2)


def marked(model: Classifier, text: str) -> list[str]:
    (prediction,) = model.predict(model.tokenize([text]))
    result = prediction.spans[NAME]
    assert result.read
    return [text[start:end] for start, end in result.ranges]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("awful", ["awful"]),
        ("the film is great", []),
        ("the AWFUL, awful\n awful film", ["AWFUL", "awful\n awful"]),
        ("é 😡 awfu\u0301l 👍🏽", ["awfu\u0301l"]),
        ("@someone at https://x.y/awful is awful", ["awful"]),
        ("#TheAwful", ["Awful"]),
        ("great \ud83d\ude00 awful \ud83d", ["awful"]),
        ("awful " * 60, [("awful " * 22).strip()]),
        ("", []),
        (" \n", []),
    ],
)
def test_the_marked_words_are_found_in_the_text_as_it_came(
    marking: Classifier, text: str, expected: list[str]
) -> None:
    assert marked(marking, text) == expected


def test_spans_are_the_same_in_any_company_and_from_several_threads(marking: Classifier) -> None:
    alone = [marking.classify([text])[0] for text in TEXTS]
    for order in (TEXTS * 30, TEXTS[::-1] * 30):
        answers = dict(zip(order, marking.classify(order), strict=True))
        assert [answers[text] for text in TEXTS] == alone


def test_places_are_looked_up_from_many_threads_at_once(marking: Classifier) -> None:
    rows = marking.tokenize(TEXTS * 8)
    expected = marking.predict(rows)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(marking.predict, [rows] * 40)) == [expected] * 40


def test_a_pack_without_token_heads_has_no_spans(tiny_model: Classifier) -> None:
    (prediction,) = tiny_model.predict(tiny_model.tokenize(["awful"]))
    assert prediction.spans == {}


def test_a_closed_gate_leaves_the_text_unread(tmp_path: Path) -> None:
    gate = {"head": "toxicity", "label": "toxic", "threshold": 1.0}
    config = {**SIZES, "heads": {**MARKING, NAME: {**MARKING[NAME], "gate": gate}}}
    folder = write_checkpoint(tmp_path / "checkpoint", config)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    answers = Classifier.load(tmp_path / "pack").classify(READ)
    assert all(isinstance(answer, Prediction) for answer in answers)
    assert {answer.spans[NAME] for answer in answers if isinstance(answer, Prediction)} == {SpanResult()}


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack like `marking` that calls no text toxic; its gate opens below that."""
    folder = tmp_path_factory.mktemp("low")
    checkpoint = write_marking_checkpoint(folder / "checkpoint", "awful", flagged=False)
    return convert_checkpoint(checkpoint, folder / "pack", name="low").path


def test_words_are_marked_only_in_texts_that_are_called_toxic(low: Path) -> None:
    for answer in Classifier.load(low, threads=1).classify(READ):
        assert isinstance(answer, Prediction)
        assert answer.heads["toxicity"].label == "not_toxic"
        assert answer.spans[NAME] == SpanResult()


def test_the_gate_alone_decides_if_that_is_asked(low: Path, marking: Classifier) -> None:
    answers = Classifier.load(low, threads=1, marks="gate").classify(READ)
    assert all(isinstance(answer, Prediction) for answer in answers)
    spans = [answer.spans[NAME] for answer in answers if isinstance(answer, Prediction)]
    assert spans == [found.spans[NAME] for found in marking.predict(marking.tokenize(READ))]
    assert any(span.ranges for span in spans)


def test_a_pickled_classifier_marks_where_it_did(low: Path) -> None:
    model = Classifier.load(low, threads=1, marks="gate")
    assert pickle.loads(pickle.dumps(model)).classify(TEXTS) == model.classify(TEXTS)


def test_tokens_without_their_text_are_an_error_where_places_are_asked_for(marking: Classifier) -> None:
    (row,) = marking.tokenize(["the awful film"])
    with pytest.raises(InferenceError, match="not those of the text"):
        marking.predict([Tokens(row.ids, truncated=False)])


HEAD = Head("spans", TOKENS, ("toxic",), (0.5,), temperature=2.0, layers=(1,))


def test_a_tokens_probability_is_its_cooled_logit_and_the_ends_are_no_part_of_the_text() -> None:
    head = Head("spans", TOKENS, ("toxic",), (0.8,), 2.0, layers=(1,))
    logits = np.array([[9, 2.7, 2.8, 9, 9]], np.float32)
    found = marked_tokens(head, np.array([1]), logits, [5, 4])
    assert {row: marks.tolist() for row, marks in found.items()} == {1: [False, False, True, False]}


@pytest.mark.parametrize(
    ("probabilities", "marked"),
    [
        ((0.9, 0.62, 0.5), (True, True, False)),  # from 0.6 of 0.9 on
        ((0.6, 0.37, 0.2), (True, True, False)),  # a text that is less sure: from 0.36 on
        ((0.4, 0.4, 0.4), (False, False, False)),  # nothing reaches the threshold: nothing is marked
    ],
)
def test_with_a_share_the_strongest_token_says_from_where_on_tokens_are_marked(
    probabilities: tuple[float, ...], marked: tuple[bool, ...]
) -> None:
    head = Head("spans", TOKENS, ("toxic",), (0.5,), 1.0, layers=(1,), relative=0.6)
    inner = [math.log(value / (1 - value)) for value in probabilities]
    logits = np.array([[9, *inner, 9]], np.float32)  # the ends say nothing of how strong the others are
    assert marked_tokens(head, np.array([0]), logits, [5])[0].tolist() == [False, *marked, False]


@pytest.mark.parametrize(
    ("rows", "shape"), [([0], (1, 4)), ([0, 1], (1, 5)), ([2], (1, 5)), ([-1], (1, 5)), ([0], (1, 5, 1))]
)
def test_results_of_another_batch_are_an_error(rows: list[int], shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="spans"):
        marked_tokens(HEAD, np.array(rows), np.zeros(shape, np.float32), [5, 4])


def test_a_logit_that_is_no_number_is_an_error_unless_it_is_paddings() -> None:
    logits = np.zeros((1, 5), np.float32)
    logits[0, 4] = np.nan
    assert marked_tokens(HEAD, np.array([1]), logits, [5, 4])[1].tolist() == [False, True, True, False]
    with pytest.raises(InferenceError, match="not finite"):
        marked_tokens(HEAD, np.array([0]), logits, [5, 4])
