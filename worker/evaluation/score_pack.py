"""A pack's scores, through the classifier that the service runs."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from worker.classify import Model, Tokens
from worker.classify.pack import CONFIG
from worker.evaluation.heads import HeadInfo, read_heads
from worker.evaluation.metrics import Floats
from worker.evaluation.score import Tick, TokenScores, by_length, read_json
from worker.evaluation.spans import Range
from worker.training.errors import TrainingError
from worker.types import Prediction

_PADDED_TOKENS = 1_024  # small enough that each pass finds room in a core's own cache


class PackScorer:
    """Scores of one pack. Passes run side by side, one a core."""

    def __init__(self, folder: Path, tick: Tick) -> None:
        """Verify and load the pack. Raises PackError."""
        self._model = Model.load(folder)
        self._tick = tick
        self._heads = read_heads(read_json(folder / CONFIG), str(folder / CONFIG))

    @property
    def title(self) -> str:
        """Name and revision."""
        return f"{self._model.pack.name}@{self._model.pack.revision}"

    @property
    def heads(self) -> Mapping[str, HeadInfo]:
        """The pack's heads by name."""
        return self._heads

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        """Return probabilities (texts, labels)."""
        labels = self._heads[head].labels
        given = (prediction.heads[head].scores for prediction in self.predictions(texts, max_tokens))
        return np.array([[row[label] for label in labels] for row in given])

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:  # noqa: ARG002 - until packs have token heads
        """Return every token's probability by a token head."""
        raise TrainingError(f"{self.title}: token heads of packs are not measured yet")

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[list[Range]]:  # noqa: ARG002 - as above
        """Return the marked ranges of every text, through the gate."""
        raise TrainingError(f"{self.title}: token heads of packs are not measured yet")

    def predictions(self, texts: Sequence[str], max_tokens: int) -> list[Prediction]:
        """Return what the pack says of each text, cut to `max_tokens`."""
        rows = [_cut(tokens, max_tokens) for tokens in self._model.tokenize(texts)]
        batches = by_length([len(row.ids) for row in rows], _PADDED_TOKENS)
        found: dict[int, Prediction] = {}
        with ThreadPoolExecutor(self._model.threads) as pool:
            answers = pool.map(lambda batch: self._model.predict([rows[row] for row in batch]), batches)
            for batch, predictions in zip(batches, answers, strict=True):
                found.update(zip(batch, predictions, strict=True))
                self._tick(len(batch))
        return [found[row] for row in range(len(texts))]


def _cut(tokens: Tokens, longest: int) -> Tokens:
    """Cut a row to its first tokens and the mark at its end."""
    if len(tokens.ids) <= longest:
        return tokens
    return tokens._replace(ids=[*tokens.ids[: longest - 1], tokens.ids[-1]], truncated=True)
