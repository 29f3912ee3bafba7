"""A pack made ready: texts to tokens, tokens to predictions."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from worker.errors import InferenceError, PackError
from worker.model.cpu import available_threads
from worker.model.pack import GRAPH, TOKENIZER, Pack, bundled_pack, load_pack
from worker.model.session import Session
from worker.model.spans import ROWS, TokenHead, joined
from worker.model.tokenizer import Tokenizer, Tokens
from worker.types import Prediction, SpanResult

_UNREAD = SpanResult()


class Model:
    """One pack in memory.

    Threads: `predict` may be called from several threads at the same time, on different micro-batches, and
    each call keeps to its own thread: `threads` says how many at once make use of the machine. `tokenize`
    may run beside them.
    """

    def __init__(self, pack: Pack, tokenizer: Tokenizer, session: Session, threads: int) -> None:
        self.pack = pack
        self.threads = threads
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def load(cls, path: Path | None = None, threads: int = 0) -> Self:
        """Verify and load the pack at `path`, or the bundled one.

        `threads` is how many calls of `predict` are meant to run side by side; 0 takes one for each core
        that the machine or its cgroup grants.

        Raises:
            PackError: the pack is missing, damaged, or does not fit together.
        """
        pack = load_pack(path or bundled_pack())
        tokenizer = Tokenizer(pack.path / TOKENIZER, pack.max_tokens, pack.text)
        if tokenizer.vocab_size > pack.vocab_size:
            raise PackError(
                f"{pack.path / TOKENIZER} has {tokenizer.vocab_size} tokens, "
                f"the model knows {pack.vocab_size}"
            )
        marking = [name for head in pack.token_heads for name in (head.name + ROWS, head.name)]
        session = Session(pack.path / GRAPH, [head.name for head in pack.heads], marking)
        return cls(pack, tokenizer, session, threads or available_threads())

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts, each cut to `pack.max_tokens`; the result has their length and order."""
        return self._tokenizer(texts)

    def predict(self, batch: Sequence[Tokens]) -> list[Prediction]:
        """Run one forward pass over exactly these rows, padded to the longest.

        Returns one prediction a row, in order. A row's scores do not depend on the rows beside it.

        Raises:
            InferenceError: the pass failed, or gave a result that is no number. The batch has no result then.
        """
        if not batch:
            return []
        if not all(row.ids for row in batch):
            raise InferenceError("a row of the batch has no tokens")
        outputs = self._session.run([row.ids for row in batch])
        marking = outputs[len(self.pack.heads) :]
        columns = [head.results(values) for head, values in zip(self.pack.heads, outputs, strict=False)]
        names = [head.name for head in self.pack.heads]
        spans: list[dict[str, SpanResult]] = [{} for _ in batch]
        for head, rows, logits in zip(self.pack.token_heads, marking[::2], marking[1::2], strict=True):
            for found, result in zip(spans, self._spans(head, batch, rows, logits), strict=True):
                found[head.name] = result
        return [
            Prediction(dict(zip(names, results, strict=True)), len(row.ids), row.truncated, found)
            for row, found, *results in zip(batch, spans, *columns, strict=True)
        ]

    def _spans(
        self, head: TokenHead, batch: Sequence[Tokens], rows: NDArray[Any], logits: NDArray[Any]
    ) -> list[SpanResult]:
        """Return what one token head marks in each text; places are looked up only where it marks any."""
        results = [_UNREAD] * len(batch)
        for row, marks in head.marked(rows, logits, [len(tokens.ids) for tokens in batch]).items():
            ranges = self._tokenizer.ranges(batch[row]) if marks.any() else ()
            results[row] = SpanResult(joined(batch[row].text, compress(ranges, marks)), read=True)
        return results
