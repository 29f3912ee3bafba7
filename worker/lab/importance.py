"""The importance of each attention head and feed-forward column: how much the loss depends on it.

First-order Taylor importance: each head's output and each column is multiplied by a factor of 1. The gradient
of a text's loss with respect to that factor is, to first order, how much the loss would change if the factor
became 0. Its magnitude, summed over texts, is the importance (Michel et al. 2019, arXiv:1905.10650, equation
2; Molchanov et al. 2019, arXiv:1906.10771). Texts need no labels: the model's own decisions take their place.
Its own probabilities could not, since the loss against them is at its minimum and has a gradient of 0.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from worker.heads import Head
from worker.lab.checkpoint import Checkpoint
from worker.lab.data.tokens import Ids, pad
from worker.lab.evaluate.calibration import to_scores
from worker.lab.evaluate.score import by_length
from worker.lab.network import Network, network_of
from worker.lab.prune import Floats, Importance
from worker.lab.teachers import asked_of
from worker.lab.texts import TextReader

_PADDED_TOKENS = 1_024


class Factors:
    """Factors of 1 on heads and columns, separate for each text, so that gradients do not cancel out."""

    def __init__(self, network: Network, heads: int) -> None:
        """Insert the factors before the two products that read heads and columns."""
        self.heads: list[torch.Tensor] = []
        self.columns: list[torch.Tensor] = []
        self._removals = []
        for layer in network.distilbert.transformer.layers:
            for linear, kept, groups in (
                (layer.attention.out_lin, self.heads, heads),
                (layer.ffn.lin2, self.columns, None),
            ):
                hook = linear.register_forward_pre_hook(_multiplied(kept, groups))
                self._removals.append(hook)

    def remove(self) -> None:
        """Remove the factors from the network."""
        for removal in self._removals:
            removal.remove()

    def take(self) -> tuple[Floats, Floats]:
        """Return and reset the last pass's summed magnitudes (layers, heads) and (layers, columns)."""
        found = _magnitudes(self.heads), _magnitudes(self.columns)
        self.heads.clear()
        self.columns.clear()
        return found


def _magnitudes(factors: Sequence[torch.Tensor]) -> Floats:
    """Return the gradients' magnitudes summed over texts, (layers, factors)."""
    gradients = [factor.grad for factor in factors if factor.grad is not None]
    return np.stack([gradient.abs().sum(dim=0).double().numpy() for gradient in gradients])


def _multiplied(
    kept: list[torch.Tensor], groups: int | None
) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], tuple[torch.Tensor]]:
    """Return a hook that multiplies a product's input (texts, length, features) and stores the factor."""

    def hook(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        (rows,) = inputs
        count = rows.shape[-1] if groups is None else groups
        factor = torch.ones(rows.shape[0], count, requires_grad=True)
        kept.append(factor)
        spread = factor.repeat_interleave(rows.shape[-1] // count, dim=1)
        return (rows * spread[:, None, :],)

    return hook


def importance_of(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    max_tokens: int = 128,
) -> Importance:
    """Return every head's and column's importance, summed over texts; the model's decisions are the labels.

    All classification heads count equally: the loss is the sum of theirs, a token head's only where its gate
    opens.
    """
    sizes, heads = checkpoint.sizes, checkpoint.heads
    network = network_of(checkpoint)
    for weight in network.parameters():
        weight.requires_grad_(False)
    factors = Factors(network, sizes.n_heads)
    heads_total = np.zeros((sizes.n_layers, sizes.n_heads))
    columns_total = np.zeros((sizes.n_layers, sizes.hidden_dim))
    ids = [row.ids for row in TextReader(checkpoint)(texts, max_tokens)]
    for batch in by_length([len(row) for row in ids], _PADDED_TOKENS):
        _own_loss(network, heads, [ids[row] for row in batch]).backward()
        found = factors.take()
        heads_total += found[0]
        columns_total += found[1]
    factors.remove()
    return Importance(heads_total, columns_total)


def _own_loss(network: Network, heads: dict[str, Head], rows: Sequence[Ids]) -> torch.Tensor:
    """Return the loss of a batch against the model's own decisions, summed over texts and heads."""
    padded, mask = pad(rows)
    real = None if mask is None else torch.from_numpy(mask)
    states, first = network.distilbert.states_and_first(torch.from_numpy(padded), real)
    total, scores = torch.zeros(()), {}
    for name, head in heads.items():
        if not head.by_token:
            logits = network.heads[name](first)
            total = total + _decided(logits, head)
            given = logits.detach().double().numpy()
            scores[name] = to_scores(given, head.temperature, multi_label=head.multi_label).astype(np.float32)
    for name, head in heads.items():
        for place in asked_of(head, heads, scores, len(rows)) if head.by_token else ():
            length = len(rows[place])
            logits = network.heads[name]([state[place : place + 1, :length] for state in states], None)[0]
            marked = (torch.sigmoid(logits / head.temperature) >= head.thresholds[0]).float()
            total = total + functional.binary_cross_entropy_with_logits(logits, marked)
    return total


def _decided(logits: torch.Tensor, head: Head) -> torch.Tensor:
    """Return the loss of these logits against their own decisions."""
    if not head.multi_label:
        return functional.cross_entropy(logits, logits.detach().argmax(dim=1), reduction="sum")
    wanted = torch.sigmoid(logits.detach() / head.temperature) >= torch.tensor(head.thresholds)
    return functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="sum")
