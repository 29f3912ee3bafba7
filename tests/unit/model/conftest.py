"""A tiny pack, made once; tests that damage it take a copy."""

import shutil
from pathlib import Path

import pytest

from tests.support.checkpoints import SIZES, TWO_HEADS, write_checkpoint
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of a few kilobytes that knows some twenty words. Not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_checkpoint(folder / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    convert_checkpoint(checkpoint, folder / "pack", name="tiny")
    return folder / "pack"


@pytest.fixture
def own_pack(tiny_pack: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pack that a test may damage."""
    return Path(shutil.copytree(tiny_pack, tmp_path / "pack"))


@pytest.fixture(scope="session")
def tiny_model(tiny_pack: Path) -> Classifier:
    """The tiny pack, loaded."""
    return Classifier.load(tiny_pack)
