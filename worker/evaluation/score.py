"""Two ways to scores: a checkpoint folder through torch in float32, and a pack as the service runs it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from worker.evaluation.metrics import Floats
from worker.training.errors import TrainingError
from worker.training.labels import HeadSpec, head_named

Scorer = Callable[[Sequence[str], int, str], Floats]
"""Texts, the tokens to cut them to, and a head: probabilities (texts, labels)."""

_PADDED_TOKENS = 2_048


def by_length(lengths: Sequence[int], padded_tokens: int = _PADDED_TOKENS) -> list[list[int]]:
    """Cut rows into batches of like length, longest first."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > padded_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def checkpoint_heads(folder: Path) -> list[HeadSpec]:
    """Return the heads that a checkpoint folder's configuration names. Raises TrainingError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return [head_named(name) for name in config["heads"]]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder} holds no checkpoint of ours: {error}") from error


def checkpoint_scorer(folder: Path) -> Scorer:
    """Score with the checkpoint in `folder`, float32 throughout. Raises TrainingError where it holds none."""
    import torch  # noqa: PLC0415 - only this way needs it
    from safetensors.torch import load_file  # noqa: PLC0415 - likewise

    from worker.training.tokens import encode, pad  # noqa: PLC0415 - likewise
    from worker.training.trunk import Network  # noqa: PLC0415 - likewise

    heads = {head.name: head for head in checkpoint_heads(folder)}
    network = Network(json.loads((folder / "config.json").read_text(encoding="utf-8")), list(heads.values()))
    network.load_state_dict(load_file(folder / "model.safetensors"))

    def score(texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        ids = encode(folder / "tokenizer.json", texts, max_tokens)
        scores = np.zeros((len(texts), len(heads[head].labels)))
        with torch.inference_mode():
            for rows in by_length([len(row) for row in ids]):
                padded, mask = pad([ids[row] for row in rows])
                first = network(torch.from_numpy(padded), None if mask is None else torch.from_numpy(mask))
                logits = network.heads[head](first).double()
                given = torch.sigmoid(logits) if heads[head].multi_label else torch.softmax(logits, dim=1)
                scores[rows] = given.numpy()
        return scores

    return score


def pack_scorer(folder: Path) -> Scorer:
    """Score with the pack in `folder`, through the classifier that the service runs. Raises PackError."""
    from worker.classify import Model, Tokens  # noqa: PLC0415 - onnxruntime starts only where it is used

    model = Model.load(folder)
    labels = {head.name: head.labels for head in model.pack.heads}

    def score(texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        rows = [
            tokens
            if len(tokens.ids) <= max_tokens
            else Tokens([*tokens.ids[: max_tokens - 1], tokens.ids[-1]], truncated=True)
            for tokens in model.tokenize(texts)
        ]
        scores = np.zeros((len(texts), len(labels[head])))
        for batch in by_length([len(row.ids) for row in rows]):
            for row, prediction in zip(batch, model.predict([rows[row] for row in batch]), strict=True):
                given = prediction.heads[head].scores
                scores[row] = [given[label] for label in labels[head]]
        return scores

    return score
