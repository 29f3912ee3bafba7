"""Teachers: packs through onnxruntime, checkpoint folders through torch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from worker.errors import TrainingError
from worker.lab.checkpoint import Checkpoint, read_checkpoint, specs
from worker.lab.data.tokens import pad
from worker.lab.device import best_precision
from worker.lab.evaluate.calibration import to_scores
from worker.lab.evaluate.heads import HeadInfo
from worker.lab.evaluate.score import PackScorer, TokenScores, by_length, is_pack
from worker.lab.network import Network
from worker.lab.soft import files_digest
from worker.lab.texts import TextReader

ASKED = 0.5
"""A token head is asked where its gate's score reaches this share of the gate's threshold: a student's gate
may open a little earlier than its teacher's, and not on ordinary texts."""


@dataclass(slots=True)
class Answers:
    """What a teacher says of some texts, as probabilities after its heads' temperatures."""

    scores: dict[str, NDArray[np.float32]]
    """(texts, labels) of each head that judges whole texts."""
    tokens: dict[str, dict[int, TokenScores]] = field(default_factory=dict)
    """Every token's probability by token head and number of the text; only for texts that it is asked of."""
    first: NDArray[np.float16] | None = None
    """The first token's last hidden state, (texts, dim), where the teacher shows it."""


class Teacher(Protocol):
    """A model that is learnt from."""

    @property
    def title(self) -> str:
        """What to call it."""
        ...

    @property
    def folder(self) -> Path:
        """Where it stands."""
        ...

    @property
    def identity(self) -> str:
        """A digest of everything that its answers depend on."""
        ...

    @property
    def heads(self) -> Mapping[str, HeadInfo]:
        """Its heads by name."""
        ...

    @property
    def dim(self) -> int | None:
        """The width of the hidden states that it shows, None where it shows none."""
        ...

    def answers(self, texts: Sequence[str], max_tokens: int) -> Answers:
        """Judge texts, cut to `max_tokens` (marks included)."""
        ...


def teacher_at(folder: Path) -> Teacher:
    """Return the teacher in a folder. Raises TrainingError, PackError or CheckpointError."""
    if not folder.is_dir():
        raise TrainingError(f"there is no teacher at {folder}: no such folder")
    return PackTeacher(folder) if is_pack(folder) else CheckpointTeacher(folder)


class PackTeacher:
    """A pack, as the service runs it: int8 on every core."""

    dim: int | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scorer = PackScorer(folder, lambda _rows: None)
        self.title = self._scorer.title
        self.identity = "pack-" + _digest(folder)

    @property
    def heads(self) -> Mapping[str, HeadInfo]:
        """Its heads by name."""
        return self._scorer.heads

    def answers(self, texts: Sequence[str], max_tokens: int) -> Answers:
        """Judge texts."""
        given = self._scorer.predictions(texts, max_tokens)
        found = Answers({})
        for name, head in self.heads.items():
            if not head.by_token:
                rows = [[row.heads[name].scores[label] for label in head.labels] for row in given]
                found.scores[name] = np.array(rows, np.float32)
        for name, head in self.heads.items():
            if head.by_token:
                asked = asked_of(head, self.heads, found.scores, len(texts))
                told = self._scorer.tokens([texts[row] for row in asked], max_tokens, name) if asked else []
                found.tokens[name] = dict(zip(asked, told, strict=True))
        return found


class CheckpointTeacher:
    """A checkpoint folder through our trunk: all heads of a batch in one pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checkpoint = read_checkpoint(folder)
        self.title = f"{folder.parent.name}/{folder.name}" if folder.name == "checkpoint" else folder.name
        self.identity = "checkpoint-" + _digest(folder)
        self.heads = self._checkpoint.heads
        self.dim: int | None = self._checkpoint.sizes.dim
        self.network = network_of(self._checkpoint)
        self._reader = TextReader(self._checkpoint)
        self._bf16 = best_precision() == "bf16"

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights as they were read."""
        return self._checkpoint

    def answers(self, texts: Sequence[str], max_tokens: int) -> Answers:
        """Judge texts: bfloat16 products where this processor is quicker with them."""
        rows = self._reader(texts, max_tokens)
        found = Answers(
            {
                name: np.zeros((len(texts), len(head.labels)), np.float32)
                for name, head in self.heads.items()
                if not head.by_token
            },
            {name: {} for name, head in self.heads.items() if head.by_token},
            np.zeros((len(texts), self.dim or 0), np.float16),
        )
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            for batch in by_length([len(row.ids) for row in rows]):
                self._batch(batch, rows, found)
        return found

    def _batch(self, batch: list[int], rows: Sequence[Any], found: Answers) -> None:
        """Judge one batch of texts, whose numbers `batch` holds."""
        padded, mask = pad([rows[row].ids for row in batch])
        real = None if mask is None else torch.from_numpy(mask)
        states, first = self.network.distilbert.states_and_first(torch.from_numpy(padded), real)
        if found.first is not None:
            found.first[batch] = first.float().numpy()
        for name, scores in found.scores.items():
            logits = self.network.heads[name](first).double().numpy()
            head = self.heads[name]
            scores[batch] = to_scores(logits, head.temperature, multi_label=head.multi_label)
        for name, told in found.tokens.items():
            head = self.heads[name]
            here = {key: scores[batch] for key, scores in found.scores.items()}
            for place in asked_of(head, self.heads, here, len(batch)):
                row = batch[place]
                length = len(rows[row].ids)
                read = [state[place : place + 1, :length] for state in states]
                logits = self.network.heads[name](read, None)[0].double().numpy()
                told[row] = TokenScores(
                    to_scores(logits, head.temperature, multi_label=True), rows[row].ranges
                )


def asked_of(
    head: HeadInfo, heads: Mapping[str, HeadInfo], scores: Mapping[str, NDArray[np.float32]], count: int
) -> list[int]:
    """Return the numbers of the texts that a token head is asked of: see ASKED. All where it has no gate."""
    if head.gate is None:
        return list(range(count))
    column = heads[head.gate.head].labels.index(head.gate.label)
    reached = scores[head.gate.head][:, column] >= ASKED * head.gate.threshold
    return [int(row) for row in np.flatnonzero(reached)]


def network_of(checkpoint: Checkpoint) -> Network:
    """Return the network with a checkpoint's weights, in evaluation mode. Raises TrainingError."""
    if checkpoint.sizes.activation != "gelu":
        raise TrainingError(
            f"{checkpoint.title}: only gelu is trained here, not {checkpoint.sizes.activation}"
        )
    network = Network(dict(checkpoint.config), specs(checkpoint.heads))
    network.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in checkpoint.tensors.items()}
    )
    network.eval()
    return network


def _digest(folder: Path) -> str:
    return hashlib.sha256(files_digest(folder)).hexdigest()[:16]
