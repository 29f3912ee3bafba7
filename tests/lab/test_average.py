"""The mean of a model's weights with other checkpoints'."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from worker.errors import TrainingError
from worker.lab.checkpoint import Tensors, average
from worker.lab.recipe import Mean

pytestmark = pytest.mark.train


def _mean(folder: Path, weight: list[list[float]], share: float) -> Mean:
    folder.mkdir()
    save_file({"weight": np.array(weight, np.float32)}, folder / "model.safetensors")
    return Mean(checkpoint=str(folder), share=share)


def _own() -> Tensors:
    return {"weight": np.array([[0.0, 4.0]], np.float32)}


def test_the_mean_lies_between_by_its_share(tmp_path: Path) -> None:
    found = average(_own(), [_mean(tmp_path / "a", [[8.0, 0.0]], 0.25)])
    assert found["weight"].tolist() == [[2.0, 3.0]]


def test_means_follow_one_another(tmp_path: Path) -> None:
    means = [_mean(tmp_path / "a", [[8.0, 0.0]], 0.5), _mean(tmp_path / "b", [[0.0, 0.0]], 0.75)]
    assert average(_own(), means)["weight"].tolist() == [[1.0, 0.5]]


def test_frozen_weights_stay(tmp_path: Path) -> None:
    found = average(_own(), [_mean(tmp_path / "a", [[8.0, 0.0]], 0.25)], ["weight"])
    assert found["weight"].tolist() == [[0.0, 4.0]]


def test_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    other = _mean(tmp_path / "a", [[8.0, 0.0, 1.0]], 0.5)
    with pytest.raises(TrainingError, match="has another shape: weight differs"):
        average(_own(), [other])


@pytest.mark.parametrize("content", [None, b"no tensors"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(TrainingError, match="is not a checkpoint folder"):
        average(_own(), [Mean(checkpoint=str(tmp_path), share=0.5)])
