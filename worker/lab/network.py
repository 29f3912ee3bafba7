"""The encoder of DistilBERT, written for training on a processor.

The function is transformers' DistilBertModel in evaluation mode (a test compares the two), with its names
for the weights. What differs is the way there: attention as plain products, which are faster backwards in
bfloat16 on a processor than the fused kernel, and a last layer that computes only the first token, the one
that the heads read. There is no dropout: one to four passes over the data leave little to guard against, and
the step costs a fifth less.

DistilBERT with its heads: on a text's first token, or on each token at several depths.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from worker.lab.data.labels import HeadSpec

_EPS = 1e-12  # DistilBERT's, in every norm


class Embeddings(nn.Module):  # type: ignore[misc]  # torch is skipped by mypy, so its classes are Any
    """Token and position embeddings, summed and normalised."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config["vocab_size"], config["dim"])
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], config["dim"])
        self.LayerNorm = nn.LayerNorm(config["dim"], eps=_EPS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (batch, length) to embeddings (batch, length, dim)."""
        positions = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + positions)


class Attention(nn.Module):  # type: ignore[misc]  # as above
    """Multi-head self-attention (Vaswani and others 2017)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        dim, self.heads = config["dim"], config["n_heads"]
        wide = self.heads * config.get("head_dim", dim // self.heads)  # less than dim where heads are pruned
        self.q_lin, self.k_lin = nn.Linear(dim, wide), nn.Linear(dim, wide)
        self.v_lin, self.out_lin = nn.Linear(dim, wide), nn.Linear(wide, dim)

    def forward(self, rows: torch.Tensor, reading: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Let the tokens `reading` (batch, read, dim) attend to all `rows`; `mask` is added to the scores."""

        def split(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.q_lin(reading)), split(self.k_lin(rows)), split(self.v_lin(rows))
        scores = torch.matmul(query, key.transpose(2, 3)).float() * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask
        shares = torch.softmax(scores, dim=-1).to(value.dtype)
        return self.out_lin(torch.matmul(shares, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):  # type: ignore[misc]  # as above
    """Two products with Gelu between them."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config["dim"], config["hidden_dim"])
        self.lin2 = nn.Linear(config["hidden_dim"], config["dim"])

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(batch, length, dim) to the same shape."""
        return self.lin2(functional.gelu(self.lin1(rows)))


class Layer(nn.Module):  # type: ignore[misc]  # as above
    """One transformer layer, norms after the sums as in BERT."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.sa_layer_norm = nn.LayerNorm(config["dim"], eps=_EPS)
        self.ffn = FeedForward(config)
        self.output_layer_norm = nn.LayerNorm(config["dim"], eps=_EPS)

    def forward(self, rows: torch.Tensor, mask: torch.Tensor | None, first_only: bool) -> torch.Tensor:
        """(batch, length, dim) to the same shape, or to (batch, 1, dim) for the first token only."""
        reading = rows[:, :1] if first_only else rows
        rows = self.sa_layer_norm(reading + self.attention(rows, reading, mask))
        return self.output_layer_norm(rows + self.ffn(rows))


class Transformer(nn.Module):  # type: ignore[misc]  # as above
    """The stack of layers."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config["n_layers"]))


class Trunk(nn.Module):  # type: ignore[misc]  # as above
    """The encoder."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.transformer = Transformer(config)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None, first_only: bool = True) -> torch.Tensor:
        """Token ids (batch, length) to hidden states (batch, 1 or length, dim).

        `mask` is 1 for a token and 0 for padding, (batch, length); None where nothing is padded.
        """
        scores = added(mask)
        rows = self.embeddings(ids)
        last = len(self.transformer.layer) - 1
        for number, layer in enumerate(self.transformer.layer):
            rows = layer(rows, scores, first_only and number == last)
        return rows

    def hidden_states(self, ids: torch.Tensor, mask: torch.Tensor | None, layers: int) -> list[torch.Tensor]:
        """Return the embeddings and what each of the first `layers` layers makes of them."""
        scores = added(mask)
        states = [self.embeddings(ids)]
        for layer in self.transformer.layer[:layers]:
            states.append(layer(states[-1], scores, False))
        return states

    def states_and_first(
        self, ids: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return all hidden states below the last layer, and the first token's after it, (batch, dim)."""
        last = len(self.transformer.layer) - 1
        states = self.hidden_states(ids, mask, last)
        return states, self.transformer.layer[last](states[-1], added(mask), True)[:, 0]


def added(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return what to add to the attention's scores so that padding gets none."""
    if mask is None:
        return None
    return (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min


class Head(nn.Module):  # type: ignore[misc]  # torch is skipped by mypy, so its classes are Any
    """A classifier: one hidden layer with ReLU, then a logit a label. It reads a text's first token."""

    def __init__(self, inputs: int, dim: int, labels: int) -> None:
        super().__init__()
        self.pre_classifier = nn.Linear(inputs, dim)
        self.classifier = nn.Linear(dim, labels)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, inputs) to logits (…, labels)."""
        return self.classifier(functional.relu(self.pre_classifier(rows)))


class TokenHead(nn.Module):  # type: ignore[misc]  # as above
    """A classifier of each token at several depths (Multi-depth DistilBERT: Palomino et al. 2021, SemEval
    task 5), of which the deeper ones may be layers of its own: see `worker.model.spans.Branch`."""

    def __init__(self, config: dict[str, Any], head: HeadSpec) -> None:
        super().__init__()
        dim = config["dim"]
        self.pre_classifier = nn.Linear(dim * len(head.layers), dim)
        self.classifier = nn.Linear(dim, len(head.labels))
        self.layers, self.branch = head.layers, head.branch
        if head.branch is not None:
            self.transformer = Transformer(branch_config(config, head))

    @property
    def reads(self) -> int:
        """Up to which of the trunk's layers it reads."""
        return self.branch.after if self.branch is not None else max(self.layers)

    def forward(self, states: Sequence[torch.Tensor], mask: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states, each (texts, length, dim), the embeddings first, to logits (texts, length)."""
        states = list(states[: self.reads + 1])
        if self.branch is not None:
            scores = added(mask)
            for layer in self.transformer.layer:
                states.append(layer(states[-1], scores, False))
        depths = torch.cat([states[layer] for layer in self.layers], dim=-1)
        return self.classifier(functional.relu(self.pre_classifier(depths)))[..., 0]


def branch_config(config: dict[str, Any], head: HeadSpec) -> dict[str, Any]:
    """Return the configuration of a branch's layers: the trunk's, with its own sizes where it has some."""
    if head.branch is None:
        raise ValueError("this head has no branch")
    given = {"n_heads": head.branch.n_heads, "hidden_dim": head.branch.hidden_dim}
    own = {name: value for name, value in given.items() if value}
    return {**config, **own, "n_layers": head.branch.layers}


class Network(nn.Module):  # type: ignore[misc]  # as above
    """One trunk and its heads; `state_dict()` has the names that a checkpoint folder has."""

    def __init__(self, config: dict[str, Any], heads: list[HeadSpec]) -> None:
        super().__init__()
        self.dim = dim = int(config["dim"])
        self.distilbert = Trunk(config)
        self.heads = nn.ModuleDict()
        for head in heads:
            made = TokenHead(config, head) if head.by_token else Head(dim, dim, len(head.labels))
            # Not through the front door, which turns away the names of its own methods, such as `type`.
            self.heads._modules[head.name] = made

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the first token's last hidden state, (batch, dim): what most heads read."""
        return self.distilbert(ids, mask)[:, 0]

    def marks(self, name: str, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return a token head's logits, (batch, length). Layers of the trunk above its depths do not run."""
        head = self.heads[name]
        return head(self.distilbert.hidden_states(ids, mask, head.reads), mask)

    def reset_heads(self, seed: int, spread: float = 0.02) -> None:
        """Draw the heads' weights anew as BERT does: normal with deviation `spread`, biases 0.

        A branch's layers are no part of it: they begin as copies of trained ones.
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
