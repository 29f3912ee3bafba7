"""DistilBERT with its heads: on a text's first token, or on each token at several depths."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from worker.training.labels import HeadSpec
from worker.training.trunk import Transformer, Trunk, added


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
    task 5), of which the deeper ones may be layers of its own: see `worker.classify.token_head.Branch`."""

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
