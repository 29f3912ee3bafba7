"""Scoring with a checkpoint, in float32 with torch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from worker.errors import CheckpointError, PackError, TrainingError
from worker.heads import Head
from worker.lab.checkpoint import read_checkpoint
from worker.lab.data.tokens import pad
from worker.lab.evaluate.calibration import to_scores
from worker.lab.evaluate.metrics import Floats
from worker.lab.evaluate.score import Tick, TokenScores, asked, by_length
from worker.lab.evaluate.spans import marked_ranges
from worker.lab.network import network_of
from worker.lab.texts import Row, TextReader
from worker.types import Range


class CheckpointScorer:
    """Scores of one checkpoint folder: ours with several heads, or one of transformers with one head."""

    def __init__(self, folder: Path, tick: Tick) -> None:
        """Load the checkpoint. Raises TrainingError if there is none, or it is of another kind."""
        try:
            checkpoint = read_checkpoint(folder)
        except (CheckpointError, PackError) as error:
            raise TrainingError(str(error)) from error
        self.title = checkpoint.title
        self.heads: Mapping[str, Head] = checkpoint.heads
        self._tick = tick
        self._reader = TextReader(checkpoint)
        self._network = network_of(checkpoint)

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        """Return probabilities (texts, labels)."""
        info = self.heads[head]
        logits = np.zeros((len(texts), len(info.labels)))
        for rows, padded, mask in self._batches(self._reader(texts, max_tokens)):
            logits[rows] = self._network.text_head(head)(self._network(padded, mask)).double().numpy()
        return to_scores(logits, info.temperature, multi_label=info.multi_label)

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        """Return every token's probability by a token head, and its word's range in the original text."""
        info = self.heads[head]
        read = self._reader(texts, max_tokens)
        found: dict[int, TokenScores] = {}
        for rows, padded, mask in self._batches(read):
            logits = self._network.marks(head, padded, mask)
            scores = to_scores(logits.double().numpy(), info.temperature, multi_label=True)
            for place, row in enumerate(rows):
                found[row] = TokenScores(scores[place, : len(read[row].ids)], read[row].word_ranges)
        return [found[row] for row in range(len(texts))]

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[Range, ...]]:
        """Return the marked ranges of every text, as the service does by default."""
        info = self.heads[head]
        may = asked(self, texts, max_tokens, head)
        return [
            marked_ranges(text, each.ranges, each.scores, info.thresholds[0], info.relative) if ask else ()
            for text, each, ask in zip(texts, self.tokens(texts, max_tokens, head), may, strict=True)
        ]

    def _batches(self, read: Sequence[Row]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor | None]]:
        """Yield batches of similar length with their padded ids and mask, in inference mode."""
        with torch.inference_mode():
            for rows in by_length([len(row.ids) for row in read]):
                padded, mask = pad([read[row].ids for row in rows])
                yield rows, torch.from_numpy(padded), None if mask is None else torch.from_numpy(mask)
                self._tick(len(rows))
