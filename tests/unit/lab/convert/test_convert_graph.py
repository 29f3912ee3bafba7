"""The graph that the converter writes computes the same as the checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints import (
    CLS,
    ONE_HEAD,
    SEP,
    SIZES,
    TWO_HEADS,
    random_tensors,
    reference_logits,
    write_checkpoint,
)
from worker.lab.convert.writer import convert_checkpoint
from worker.model.classifier import Classifier
from worker.model.session import Session
from worker.model.tokenizer import Tokens


def texts(count: int = 40, seed: int = 3) -> list[list[int]]:
    """Token ids of made-up texts, from no words to as many as there are positions."""
    rng = np.random.default_rng(seed)
    longest = SIZES["max_position_embeddings"] - 2
    lengths = [0, 1, longest, *rng.integers(2, longest, count - 3)]
    return [[CLS, *map(int, rng.integers(5, SIZES["vocab_size"], length)), SEP] for length in lengths]


def logits(pack: Path, rows: list[list[int]], heads: list[str]) -> list[dict[str, Any]]:
    """The logits of each text on its own."""
    session = Session(pack / "model.onnx", heads)
    return [dict(zip(heads, (out[0] for out in session.run([row])), strict=True)) for row in rows]


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_float_graph_equals_the_network(tmp_path: Path, activation: str) -> None:
    config = {**SIZES, "activation": activation, "heads": TWO_HEADS}
    tensors = random_tensors(config)
    folder = write_checkpoint(tmp_path / "checkpoint", config, tensors)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    rows = texts()
    for row, found in zip(rows, logits(tmp_path / "pack", rows, list(TWO_HEADS)), strict=True):
        for head, expected in reference_logits(tensors, config, row).items():
            np.testing.assert_allclose(found[head], expected, atol=1e-4)


@pytest.mark.parametrize(
    "sizes", [{"n_layers": 1}, {"n_heads": 1}, {"dim": 40, "hidden_dim": 24, "n_heads": 5}]
)
def test_float_graph_takes_its_sizes_from_the_configuration(tmp_path: Path, sizes: dict[str, int]) -> None:
    config = {**SIZES, **sizes, **ONE_HEAD}
    tensors = random_tensors(config)
    folder = write_checkpoint(tmp_path / "checkpoint", config, tensors)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    rows = texts(8)
    for row, found in zip(rows, logits(tmp_path / "pack", rows, ["sentiment"]), strict=True):
        np.testing.assert_allclose(found["sentiment"], reference_logits(tensors, config, row)[""], atol=1e-4)


def test_a_head_without_a_hidden_layer_reads_the_first_token(tmp_path: Path) -> None:
    config = {**SIZES, "heads": TWO_HEADS}
    tensors = random_tensors(config)
    for kind in ("weight", "bias"):
        del tensors[f"heads.emotion.pre_classifier.{kind}"]
    folder = write_checkpoint(tmp_path / "checkpoint", config, tensors)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    (row,) = texts(4)[-1:]
    (found,) = logits(tmp_path / "pack", [row], list(TWO_HEADS))
    for head, expected in reference_logits(tensors, config, row).items():
        np.testing.assert_allclose(found[head], expected, atol=1e-4)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_int8_graph_is_close_to_the_network(tmp_path: Path, activation: str) -> None:
    config = {**SIZES, "activation": activation, "heads": TWO_HEADS}
    tensors = random_tensors(config)
    folder = write_checkpoint(tmp_path / "checkpoint", config, tensors)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    rows = texts(80)
    found = np.array(
        [np.concatenate(list(one.values())) for one in logits(tmp_path / "pack", rows, list(TWO_HEADS))]
    )
    expected = np.array(
        [np.concatenate(list(reference_logits(tensors, config, row).values())) for row in rows]
    )
    # Without the mean over the texts, which would make the comparison look too good.
    found, expected = found - expected.mean(axis=0), expected - expected.mean(axis=0)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(axis=1) / norms).mean() > 0.995


@pytest.mark.parametrize("quantise", [True, False])
def test_a_text_scores_the_same_alone_and_in_any_company(tmp_path: Path, quantise: bool) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=quantise)
    model = Classifier.load(tmp_path / "pack")
    rows = [Tokens(ids, truncated=False) for ids in texts(60)]
    alone = [model.predict([row])[0] for row in rows]
    order = np.random.default_rng(1)
    for size in (2, 5, 17, 60):
        chosen = order.permutation(len(rows))[:size]
        for index, prediction in zip(chosen, model.predict([rows[index] for index in chosen]), strict=True):
            for head, result in prediction.heads.items():
                assert result.scores == pytest.approx(alone[index].heads[head].scores, abs=1e-6)
                assert result.labels == alone[index].heads[head].labels
