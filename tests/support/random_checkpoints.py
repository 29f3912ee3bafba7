"""Small random checkpoints of every kind of head, texts for them, and how they are taught."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from worker.lab.checkpoint import Checkpoint
from worker.lab.distill import Settings
from worker.lab.network import network_of
from worker.lab.recipe import Optimiser, Run
from worker.lab.texts import TextReader

WORDS = ("lovely", "great", "awful", "broken", "train", "film", "the", "is", "was", "it")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
GATE = {"head": "sentiment", "label": "negative", "threshold": 0.02}
HEADS: dict[str, Any] = {
    "sentiment": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
        "temperature": 1.5,
    },
    "emotion": {
        "problem_type": "multi_label_classification",
        "id2label": {"0": "joy", "1": "anger"},
        "thresholds": [0.4, 0.6],
    },
    "toxic_spans": {
        "problem_type": "token_classification",
        "id2label": {"0": "toxic"},
        "layers": [1, 2, 3],
        "gate": GATE,
    },
}


def random_checkpoint(seed: int, layers: int = 4, heads: dict[str, Any] | None = None) -> Checkpoint:
    """A random network whose heads differ from text to text: its embeddings are large."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = {
        "model_type": "distilbert", "activation": "gelu", "dim": 32, "hidden_dim": 64, "n_layers": layers,
        "n_heads": 4, "vocab_size": len(VOCABULARY), "max_position_embeddings": 32, "heads": heads or HEADS,
    }  # fmt: skip
    empty = Checkpoint("random", config, {}, tokenizer.to_str())
    torch.manual_seed(seed)
    from worker.lab.network import Network, config_of

    network = Network(config_of(config))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 1.0 if "embeddings" in name else 2.0 / weight.shape[1] ** 0.5)
            elif "LayerNorm" not in name and "layer_norm" not in name:
                weight.normal_(0, 0.1)
    tensors = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return replace(empty, tensors=tensors)


def some_texts(count: int, seed: int = 1) -> list[str]:
    rng = Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(count)]


def quiet(_line: str) -> None:
    """Progress lines are not looked at here."""


def settings(**run: Any) -> Settings:
    return Settings(
        Optimiser(trunk_rate=3e-3, head_rate=3e-3, max_padded_tokens=256),
        Run(**{"seed": 3, "threads": 1, "precision": "fp32", **run}),
    )


def logits_of(checkpoint: Checkpoint, texts: list[str], head: str) -> np.ndarray[Any, Any]:
    network, reader = network_of(checkpoint), TextReader(checkpoint)
    with torch.inference_mode():
        return np.concatenate(
            [
                network.heads[head](network(torch.from_numpy(row.ids)[None].long(), None)).numpy()
                for row in reader(texts, 32)
            ]
        )


def marked_texts(root: Path, rows: int) -> None:
    (root / "toxic_spans").mkdir(parents=True)
    lines, rng = ["spans,text\n"], Random(5)
    others = [word for word in WORDS if word != "awful"]
    for number in range(rows):
        before = " ".join(rng.choices(others, k=rng.randint(1, 4)))
        text = f"{before} {'awful' if number % 2 else 'great'}"
        places = list(range(len(before) + 1, len(text))) if number % 2 else []
        lines.append(f'"{places}",{text}\n')
    (root / "toxic_spans/tsd_train.csv").write_text("".join(lines), encoding="utf-8")
    (root / "toxic_spans/tsd_trial.csv").write_text('spans,text\n"[]",it was\n', encoding="utf-8")


def distance_from(checkpoint: Checkpoint, texts: list[str], head: str, wanted: Any) -> float:
    logits = torch.from_numpy(logits_of(checkpoint, texts, head))
    multi = checkpoint.heads[head].multi_label
    scores = torch.sigmoid(logits) if multi else torch.softmax(logits, dim=1)
    return float((scores.numpy() - wanted).__abs__().mean())
