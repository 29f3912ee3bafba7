"""The rounding of the int8 form in the training loop, so that weights grow where it hurts least.

Jacob et al. 2018 (arXiv:1712.05877): the pass forward computes with rounded values, the pass backward lets
the gradient through as if nothing had been rounded (the straight-through estimator, Bengio et al. 2013,
arXiv:1308.3432). Weights are rounded with one scale an output channel and activations with one a row, as the
int8 graph does (docs/explanation/int8.md), but for its inputs after a LayerNorm:
there the graph has one constant scale
after smoothing, which a training loop has not measured yet; one a row stands in for it.
"""

import torch
from torch import nn
from torch.nn import functional

from worker.lab.convert.products import BELOW_ZERO, LEVELS, TINY
from worker.lab.network import Network, TokenHead

FORM = "int8-rows"
"""What this does, in a word, for a run's identity."""

_GELU_LEAST = 0.17


class RoundedLinear(nn.Linear):  # type: ignore[misc]  # torch is skipped by mypy, so its classes are Any
    """A linear map with rounded weights and rounded rows."""

    after_gelu = False

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, inputs) to (…, outputs)."""
        read = rounded_positive(rows) if self.after_gelu else rounded(rows)
        return functional.linear(read, rounded(self.weight), self.bias)


class RoundedAfterGelu(RoundedLinear):
    """The same behind Gelu, whose values hardly lie below zero."""

    after_gelu = True


class RoundedEmbedding(nn.Embedding):  # type: ignore[misc]  # as above
    """A table with one scale a row."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids to rounded rows."""
        return rounded(super().forward(ids))


def quantise(network: Network) -> None:
    """Round in the trunk and in heads' own layers from now on; weights keep their names and values."""
    network.distilbert.embeddings.word_embeddings.__class__ = RoundedEmbedding
    layers = list(network.distilbert.transformer.layer)
    for head in network.heads.values():
        if isinstance(head, TokenHead) and head.branch is not None:
            layers += head.transformer.layer
    for layer in layers:
        attention = layer.attention
        for linear in (attention.q_lin, attention.k_lin, attention.v_lin, attention.out_lin, layer.ffn.lin1):
            linear.__class__ = RoundedLinear
        layer.ffn.lin2.__class__ = RoundedAfterGelu


def rounded(values: torch.Tensor) -> torch.Tensor:
    """Round each row to 127 levels either side of zero, by its own largest magnitude."""
    step = values.detach().abs().amax(dim=-1, keepdim=True).float().clamp(min=TINY) / LEVELS
    return _through(values, torch.round(values.detach() / step) * step)


def rounded_positive(values: torch.Tensor) -> torch.Tensor:
    """Round each row of Gelu's values to 255 levels, 32 of them below zero, as the int8 graph does."""
    above = 255 - BELOW_ZERO
    floor = _GELU_LEAST / BELOW_ZERO * above
    step = values.detach().amax(dim=-1, keepdim=True).float().clamp(min=floor) / above
    levels = torch.round(values.detach() / step).clamp(-BELOW_ZERO, above)
    return _through(values, levels * step)


def _through(values: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Return `new` with the gradient of `values`."""
    return values + (new.to(values.dtype) - values).detach()
