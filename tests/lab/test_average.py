"""The mean of a network's weights with other checkpoints'."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from worker.errors import TrainingError
from worker.lab.average import average
from worker.lab.recipe import Mean

pytestmark = pytest.mark.train


def _checkpoint(folder: Path, weight: list[list[float]]) -> str:
    folder.mkdir()
    save_file({"weight": torch.tensor(weight)}, folder / "model.safetensors")
    return str(folder)


def _network(weight: list[list[float]]) -> torch.nn.Linear:
    network = torch.nn.Linear(2, 1, bias=False)
    network.weight.data = torch.tensor(weight)
    return network


def test_the_mean_lies_between_by_its_share(tmp_path: Path) -> None:
    network = _network([[0.0, 4.0]])
    means = [Mean(_checkpoint(tmp_path / "a", [[8.0, 0.0]]), 0.25)]
    average(network, means)
    assert network.weight.tolist() == [[2.0, 3.0]]


def test_means_follow_one_another(tmp_path: Path) -> None:
    network = _network([[0.0, 4.0]])
    means = [
        Mean(_checkpoint(tmp_path / "a", [[8.0, 0.0]]), 0.5),
        Mean(_checkpoint(tmp_path / "b", [[0.0, 0.0]]), 0.75),
    ]
    average(network, means)
    assert network.weight.tolist() == [[1.0, 0.5]]


def test_frozen_weights_stay(tmp_path: Path) -> None:
    network = _network([[0.0, 4.0]])
    network.weight.requires_grad_(False)
    average(network, [Mean(_checkpoint(tmp_path / "a", [[8.0, 0.0]]), 0.25)])
    assert network.weight.tolist() == [[0.0, 4.0]]


def test_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    other = _checkpoint(tmp_path / "a", [[8.0, 0.0, 1.0]])
    with pytest.raises(TrainingError, match="is of another shape: weight differs"):
        average(_network([[0.0, 4.0]]), [Mean(other, 0.5)])


@pytest.mark.parametrize("content", [None, b"no tensors"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(TrainingError, match="is no checkpoint folder"):
        average(_network([[0.0, 4.0]]), [Mean(str(tmp_path), 0.5)])
