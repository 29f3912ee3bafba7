"""The token heads of a pack against the network that is trained, on a tiny one with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from worker.classify.session import Session
from worker.convert import convert_checkpoint
from worker.training.labels import HeadSpec

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402 - with the extra `train` alone

from worker.training.trunk import Network  # noqa: E402 - as above

pytestmark = pytest.mark.train

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
CONFIG = {
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
            "layers": [1, 3, 2],
            "gate": {"head": "toxicity", "label": "toxic", "threshold": 0.5},
        },
    },
}


def test_marks_equal_the_networks(tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.set_num_threads(1)
    heads = [HeadSpec("toxicity", ("fine", "toxic")), HeadSpec("spans", ("toxic",), layers=(1, 3, 2))]
    network = Network(CONFIG, heads).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    rng = np.random.default_rng(3)
    rows = [[2, *map(int, rng.integers(5, len(VOCABULARY), length)), 3] for length in rng.integers(0, 22, 40)]
    gate = network.heads["toxicity"]
    with torch.no_grad():  # half of the texts are to pass
        logits = torch.cat([gate(network(torch.tensor([row]), None)) for row in rows])
        gate.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    save_file(network.state_dict(), folder / "model.safetensors")
    pack = convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    session = Session(pack.path / "model.onnx", ["toxicity"], ["spans.rows", "spans"])
    scores, read, marks = session.run(rows)
    known = []
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row])
            known.append(network.heads["spans"](network.at_depths(ids, None, (1, 3, 2)))[0, :, 0].numpy())
    assert read.tolist() == np.flatnonzero(scores[:, 1] >= scores[:, 0]).tolist()
    assert 0 < len(read) < len(rows)
    for place, row in enumerate(read.tolist()):
        np.testing.assert_allclose(marks[place, : len(rows[row])], known[row], atol=1e-4)
