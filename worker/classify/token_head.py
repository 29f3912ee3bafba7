"""The heads of a pack that mark tokens, and the gate that keeps them from most texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.classify.errors import InferenceError
from worker.classify.heads import sigmoid

ROWS = ".rows"
"""The graph's second output for a token head is called like the head with this behind it."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Opens for the texts to which the head `head` gives the label `label` at least `threshold` (0 to 1)."""

    head: str
    label: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Branch:
    """Transformer layers of a token head's own, `layers` of them, on what the trunk's layer `after` gave.

    A tree of tasks that share the lower layers (Vandenhende et al. 2020, arXiv:1904.02920): what a task
    cannot learn beside the others it learns in layers that run for the texts alone that its gate lets
    through. `after` 0 are the embeddings. `n_heads` and `hidden_dim` are the trunk's where they are 0.
    """

    after: int
    layers: int
    n_heads: int = 0
    hidden_dim: int = 0


def reaching(scores: NDArray[np.float64], threshold: float, relative: float) -> NDArray[np.bool_]:
    """Return which tokens of a text are marked, from their probabilities (tokens,).

    Without `relative`: those of at least `threshold`. With it: where the strongest reaches `threshold`, those
    that reach this share of the strongest. Where F1 is the aim, the best threshold of a text is half of the
    F1 that can be had in it (Lipton et al. 2014, arXiv:1402.1892), so it lies lower where all is less sure.
    """
    strongest = scores.max(initial=0.0)
    least = relative * strongest if relative else threshold
    return np.asarray((scores >= least) & (strongest >= threshold))


@dataclass(frozen=True, slots=True)
class TokenHead:
    """A head that marks tokens, from hidden states at several depths (Palomino et al. 2021, HLE-UPC).

    `layers` are the transformer layers whose outputs it reads side by side, 1 being the first; with a
    `branch` the trunk's count up to `branch.after`, and the branch's go on from there. `threshold` and
    `relative` say which tokens are marked: see `reaching`. Without a `gate` it reads every text.

    The graph gives two outputs for it: `<name>.rows`, the numbers of the texts in the batch that it read,
    int64 (read), and `<name>`, their tokens' logits, float32 (read, longest), padding included.
    """

    name: str
    labels: tuple[str, ...]
    layers: tuple[int, ...]
    threshold: float
    temperature: float = 1.0
    gate: Gate | None = None
    branch: Branch | None = None
    relative: float = 0.0
    problem_type: Literal["token_classification"] = "token_classification"

    def marked(
        self, rows: NDArray[np.int64], logits: NDArray[np.float32], lengths: Sequence[int]
    ) -> dict[int, NDArray[np.bool_]]:
        """Return, for each text of the batch that was read, whether each of its tokens is marked.

        `lengths` counts the tokens of each text in the batch; the first and the last of them are no part of
        the text and never marked.

        Raises:
            InferenceError: the outputs do not belong to such a batch, or a logit is not finite.
        """
        if logits.shape != (len(rows), max(lengths)) or not ((rows >= 0) & (rows < len(lengths))).all():
            raise InferenceError(f"head {self.name}: results of shape {logits.shape} for {len(rows)} texts")
        found = {}
        for row, values in zip(rows.tolist(), logits.astype(np.float64), strict=True):
            own = values[: lengths[row]]
            if not np.isfinite(own).all():
                raise InferenceError(f"head {self.name}: the model gave a logit that is not finite")
            marks = np.zeros(len(own), dtype=np.bool_)
            marks[1:-1] = reaching(sigmoid(own[1:-1] / self.temperature), self.threshold, self.relative)
            found[row] = marks
        return found
