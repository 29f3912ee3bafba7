"""DistilBERT with its heads, on a text's first token or on each token, written for training on a processor.

It computes the same as transformers' DistilBertModel in evaluation mode (a test compares the two) and uses
the same names for the weights. It differs in two ways: attention is written as plain products, whose backward
pass in bfloat16 is faster on a processor than the fused kernel's, and the last layer computes only the first
token, which is the one that most heads read. There is no dropout in the encoder: with one to four passes over
the data there is little overfitting, and a step takes a fifth less time.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import DistilBertConfig, PreTrainedModel

from worker.errors import TrainingError
from worker.heads import Head, read_heads
from worker.lab.checkpoint import Checkpoint
from worker.lab.convert.architecture import EPSILON, buckets
from worker.lab.convert.products import BELOW_ZERO, LEVELS, TINY


def norm(config: DistilBertConfig) -> nn.LayerNorm:
    """Return a new LayerNorm of the encoder."""
    return nn.LayerNorm(config.dim, eps=getattr(config, "layer_norm_eps", EPSILON))


class Embeddings(nn.Module):
    """Token and position embeddings, summed and normalised."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.dim)
        self.LayerNorm = norm(config)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (batch, length) to embeddings (batch, length, dim)."""
        positions = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + positions)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani and others 2017)."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        dim, self.heads = config.dim, config.n_heads
        wide = self.heads * getattr(
            config, "head_dim", dim // self.heads
        )  # less than dim if heads were pruned
        self.q_lin, self.k_lin = nn.Linear(dim, wide), nn.Linear(dim, wide)
        self.v_lin, self.out_lin = nn.Linear(dim, wide), nn.Linear(wide, dim)

    def forward(self, rows: torch.Tensor, reading: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend from `reading` (batch, read, dim) to all `rows`; `mask` is added to the scores.

        It has a row for each of `rows`, or one for all.
        """

        def split(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.q_lin(reading)), split(self.k_lin(rows)), split(self.v_lin(rows))
        scores = torch.matmul(query, key.transpose(2, 3)).float() * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask[:, :, : reading.shape[1]]
        shares = torch.softmax(scores, dim=-1).to(value.dtype)
        return self.out_lin(torch.matmul(shares, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear maps with a GELU in between."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config.dim, config.hidden_dim)
        self.lin2 = nn.Linear(config.hidden_dim, config.dim)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (batch, length, dim) to the same shape."""
        return self.lin2(functional.gelu(self.lin1(rows)))


class Layer(nn.Module):
    """One transformer layer with post-normalisation, as in BERT."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.sa_layer_norm = norm(config)
        self.ffn = FeedForward(config)
        self.output_layer_norm = norm(config)

    def forward(self, rows: torch.Tensor, mask: torch.Tensor | None, first_only: bool) -> torch.Tensor:
        """Map (batch, length, dim) to the same shape, or to (batch, 1, dim) if `first_only`."""
        reading = rows[:, :1] if first_only else rows
        rows = self.sa_layer_norm(reading + self.attention(rows, reading, mask))
        return self.output_layer_norm(rows + self.ffn(rows))


class Transformer(nn.Module):
    """The stack of layers, and the values for distances that an MPNet adds to all attention scores."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        count = getattr(config, "relative_attention_num_buckets", 0)
        self.relative_attention_bias = nn.Embedding(count, config.n_heads) if count else None

    def added(self, mask: torch.Tensor | None, length: int) -> torch.Tensor | None:
        """Return the values to add to the attention scores of texts of this length, or None for zeros.

        `mask` is 1 for a token and 0 for padding, (batch, length); None where nothing is padded. The result
        is (batch or 1, heads or 1, length or 1, length).
        """
        padding = None
        if mask is not None:
            padding = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        table = self.relative_attention_bias
        if table is None:
            return padding
        by_distance = torch.from_numpy(buckets(table.num_embeddings, length)).to(table.weight.device)
        places = torch.arange(length, device=table.weight.device)
        distances = places[None, :] - places[:, None] + length - 1
        values = table(by_distance[distances]).permute(2, 0, 1)[None]
        return values if padding is None else values + padding

    @property
    def layers(self) -> list[Layer]:
        """The layers, the lowest first."""
        return cast("list[Layer]", list(self.layer))


class Encoder(nn.Module):
    """The encoder."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.transformer = Transformer(config)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None, first_only: bool = True) -> torch.Tensor:
        """Token ids (batch, length) to hidden states (batch, 1 or length, dim).

        `mask` is 1 for a token and 0 for padding, (batch, length); None where nothing is padded.
        """
        scores = self.transformer.added(mask, ids.shape[1])
        rows = self.embeddings(ids)
        last = len(self.transformer.layers) - 1
        for number, layer in enumerate(self.transformer.layers):
            rows = layer(rows, scores, first_only and number == last)
        return rows

    def hidden_states(self, ids: torch.Tensor, mask: torch.Tensor | None, layers: int) -> list[torch.Tensor]:
        """Return the embeddings and the outputs of the first `layers` layers."""
        scores = self.transformer.added(mask, ids.shape[1])
        states = [self.embeddings(ids)]
        for layer in self.transformer.layers[:layers]:
            states.append(layer(states[-1], scores, False))
        return states

    def states_and_first(
        self, ids: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return all hidden states below the last layer, and the first token after it, (batch, dim)."""
        *_, last = self.transformer.layers
        states = self.hidden_states(ids, mask, len(self.transformer.layers) - 1)
        return states, last(states[-1], self.transformer.added(mask, ids.shape[1]), True)[:, 0]


class TextHead(nn.Module):
    """A classifier on a text's first token: one hidden layer with ReLU, then one logit for each label."""

    def __init__(self, inputs: int, dim: int, labels: int) -> None:
        super().__init__()
        self.pre_classifier = nn.Linear(inputs, dim)
        self.classifier = nn.Linear(dim, labels)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, inputs) to logits (…, labels)."""
        return self.classifier(functional.relu(self.pre_classifier(rows)))


class TokenHead(nn.Module):
    """A classifier of each token that reads several layers (Multi-depth DistilBERT: Palomino et al. 2021,
    SemEval task 5). The deeper ones may be layers of its own: see `worker.heads.Branch`."""

    def __init__(self, config: DistilBertConfig, head: Head) -> None:
        super().__init__()
        dim = config.dim
        self.pre_classifier = nn.Linear(dim * len(head.layers), dim)
        self.classifier = nn.Linear(dim, len(head.labels))
        self.layers, self.branch = head.layers, head.branch
        if head.branch is not None:
            self.transformer = Transformer(branch_config(config, head))

    @property
    def reads(self) -> int:
        """The highest of the encoder's layers that it reads."""
        return self.branch.after if self.branch is not None else max(self.layers)

    def forward(self, states: Sequence[torch.Tensor], mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map hidden states, each (texts, length, dim), the embeddings first, to logits (texts, length)."""
        states = list(states[: self.reads + 1])
        if self.branch is not None:
            scores = self.transformer.added(mask, states[-1].shape[1])
            for layer in self.transformer.layers:
                states.append(layer(states[-1], scores, False))
        depths = torch.cat([states[layer] for layer in self.layers], dim=-1)
        return self.classifier(functional.relu(self.pre_classifier(depths)))[..., 0]


def branch_config(config: DistilBertConfig, head: Head) -> DistilBertConfig:
    """Return the configuration of a branch's layers: the encoder's, unless the branch has its own sizes."""
    if head.branch is None:
        raise ValueError("this head has no branch")
    own = copy(config)
    own.n_layers = head.branch.layers
    own.relative_attention_num_buckets = 0
    own.n_heads = head.branch.n_heads or config.n_heads
    own.hidden_dim = head.branch.hidden_dim or config.hidden_dim
    return own


class Network(PreTrainedModel):
    """One encoder and its heads; `state_dict()` uses the tensor names of a checkpoint folder.

    `Network.from_pretrained(folder)` reads a checkpoint folder, whose `config.json` describes the heads, and
    `save_pretrained` writes weights and configuration, as for any transformers model.
    """

    config_class = DistilBertConfig
    base_model_prefix = "distilbert"

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.dim = dim = int(config.dim)
        self.distilbert = Encoder(config)
        self.heads = nn.ModuleDict()
        for name, head in heads_of(config).items():
            made = TokenHead(config, head) if head.by_token else TextHead(dim, dim, len(head.labels))
            # `add_module` rejects the names of ModuleDict's own methods, such as `type`.
            self.heads._modules[name] = made
        self.post_init()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the first token's last hidden state, (batch, dim), which most heads read."""
        return self.distilbert(ids, mask)[:, 0]

    def text_head(self, name: str) -> TextHead:
        """Return a head that classifies whole texts."""
        return cast("TextHead", self.heads[name])

    def token_head(self, name: str) -> TokenHead:
        """Return a head that marks tokens."""
        return cast("TokenHead", self.heads[name])

    def marks(self, name: str, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return a token head's logits, (batch, length). Layers above its depths do not run."""
        head = self.token_head(name)
        return head(self.distilbert.hidden_states(ids, mask, head.reads), mask)

    def reset_heads(self, seed: int, spread: float = 0.02) -> None:
        """Initialise the heads' weights as BERT does: normal with deviation `spread`, biases 0.

        A branch's layers are left alone: they start as copies of trained ones.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.heads.named_parameters():
                if ".transformer." in name:
                    continue
                if name.endswith("bias"):
                    weight.zero_()
                else:
                    weight.normal_(0.0, spread, generator=generator)


def heads_of(config: DistilBertConfig) -> dict[str, Head]:
    """Return the heads that a configuration describes, in the order of its table. Raises PackError."""
    table: Mapping[str, Any] = getattr(config, "heads", None) or {}
    known = {"heads": table, "n_layers": config.n_layers}
    found = {head.name: head for head in read_heads(known, Path("config.json"))} if table else {}
    return {name: found[name] for name in table}


def config_of(config: Mapping[str, Any]) -> DistilBertConfig:
    """Return a checkpoint's configuration in transformers' form, including the heads."""
    return DistilBertConfig(**config)


def network_of(checkpoint: Checkpoint) -> Network:
    """Return the network with a checkpoint's weights, in evaluation mode. Raises TrainingError."""
    if checkpoint.sizes.activation != "gelu":
        raise TrainingError(
            f"{checkpoint.title}: only gelu is supported for training and measuring, "
            f"not {checkpoint.sizes.activation}"
        )
    heads = {name: checkpoint.config["heads"][name] for name in checkpoint.heads}
    network = Network(config_of({**checkpoint.config, "heads": heads}))
    weights = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.tensors.items()}
    network.load_state_dict(weights)
    network.eval()
    return network


def weights_of(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return copies of a network's weights as arrays, by name."""
    return {
        name: tensor.detach().float().cpu().numpy().copy() for name, tensor in network.state_dict().items()
    }


QUANTISED = "int8-rows"
"""A name for what `quantise` does, which goes into a run's identity."""

_GELU_LEAST = 0.17
"""The minimum of GELU, without its sign."""


class RoundedLinear(nn.Linear):
    """A linear map with rounded weights and rounded rows."""

    after_gelu = False

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (…, inputs) to (…, outputs)."""
        read = rounded_positive(rows) if self.after_gelu else rounded(rows)
        return functional.linear(read, rounded(self.weight), self.bias)


class RoundedAfterGelu(RoundedLinear):
    """The same for inputs that come from GELU, which are hardly ever below zero."""

    after_gelu = True


class RoundedEmbedding(nn.Embedding):
    """An embedding table with one scale for each row."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Map token ids to rounded rows."""
        return rounded(super().forward(ids))


def quantise(network: Network) -> None:
    """From now on, round in the encoder and in heads' own layers as the int8 graph does.

    The weights then learn to tolerate the rounding. Jacob et al. 2018 (arXiv:1712.05877): the forward pass
    computes with rounded values, and the backward pass treats the rounding as the identity (the
    straight-through estimator, Bengio et al. 2013, arXiv:1308.3432). Weights are rounded with one scale per
    output channel and activations with one scale per row, as in the graph. The exception is the output of a
    LayerNorm: the graph uses one constant scale after smoothing, which is not known during training, so one
    scale per row is used instead. Weights keep their names and values.
    """
    network.distilbert.embeddings.word_embeddings.__class__ = RoundedEmbedding
    layers = network.distilbert.transformer.layers
    for head in network.heads.values():
        if isinstance(head, TokenHead) and head.branch is not None:
            layers += head.transformer.layers
    for layer in layers:
        attention = layer.attention
        for linear in (attention.q_lin, attention.k_lin, attention.v_lin, attention.out_lin, layer.ffn.lin1):
            linear.__class__ = RoundedLinear
        layer.ffn.lin2.__class__ = RoundedAfterGelu


def rounded(values: torch.Tensor) -> torch.Tensor:
    """Round each row to 127 levels on either side of zero, scaled by its largest magnitude."""
    step = values.detach().abs().amax(dim=-1, keepdim=True).float().clamp(min=TINY) / LEVELS
    return _through(values, torch.round(values.detach() / step) * step)


def rounded_positive(values: torch.Tensor) -> torch.Tensor:
    """Round each row of GELU outputs to 255 levels, 32 of them below zero, as the int8 graph does."""
    above = 255 - BELOW_ZERO
    floor = _GELU_LEAST / BELOW_ZERO * above
    step = values.detach().amax(dim=-1, keepdim=True).float().clamp(min=floor) / above
    levels = torch.round(values.detach() / step).clamp(-BELOW_ZERO, above)
    return _through(values, levels * step)


def _through(values: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Return `new` with the gradient of `values`."""
    return values + (new.to(values.dtype) - values).detach()
