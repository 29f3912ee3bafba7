"""A pack made ready: texts to tokens, tokens to predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from worker.classify.errors import InferenceError, PackError
from worker.classify.pack import GRAPH, TOKENIZER, Pack, bundled_pack, load_pack
from worker.classify.session import Session
from worker.classify.tokenizer import Tokenizer, Tokens
from worker.types import Prediction


class Model:
    """One pack in memory.

    Threads: `tokenize` and `predict` share nothing, so one thread may tokenise while another predicts. Each
    of the two takes one caller at a time: neither the tokenizer nor the session is shared between threads.
    """

    def __init__(self, pack: Pack, tokenizer: Tokenizer, session: Session) -> None:
        self.pack = pack
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def load(cls, path: Path | None = None, threads: int = 0) -> Self:
        """Verify and load the pack at `path`, or the bundled one; `threads` 0 takes what the machine grants.

        Raises:
            PackError: the pack is missing, damaged, or does not fit together.
        """
        pack = load_pack(path or bundled_pack())
        tokenizer = Tokenizer(pack.path / TOKENIZER, pack.max_tokens)
        if tokenizer.vocab_size > pack.vocab_size:
            raise PackError(
                f"{pack.path / TOKENIZER} has {tokenizer.vocab_size} tokens, the model knows {pack.vocab_size}"
            )
        session = Session(pack.path / GRAPH, [head.name for head in pack.heads], threads)
        return cls(pack, tokenizer, session)

    @property
    def threads(self) -> int:
        """How many threads one forward pass uses."""
        return self._session.threads

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts, each cut to `pack.max_tokens`; the result has their length and order."""
        return self._tokenizer(texts)

    def predict(self, batch: Sequence[Tokens]) -> list[Prediction]:
        """Run one forward pass over exactly these rows, padded to the longest; one prediction a row, in order.

        A row's scores do not depend on the rows beside it.

        Raises:
            InferenceError: the pass failed, or gave a result that is no number. Nothing of the batch counts then.
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
