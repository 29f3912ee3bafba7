"""The untrained models that docs/explanation/models.md compares can be made and have the right size."""

from pathlib import Path

import pytest

from benchmarks.model_shapes import SHAPES, size_of, untrained_pack
from worker.model.classifier import Classifier
from worker.model.pack import bundled_pack

pytestmark = pytest.mark.train


def test_a_known_shape_becomes_a_pack_with_as_many_weights_as_its_authors_say(tmp_path: Path) -> None:
    (shape,) = (shape for shape in SHAPES if shape.name == "TinyBERT 4x312")
    pack = untrained_pack(shape, bundled_pack() / "tokenizer.json", tmp_path)
    model = Classifier.load(pack)
    (answer,) = model.predict(model.tokenize(["one text"]))
    assert set(answer.heads) == {"sentiment", "emotion"}
    assert 14.3e6 < size_of(pack, shape).encoder < 14.6e6  # Jiao et al. 2020: 14.5 million
