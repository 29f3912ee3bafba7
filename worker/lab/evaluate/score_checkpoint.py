"""A checkpoint's scores, through torch in float32."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from worker.errors import CheckpointError, TrainingError
from worker.heads import Head, heads_table, read_heads
from worker.lab.convert.architecture import only_head, read_architecture, read_checkpoint_heads
from worker.lab.convert.tokenizer_files import write_tokenizer
from worker.lab.convert.weights import open_weights
from worker.lab.data.tokens import encode, pad
from worker.lab.evaluate.calibration import to_scores
from worker.lab.evaluate.metrics import Floats
from worker.lab.evaluate.score import Tick, TokenScores, by_length, gate_scores, read_json
from worker.lab.evaluate.spans import marked_ranges
from worker.lab.network import Network
from worker.model.pack import read_text
from worker.model.spans import whole_words
from worker.model.tokenizer import Tokenizer
from worker.types import Range


class CheckpointScorer:
    """Scores of one checkpoint folder: ours with many heads, or transformers' with one."""

    def __init__(self, folder: Path, tick: Tick) -> None:
        """Load it. Raises TrainingError or PackError: no checkpoint, or one of another kind."""
        path = folder / "config.json"
        config, lone_head = _with_heads(read_json(path), path)
        self.title = folder.name
        self.heads: Mapping[str, Head] = {head.name: head for head in read_heads(config, path)}
        self._tick = tick
        self._room = tempfile.TemporaryDirectory()  # lives as long as this, and is gone with it
        self._tokenizer = Path(self._room.name) / "tokenizer.json"
        _write_tokenizer(folder, self._tokenizer)
        self._longest = int(config.get("max_position_embeddings", 512))
        self._handling = read_text(config, path)
        self._network = _network(folder, config, self.heads, lone_head)

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> Floats:
        """Return probabilities (texts, labels)."""
        info = self.heads[head]
        ids = encode(self._tokenizer, texts, min(max_tokens, self._longest), self._handling)
        logits = np.zeros((len(texts), len(info.labels)))
        for rows, padded, mask in self._batches(ids):
            logits[rows] = self._network.heads[head](self._network(padded, mask)).double().numpy()
        return to_scores(logits, info.temperature, multi_label=info.multi_label)

    def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> list[TokenScores]:
        """Return every token's probability by a token head, and its characters in the text as it came."""
        info = self.heads[head]
        encoded = self._with_ranges(texts, min(max_tokens, self._longest))
        found: dict[int, TokenScores] = {}
        for rows, padded, mask in self._batches([ids for ids, _ in encoded]):
            logits = self._network.marks(head, padded, mask)
            scores = to_scores(logits.double().numpy(), info.temperature, multi_label=True)
            for place, row in enumerate(rows):
                ranges = encoded[row][1]
                found[row] = TokenScores(scores[place, : len(ranges)], ranges)
        return [found[row] for row in range(len(texts))]

    def ranges(self, texts: Sequence[str], max_tokens: int, head: str) -> list[tuple[Range, ...]]:
        """Return the marked ranges of every text, through the gate."""
        info = self.heads[head]
        gate, opens = gate_scores(self, texts, max_tokens, head)
        return [
            marked_ranges(text, each.ranges, each.scores, info.thresholds[0], info.relative)
            if score >= opens
            else ()
            for text, each, score in zip(texts, self.tokens(texts, max_tokens, head), gate, strict=True)
        ]

    def _batches(
        self, ids: Sequence[NDArray[np.int32]]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor | None]]:
        """Yield rows of like length with their padded ids and mask, in inference mode."""
        with torch.inference_mode():
            for rows in by_length([len(row) for row in ids]):
                padded, mask = pad([ids[row] for row in rows])
                yield rows, torch.from_numpy(padded), None if mask is None else torch.from_numpy(mask)
                self._tick(len(rows))

    def _with_ranges(
        self, texts: Sequence[str], max_tokens: int
    ) -> list[tuple[NDArray[np.int32], list[Range]]]:
        """Return every text's ids, and for each token its word's range of characters (empty for a mark)."""
        reader = Tokenizer(self._tokenizer, max_tokens, self._handling)
        rows = []
        for text in texts:
            found = reader.places(text)
            words = whole_words(text, found.ranges, found.words)
            rows.append((np.asarray(found.ids, dtype=np.int32), words))
        return rows


def _write_tokenizer(folder: Path, target: Path) -> None:
    """Write the checkpoint's tokenizer, which may be a vocabulary alone. Raises TrainingError."""
    try:
        write_tokenizer(folder, target)
    except CheckpointError as error:
        raise TrainingError(str(error)) from error


def _with_heads(config: dict[str, Any], path: Path) -> tuple[dict[str, Any], str]:
    """Return the configuration with sizes and `heads`, and the head whose tensors have no prefix, or ""."""
    try:
        sizes = read_architecture(config, path)
        heads = read_checkpoint_heads(config, path)
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    if sizes.activation != "gelu":
        raise TrainingError(f"{path}: only gelu is measured here, not {sizes.activation}")
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "head_dim", "vocab_size", "max_position_embeddings")
    whole = {**config, **{name: getattr(sizes, name) for name in names}, "heads": heads_table(heads)}
    return whole, only_head(config, heads)


def _network(folder: Path, config: dict[str, Any], heads: Mapping[str, Head], lone_head: str) -> Network:
    """Build the network and load the weights, under transformers' names or ours."""
    network = Network(config, list(heads.values()))
    try:
        with open_weights(folder, lone_head) as weights:
            state = network.state_dict()
            wanted = {name: torch.from_numpy(weights.get(name, *state[name].shape)) for name in state}
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    network.load_state_dict(wanted)
    network.eval()
    return network
