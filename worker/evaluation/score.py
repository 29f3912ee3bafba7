"""From texts to probabilities, in two ways: a pack as the service runs it, a checkpoint through torch.

Both give probabilities after the head's temperature, and marked characters after the gate.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from worker.evaluation.heads import HeadInfo
from worker.evaluation.metrics import Floats
from worker.training.errors import TrainingError
from worker.types import Range

Tick = Callable[[int], None]
"""Told how many more texts are done."""

_PADDED_TOKENS = 2_048


class TokenScores(NamedTuple):
    """One text as a token head sees it: each token's probability, and its range in the text as it came."""

    scores: Floats
    ranges: list[Range]


class Scorer(Protocol):
    """A model that can be measured."""

    @property
    def title(self) -> str:
        """What to call it in a table."""
        ...

    @property
    def heads(self) -> Mapping[str, HeadInfo]:
        """Its heads by name."""
        ...

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        """Return probabilities (texts, labels) of texts cut to `max_tokens`, marks included."""
        ...

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        """Return every token's probability by a token head, without asking its gate."""
        ...

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[Range, ...]]:
        """Return the marked ranges of every text, through the gate."""
        ...


def by_length(lengths: Sequence[int], padded_tokens: int = _PADDED_TOKENS) -> list[list[int]]:
    """Cut rows into batches of like length, longest first."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > padded_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def is_pack(folder: Path) -> bool:
    """Whether a folder holds a pack rather than a checkpoint."""
    return (folder / "manifest.json").is_file() or (folder / "model.onnx").is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises TrainingError: one line."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TrainingError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TrainingError(f"{path} must hold a JSON object")
    return value


def pack_scorer(folder: Path, tick: Tick = lambda _rows: None) -> Scorer:
    """Score with the pack in `folder`, through the classifier that the service runs. Raises PackError."""
    from worker.evaluation.score_pack import PackScorer  # noqa: PLC0415 - onnxruntime starts only where it is used

    return PackScorer(folder, tick)


def checkpoint_scorer(folder: Path, tick: Tick = lambda _rows: None) -> Scorer:
    """Score with the checkpoint in `folder`, float32 throughout. Raises TrainingError where it holds none."""
    try:
        from worker.evaluation.score_checkpoint import CheckpointScorer  # noqa: PLC0415 - only this way needs torch
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"torch", "safetensors"}:
            raise
        raise TrainingError(
            f"{folder}: measuring a checkpoint needs torch: pip install 'moodstream[train]'"
        ) from None
    return CheckpointScorer(folder, tick)


def scorer_of(folder: Path, tick: Tick = lambda _rows: None) -> Scorer:
    """Return a pack's scorer where the folder holds a pack, else a checkpoint's.

    Raises:
        PackError: a damaged pack.
        TrainingError: no such folder, or neither a pack nor a checkpoint in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"there is no model at {folder}: no such folder")
    if is_pack(folder):
        return pack_scorer(folder, tick)
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds neither a pack (manifest.json) nor a checkpoint (config.json)")
    return checkpoint_scorer(folder, tick)


def gate_scores(scorer: Scorer, texts: Sequence[str], max_tokens: int, head: str) -> tuple[Floats, float]:
    """Return what the gate of a token head reads of each text, (texts,), and the threshold that opens it.

    A head without a gate is always asked.
    """
    gate = scorer.heads[head].gate
    if gate is None:
        return np.ones(len(texts)), 0.0
    column = scorer.heads[gate.head].labels.index(gate.label)
    return scorer(texts, max_tokens, gate.head)[:, column], gate.threshold
