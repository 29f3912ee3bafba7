"""From texts to probabilities: a pack as the service runs it, a checkpoint with torch.

Both give probabilities after the head's temperature, and marked characters as the service does by default.
The scorer for checkpoints is in `score_checkpoint`, since it needs torch.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from worker.errors import InferenceError, TrainingError
from worker.heads import Gate, Head, Marks
from worker.lab.evaluate.calibration import to_scores
from worker.lab.evaluate.metrics import Bools, Floats
from worker.model.classifier import Classifier
from worker.model.heads import called
from worker.model.pack import GRAPH, TOKENIZER
from worker.model.session import Session
from worker.model.tokenizer import Tokenizer, Tokens
from worker.types import Failure, Prediction, Range

Tick = Callable[[int], None]
"""Called with the number of texts that have just been scored."""

_PADDED_TOKENS = 2_048
"""The most tokens in a batch, including padding."""

_PACK_PADDED_TOKENS = 1_024
"""The same for a pack: small enough for a pass to fit into a core's cache."""


class TokenScores(NamedTuple):
    """A token head's scores of one text: each token's probability, and its range in the original text."""

    scores: Floats
    ranges: list[Range]


class Scorer(Protocol):
    """A model that can be measured."""

    @property
    def title(self) -> str:
        """Its name in tables."""
        ...

    @property
    def heads(self) -> Mapping[str, Head]:
        """Its heads by name."""
        ...

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        """Return probabilities (texts, labels) of texts cut to `max_tokens`, special tokens included."""
        ...

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        """Return every token's probability by a token head, without applying its gate."""
        ...

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[Range, ...]]:
        """Return the marked ranges of every text, as the service does by default."""
        ...


def by_length(lengths: Sequence[int], padded_tokens: int = _PADDED_TOKENS) -> list[list[int]]:
    """Divide rows into batches of similar length, longest first."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > padded_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def is_pack(folder: Path) -> bool:
    """Whether a folder holds a pack rather than a checkpoint."""
    return (folder / "manifest.json").is_file() or (folder / "model.onnx").is_file()


def pack_scorer(folder: Path, tick: Tick = lambda _rows: None) -> Scorer:
    """Score with the pack in `folder`, through the classifier that the service runs. Raises PackError."""
    return PackScorer(folder, tick)


def checkpoint_scorer(folder: Path, tick: Tick = lambda _rows: None) -> Scorer:
    """Score with the checkpoint in `folder`, all in float32. Raises TrainingError if there is none."""
    try:
        from worker.lab.evaluate.score_checkpoint import CheckpointScorer  # noqa: PLC0415 - torch
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"torch", "safetensors"}:
            raise
        raise TrainingError(
            f"{folder}: measuring a checkpoint needs torch: pip install 'moodstream[train]'"
        ) from None
    return CheckpointScorer(folder, tick)


def check_folder(folder: Path) -> None:
    """Raise TrainingError if there is no folder to measure."""
    if not folder.is_dir():
        raise TrainingError(f"there is no model at {folder}: no such folder")


def scorer_of(folder: Path, tick: Tick = lambda _rows: None) -> Scorer:
    """Return a pack's scorer if the folder holds a pack, else a checkpoint's.

    Raises:
        PackError: a damaged pack.
        TrainingError: no such folder, or neither a pack nor a checkpoint in it.
    """
    check_folder(folder)
    if is_pack(folder):
        return pack_scorer(folder, tick)
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds neither a pack (manifest.json) nor a checkpoint (config.json)")
    return checkpoint_scorer(folder, tick)


def asked(
    scorer: Scorer, texts: Sequence[str], max_tokens: int, head: str, marks: Marks = "flagged"
) -> Bools:
    """Return in which texts a token head may mark words, (texts,)."""
    gate = scorer.heads[head].gate
    if gate is None:
        return np.ones(len(texts), dtype=np.bool_)
    return asked_by(gate, scorer.heads[gate.head], scorer(texts, max_tokens, gate.head), marks)


def asked_by(gate: Gate, judge: Head, scores: Floats, marks: Marks = "flagged") -> Bools:
    """Return the same, from the probabilities (texts, labels) of the gate's head, `judge`."""
    opened = np.asarray(scores[:, judge.labels.index(gate.label)] >= gate.threshold)
    return opened if marks == "gate" else opened & called(judge, gate.label, scores)


class PackScorer:
    """Scores of one pack. Passes run in parallel, one per core.

    Texts that are longer than the pack reads at once are read as the service reads them by default, unless
    they are cut to fewer tokens than that.
    """

    def __init__(self, folder: Path, tick: Tick) -> None:
        """Verify and load the pack. Raises PackError."""
        self._model = Classifier.load(folder)
        self._tick = tick
        self._heads = {head.name: head for head in self._model.pack.outputs}

    @property
    def title(self) -> str:
        """Name and revision."""
        return f"{self._model.pack.name}@{self._model.pack.revision}"

    @property
    def heads(self) -> Mapping[str, Head]:
        """The pack's heads by name."""
        return self._heads

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        """Return probabilities (texts, labels)."""
        labels = self._heads[head].labels
        given = (prediction.heads[head].scores for prediction in self.predictions(texts, max_tokens))
        return np.array([[row[label] for label in labels] for row in given])

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[Range, ...]]:
        """Return the marked ranges of every text, as the service does by default."""
        return [prediction.spans[head].ranges for prediction in self.predictions(texts, max_tokens)]

    def predictions(self, texts: Sequence[str], max_tokens: int) -> list[Prediction]:
        """Return the pack's prediction for each text, cut to `max_tokens`."""
        rows = [_cut(tokens, max_tokens) for tokens in self._model.tokenize(texts)]
        found = self._in_windows(rows)
        whole = [row for row in range(len(rows)) if row not in found]
        batches = by_length([len(rows[row].ids) for row in whole], _PACK_PADDED_TOKENS)
        batches = [[whole[place] for place in batch] for batch in batches]
        with ThreadPoolExecutor(self._model.threads) as pool:
            answers = pool.map(lambda batch: self._model.predict([rows[row] for row in batch]), batches)
            for batch, predictions in zip(batches, answers, strict=True):
                found.update(zip(batch, predictions, strict=True))
                self._tick(len(batch))
        return [found[row] for row in range(len(texts))]

    def _in_windows(self, rows: Sequence[Tokens]) -> dict[int, Prediction]:
        """Return the predictions for the texts that are read in several windows, by their index.

        Raises:
            InferenceError: a pass failed.
        """
        found: dict[int, Prediction] = {}
        long = [index for index, row in enumerate(rows) if row.windows]
        for index, answer in zip(long, self._model.labelled([rows[index] for index in long]), strict=True):
            if isinstance(answer, Failure):
                raise InferenceError(answer.message)
            found[index] = answer
        self._tick(len(long))
        return found

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        """Return every token's probability by a token head, from a graph whose gate is always open.

        Raises:
            TrainingError: onnx, which opens the gate, is not installed.
        """
        pack, info = self._model.pack, self._heads[head]
        tokenizer = Tokenizer(pack.path / TOKENIZER, pack.max_tokens, pack.text)
        rows = [_cut(tokens, max_tokens) for tokens in tokenizer(texts)]
        found: dict[int, TokenScores] = {}
        for batch in by_length([len(row.ids) for row in rows], _PACK_PADDED_TOKENS):
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
        """A session for each token head, in which it runs on every text."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / GRAPH
            heads = self._model.pack.token_heads
            gates = sum(head.gate is not None for head in heads)
            path.write_bytes(_without_gates(self._model.pack.path / GRAPH, gates))
            return {head.name: Session(path, [head.name]) for head in heads}


def _without_gates(graph: Path, gates: int) -> bytes:
    """Return the graph with the thresholds of all its `gates` below any score. Raises TrainingError."""
    try:
        import onnx  # noqa: PLC0415 - of an extra
        from onnx import numpy_helper  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError:
        raise TrainingError(
            "measuring a pack that marks tokens needs: pip install 'moodstream[import]'"
        ) from None
    model, opened = onnx.load(graph), 0
    always = "threshold_below_any_score"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(-1.0, np.float32), always))
    for node in model.graph.node:
        if node.op_type == "GreaterOrEqual":  # the converter writes exactly one for each gate
            node.input[1] = always
            opened += 1
    if opened != gates:
        raise TrainingError(f"{graph}: found {opened} of {gates} gates: it was not written by this converter")
    return bytes(model.SerializeToString())


def _cut(tokens: Tokens, longest: int) -> Tokens:
    """Cut a row to its first tokens and the special token at its end."""
    if len(tokens.ids) <= longest:
        return tokens
    return tokens._replace(ids=[*tokens.ids[: longest - 1], tokens.ids[-1]], truncated=True, windows=())
