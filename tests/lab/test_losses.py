"""The loss of a batch, and which logits it does not affect."""

import math

import pytest
import torch

from worker.lab.data.labels import EMOTION, SENTIMENT
from worker.lab.losses import (
    FOCUS,
    MARGIN,
    Form,
    asymmetric,
    class_weights,
    loss,
    targets,
    teacher_loss,
    token_loss,
)

pytestmark = pytest.mark.train


def test_a_binary_batch_teaches_nothing_about_neutral() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [0.5, -3.0, 0.0]], requires_grad=True)
    value = loss(SENTIMENT, logits, targets(SENTIMENT, [(2,), (0,)]), Form(binary=True))
    # A softmax over two logits is a sigmoid of their difference.
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-0.5))) / 2
    assert value.item() == pytest.approx(expected, abs=1e-6)
    value.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[:, 1], torch.zeros(2))
    assert logits.grad[:, [0, 2]].abs().min() > 0.1


def test_a_three_class_batch_is_plain_cross_entropy() -> None:
    value = loss(SENTIMENT, torch.zeros(2, 3), targets(SENTIMENT, [(1,), (2,)]), Form())
    assert value.item() == pytest.approx(math.log(3))


def test_many_labels_are_summed() -> None:
    wanted = targets(EMOTION, [(0, 27), (3,)])
    assert wanted.sum(dim=1).tolist() == [2, 1]
    value = loss(EMOTION, torch.zeros(2, 28), wanted, Form())
    assert value.item() == pytest.approx(28 * math.log(2), rel=1e-6)


def test_the_asymmetric_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, -5.0]])
    each = asymmetric(logits, torch.tensor([[1.0, 0.0, 0.0]]))[0]
    assert each[0].item() == pytest.approx(math.log(2))
    played_down = 0.5 - MARGIN
    assert each[1].item() == pytest.approx(-math.log(1 - played_down) * played_down**FOCUS, rel=1e-5)
    assert each[2].item() == 0  # an easy absence costs nothing


def test_only_real_tokens_count() -> None:
    logits, wanted = torch.tensor([[0.0, 9.0, 3.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    value = token_loss(logits, wanted, torch.tensor([[1.0, 0.0, 0.0]]))
    assert value.item() == pytest.approx(math.log(2))


def test_a_teacher_who_knows_two_classes_says_nothing_of_the_third() -> None:
    logits = torch.tensor([[1.0, 7.0, 0.0]], requires_grad=True)
    value = teacher_loss(logits, torch.tensor([[0.2, 0.8]]), (0, 2), multi_label=False, temperature=2.0)
    value.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] > 0 > logits.grad[0, 2]
    # If the student agrees with the teacher, the gradient is 0.
    same = torch.log(torch.tensor([[0.2, 1.0, 0.8]]))
    agreed = teacher_loss(same, torch.tensor([[0.2, 0.8]]), (0, 2), multi_label=False, temperature=3.0)
    assert agreed.item() == pytest.approx(0, abs=1e-6)


def test_rare_classes_count_more() -> None:
    labels = [(0,), (1,), (1,), (1,), (1,)]
    weights = class_weights(labels, 3, 0.5)
    assert weights[0].item() == pytest.approx(2 * weights[1].item())
    assert weights[2].item() == 0  # no row has it
    assert (weights[0] + 4 * weights[1]).item() == pytest.approx(5)
    value = loss(SENTIMENT, torch.zeros(5, 3), targets(SENTIMENT, labels), Form(weights=weights))
    assert value.item() == pytest.approx(math.log(3))


def test_smoothing_leaves_something_to_lose() -> None:
    sure = torch.tensor([[30.0, 0.0, 0.0]])
    wanted = targets(SENTIMENT, [(0,)])
    assert loss(SENTIMENT, sure, wanted, Form()).item() < 1e-6
    assert loss(SENTIMENT, sure, wanted, Form(smoothing=0.3)).item() == pytest.approx(0.2 * 30)
