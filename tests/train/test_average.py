"""The mean of two checkpoints."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from worker.training.average import main

pytestmark = pytest.mark.train


def _checkpoint(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def test_the_mean_lies_between_by_its_share(tmp_path: Path) -> None:
    first = _checkpoint(tmp_path / "a", {"w": torch.tensor([0.0, 4.0])})
    second = _checkpoint(tmp_path / "b", {"w": torch.tensor([8.0, 0.0])})
    result = CliRunner().invoke(main, [str(first), str(second), str(tmp_path / "c"), "--share", "0.25"])
    assert result.exit_code == 0, result.output
    assert load_file(tmp_path / "c" / "model.safetensors")["w"].tolist() == [2.0, 3.0]
    assert (tmp_path / "c" / "config.json").is_file()


def test_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    first = _checkpoint(tmp_path / "a", {"w": torch.zeros(2), "same": torch.zeros(1)})
    second = _checkpoint(tmp_path / "b", {"w": torch.zeros(3), "same": torch.zeros(1)})
    result = CliRunner().invoke(main, [str(first), str(second), str(tmp_path / "c")])
    assert result.exit_code == 2
    assert "are not of one shape: w differs" in result.output
    assert not (tmp_path / "c").exists()
