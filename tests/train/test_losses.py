"""The loss of a batch, and what it leaves alone."""

import math

import pytest
import torch

from worker.training.labels import EMOTION, SENTIMENT
from worker.training.losses import loss, targets

pytestmark = pytest.mark.train


def test_a_binary_batch_teaches_nothing_about_neutral() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [0.5, -3.0, 0.0]], requires_grad=True)
    value = loss(SENTIMENT, logits, targets(SENTIMENT, [(2,), (0,)]), binary=True)
    # A softmax over two logits is a sigmoid of their difference.
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-0.5))) / 2
    assert value.item() == pytest.approx(expected, abs=1e-6)
    value.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[:, 1], torch.zeros(2))
    assert logits.grad[:, [0, 2]].abs().min() > 0.1


def test_a_three_class_batch_is_plain_cross_entropy() -> None:
    value = loss(SENTIMENT, torch.zeros(2, 3), targets(SENTIMENT, [(1,), (2,)]), binary=False)
    assert value.item() == pytest.approx(math.log(3))


def test_many_labels_are_summed() -> None:
    wanted = targets(EMOTION, [(0, 27), (3,)])
    assert wanted.sum(dim=1).tolist() == [2, 1]
    value = loss(EMOTION, torch.zeros(2, 28), wanted, binary=False)
    assert value.item() == pytest.approx(28 * math.log(2), rel=1e-6)
