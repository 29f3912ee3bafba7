"""A pack's scores, through the classifier that the service runs."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from worker.classify import Model, Tokens
from worker.classify.pack import GRAPH, TOKENIZER
from worker.classify.session import Session
from worker.classify.tokenizer import Tokenizer
from worker.evaluation.calibration import to_scores
from worker.evaluation.heads import HeadInfo, head_info
from worker.evaluation.metrics import Floats
from worker.evaluation.score import Tick, TokenScores, by_length
from worker.training.errors import TrainingError
from worker.types import Prediction, Range

_PADDED_TOKENS = 1_024  # small enough that each pass finds room in a core's own cache


class PackScorer:
    """Scores of one pack. Passes run side by side, one a core."""

    def __init__(self, folder: Path, tick: Tick) -> None:
        """Verify and load the pack. Raises PackError."""
        self._model = Model.load(folder)
        self._tick = tick
        self._heads = {head.name: head_info(head) for head in self._model.pack.outputs}

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

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[Range, ...]]:
        """Return the marked ranges of every text, through the gate."""
        return [prediction.spans[head].ranges for prediction in self.predictions(texts, max_tokens)]

    def predictions(self, texts: Sequence[str], max_tokens: int) -> list[Prediction]:
        """Return what the pack says of each text, cut to `max_tokens`."""
        rows = [_cut(tokens, max_tokens) for tokens in self._model.tokenize(texts)]
        found: dict[int, Prediction] = {}
        batches = by_length([len(row.ids) for row in rows], _PADDED_TOKENS)
        with ThreadPoolExecutor(self._model.threads) as pool:
            answers = pool.map(lambda batch: self._model.predict([rows[row] for row in batch]), batches)
            for batch, predictions in zip(batches, answers, strict=True):
                found.update(zip(batch, predictions, strict=True))
                self._tick(len(batch))
        return [found[row] for row in range(len(texts))]

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        """Return every token's probability by a token head, in a graph whose gate stands open.

        Raises:
            TrainingError: onnx, which opens the gate, is not installed.
        """
        pack, info = self._model.pack, self._heads[head]
        tokenizer = Tokenizer(pack.path / TOKENIZER, pack.max_tokens, pack.text)
        rows = [_cut(tokens, max_tokens) for tokens in tokenizer(texts)]
        found: dict[int, TokenScores] = {}
        for batch in by_length([len(row.ids) for row in rows], _PADDED_TOKENS):
            (logits,) = self._open[head].run([rows[row].ids for row in batch])
            for place, row in enumerate(batch):
                scores = to_scores(
                    logits[place, : len(rows[row].ids)].astype(np.float64), info.temperature, multi_label=True
                )
                found[row] = TokenScores(scores, tokenizer.ranges(rows[row]))
            self._tick(len(batch))
        return [found[row] for row in range(len(texts))]

    @cached_property
    def _open(self) -> dict[str, Session]:
        """A session for each token head, which asks it of every text."""
        with tempfile.TemporaryDirectory() as room:
            path = Path(room) / GRAPH
            heads = self._model.pack.token_heads
            gates = sum(head.gate is not None for head in heads)
            path.write_bytes(_without_gates(self._model.pack.path / GRAPH, gates))
            return {head.name: Session(path, [head.name]) for head in heads}


def _without_gates(graph: Path, gates: int) -> bytes:
    """Return the graph with the threshold of each of its `gates` below any score. Raises TrainingError."""
    try:
        import onnx  # noqa: PLC0415 - an extra, and only packs with token heads need it here
        from onnx import numpy_helper  # noqa: PLC0415 - beside it
    except ModuleNotFoundError:
        raise TrainingError(
            "measuring a pack that marks tokens needs: pip install 'moodstream[import]'"
        ) from None
    model, opened = onnx.load(graph), 0
    always = "threshold_below_any_score"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(-1.0, np.float32), always))
    for node in model.graph.node:
        if node.op_type == "GreaterOrEqual":  # the converter writes one for each gate, and no other
            node.input[1] = always
            opened += 1
    if opened != gates:
        raise TrainingError(f"{graph}: found {opened} gates of {gates}: it was not written by this converter")
    return bytes(model.SerializeToString())


def _cut(tokens: Tokens, longest: int) -> Tokens:
    """Cut a row to its first tokens and the mark at its end."""
    if len(tokens.ids) <= longest:
        return tokens
    return tokens._replace(ids=[*tokens.ids[: longest - 1], tokens.ids[-1]], truncated=True)
