"""A pack made ready: texts to tokens, tokens to predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from worker.classify.cores import available_threads
from worker.classify.errors import InferenceError, PackError
from worker.classify.pack import GRAPH, TOKENIZER, Pack, bundled_pack, load_pack
from worker.classify.session import Session
from worker.classify.tokenizer import Tokenizer, Tokens
from worker.types import Prediction


class Model:
    """One pack in memory.

    Threads: `predict` may be called from several threads at the same time, on different micro-batches, and
    each call keeps to its own thread: `threads` says how many at once make use of the machine. `tokenize`
    takes one caller at a time, which need not be one that predicts.
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
        tokenizer = Tokenizer(pack.path / TOKENIZER, pack.max_tokens)
        if tokenizer.vocab_size > pack.vocab_size:
            raise PackError(
                f"{pack.path / TOKENIZER} has {tokenizer.vocab_size} tokens, "
                f"the model knows {pack.vocab_size}"
            )
        session = Session(pack.path / GRAPH, [head.name for head in pack.heads])
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
        logits = self._session.run([row.ids for row in batch])
        columns = [head.results(values) for head, values in zip(self.pack.heads, logits, strict=True)]
        names = [head.name for head in self.pack.heads]
        return [
            Prediction(dict(zip(names, results, strict=True)), len(row.ids), row.truncated)
            for row, *results in zip(batch, *columns, strict=True)
        ]
