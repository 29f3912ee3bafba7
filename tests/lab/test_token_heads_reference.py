"""The token heads of a pack against the torch network, for a tiny model with random weights."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.heads import Branch
from worker.lab.convert.writer import convert_checkpoint
from worker.model.session import Session

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402 - with the extra `train` alone

from worker.lab.network import Network, config_of  # noqa: E402 - as above

pytestmark = pytest.mark.train

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
CONFIG: dict[str, Any] = {
    "model_type": "distilbert",
    "dim": 32,
    "hidden_dim": 64,
    "n_layers": 4,
    "n_heads": 2,
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": 24,
    "activation": "gelu",
    "heads": {
        "toxicity": {"problem_type": "single_label_classification", "id2label": {"0": "fine", "1": "toxic"}},
        "spans": {
            "problem_type": "token_classification",
            "id2label": {"0": "toxic"},
            "gate": {"head": "toxicity", "label": "toxic", "threshold": 0.5},
        },
    },
}


BRANCHES = [
    pytest.param((1, 3, 2), None, id="trunk"),
    pytest.param((3,), Branch(0, 3), id="branch-of-the-embeddings"),
    pytest.param((4, 1, 3), Branch(2, 2), id="both"),
    pytest.param((4,), Branch(3, 2, n_heads=1, hidden_dim=48), id="own-widths"),
]


def _config(layers: tuple[int, ...], branch: Branch | None) -> dict[str, Any]:
    spans = {**CONFIG["heads"]["spans"], "layers": list(layers)}
    if branch is not None:
        spans["branch"] = asdict(branch)
    return {**CONFIG, "head_dim": 16, "heads": {**CONFIG["heads"], "spans": spans}}


def _network(layers: tuple[int, ...], branch: Branch | None) -> Any:
    torch.manual_seed(5)
    torch.set_num_threads(1)
    network = Network(config_of(_config(layers, branch))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return network


def _texts(network: Network) -> list[list[int]]:
    """Texts of which half should pass the gate."""
    rng = np.random.default_rng(3)
    rows = [[2, *map(int, rng.integers(5, len(VOCABULARY), length)), 3] for length in rng.integers(0, 22, 40)]
    gate = network.text_head("toxicity")
    with torch.no_grad():
        logits = torch.cat([gate(network(torch.tensor([row]), None)) for row in rows])
        gate.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return rows


def _pack(network: Network, config: dict[str, Any], room: Path, *, quantise: bool) -> Path:
    folder = room / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    save_file(network.state_dict(), folder / "model.safetensors")
    return convert_checkpoint(folder, room / "pack", name="tiny", quantise=quantise).path


def _run(pack: Path, rows: list[list[int]]) -> Any:
    return Session(pack / "model.onnx", ["toxicity"], ["spans.rows", "spans"]).run(rows)


@pytest.mark.parametrize(("layers", "branch"), BRANCHES)
def test_marks_equal_the_networks(layers: tuple[int, ...], branch: Branch | None, tmp_path: Path) -> None:
    network = _network(layers, branch)
    rows = _texts(network)
    scores, read, marks = _run(_pack(network, _config(layers, branch), tmp_path, quantise=False), rows)
    with torch.inference_mode():
        known = [network.marks("spans", torch.tensor([row]), None)[0].numpy() for row in rows]
    assert read.tolist() == np.flatnonzero(scores[:, 1] >= scores[:, 0]).tolist()
    assert 0 < len(read) < len(rows)
    for place, row in enumerate(read.tolist()):
        np.testing.assert_allclose(marks[place, : len(rows[row])], known[row], atol=1e-4)


@pytest.mark.parametrize(("layers", "branch"), BRANCHES)
def test_int8_marks_are_near_and_the_same_in_any_batch(
    layers: tuple[int, ...], branch: Branch | None, tmp_path: Path
) -> None:
    network = _network(layers, branch)
    rows = _texts(network)
    pack = _pack(network, _config(layers, branch), tmp_path, quantise=True)
    _, read, marks = _run(pack, rows)
    with torch.inference_mode():
        known = [network.marks("spans", torch.tensor([row]), None)[0].numpy() for row in rows]
    ours = np.concatenate([marks[place, : len(rows[row])] for place, row in enumerate(read.tolist())])
    theirs = np.concatenate([known[row] for row in read.tolist()])
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    for place, row in enumerate(read.tolist()):
        _, (alone,), found = _run(pack, [rows[row]])
        assert alone == 0
        assert (found[0] == marks[place, : len(rows[row])]).all()
    quiet = [row for number, row in enumerate(rows) if number not in set(read.tolist())]
    _, nobody, nothing = _run(pack, quiet)
    assert len(nobody) == 0
    assert nothing.shape == (0, max(map(len, quiet)))
