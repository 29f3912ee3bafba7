"""Importance by gradients, and the training after a cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.support.checkpoints import MARKING, SIZES, random_tensors, write_checkpoint
from worker.cli.main import cli
from worker.lab.checkpoint import Checkpoint, read_checkpoint
from worker.lab.importance import _own_loss, importance_of
from worker.lab.network import network_of
from worker.lab.prune import prune
from worker.lab.texts import TextReader

pytestmark = pytest.mark.train

CONFIG = {**SIZES, "heads": MARKING}
TEXTS = ["the film was great", "it is late, the train is broken!", "a lovely phone on time"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("importance") / "whole", CONFIG, random_tensors(CONFIG))


def _loss(checkpoint: Checkpoint, text: str) -> float:
    """The loss of one text against the network's own decisions, which a small step does not change."""
    network = network_of(checkpoint)
    with torch.inference_mode():
        return float(_own_loss(network, checkpoint.heads, [TextReader(checkpoint)([text], 24)[0].ids]))


def _scaled(checkpoint: Checkpoint, name: str, columns: slice, factor: float) -> Checkpoint:
    """Scale columns of a product's weight, which is the same as scaling its input."""
    array = checkpoint.tensors[name].copy()
    array[:, columns] *= factor
    return replace(checkpoint, tensors={**checkpoint.tensors, name: array})


@pytest.mark.parametrize("text", TEXTS)
def test_importance_is_the_change_of_the_loss_to_first_order(folder: Path, text: str) -> None:
    whole = read_checkpoint(folder)
    found = importance_of(whole, [text], 24)
    assert found.heads.shape == (3, 4)
    assert found.columns.shape == (3, 64)
    width, step = whole.sizes.head_dim, 1e-2
    for layer in range(3):
        prefix = f"distilbert.transformer.layer.{layer}."
        for head in range(4):
            name, columns = f"{prefix}attention.out_lin.weight", slice(head * width, (head + 1) * width)
            up, down = (_loss(_scaled(whole, name, columns, 1 + way * step), text) for way in (1, -1))
            assert found.heads[layer, head] == pytest.approx(abs(up - down) / (2 * step), rel=0.05, abs=2e-3)
        for column in (0, 17, 63):
            name, columns = f"{prefix}ffn.lin2.weight", slice(column, column + 1)
            up, down = (_loss(_scaled(whole, name, columns, 1 + way * step), text) for way in (1, -1))
            assert found.columns[layer, column] == pytest.approx(
                abs(up - down) / (2 * step), rel=0.05, abs=2e-3
            )


def test_texts_add_up_and_leave_the_network_alone(folder: Path) -> None:
    whole = read_checkpoint(folder)
    before = {name: array.copy() for name, array in whole.tensors.items()}
    together = importance_of(whole, TEXTS, 24)
    alone = [importance_of(whole, [text], 24) for text in TEXTS]
    assert np.allclose(together.heads, sum(each.heads for each in alone), rtol=1e-3, atol=1e-4)
    assert np.allclose(together.columns, sum(each.columns for each in alone), rtol=1e-3, atol=1e-4)
    assert all(np.array_equal(before[name], array) for name, array in whole.tensors.items())


def test_the_important_ones_are_worth_more_than_the_others(folder: Path) -> None:
    whole = read_checkpoint(folder)
    rng = np.random.default_rng(3)
    words = ("the", "film", "train", "phone", "great", "lovely", "awful", "broken", "late", "happy")
    texts = [" ".join(rng.choice(words, 6)) for _ in range(60)]
    found = importance_of(whole, texts, 24)
    reverse = replace(found, columns=-found.columns)
    best, worst = (prune(whole, each, hidden=32) for each in (found, reverse))
    network = network_of(whole)

    def distance(small: Checkpoint) -> float:
        other, total = network_of(small), 0.0
        with torch.inference_mode():
            for row in TextReader(whole)(texts, 24):
                ids = torch.from_numpy(row.ids)[None].long()
                for head in ("sentiment", "emotion", "toxicity"):
                    one, two = (each.heads[head](each(ids, None)) for each in (network, other))
                    total += float((one - two).abs().mean())
        return total

    assert distance(best) < 0.9 * distance(worst)


def test_pruned_recovered_with_int8_in_the_loop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path / "nowhere"))
    rng = np.random.default_rng(0)
    words = ("the", "film", "train", "phone", "great", "lovely", "awful", "broken", "late", "happy")
    texts = [" ".join(rng.choice(words, rng.integers(2, 9))) for _ in range(200)]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    arguments = [
        "compress", str(folder), str(tmp_path / "small"), "--heads", "3", "--hidden", "48",
        "--recover", str(tmp_path / "texts.txt"), "--minutes", "0.05", "--rate", "0.002",
        "--threads", "1", "--int8",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    for name in ("original", "3-heads-48-columns", "3-heads-48-columns-recovered"):
        assert name in result.output
    small = read_checkpoint(tmp_path / "small-work/3-heads-48-columns-recovered")
    assert (small.sizes.n_heads, small.sizes.head_dim, small.sizes.hidden_dim) == (3, 8, 48)
    before = read_checkpoint(tmp_path / "small-work/3-heads-48-columns")
    name = "distilbert.transformer.layer.0.ffn.lin1.weight"
    assert not np.array_equal(small.tensors[name], before.tensors[name])
    card = (tmp_path / "small/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "with int8's rounding in the loop" in card
