"""What every run does with its gradients: AdamW with two rates, and a bound on their length.

The learning rate over a run, and where the run ends.
"""

from typing import Any

import torch

from worker.lab.network import Network
from worker.lab.recipe import Optimiser


def adamw(network: Network, chosen: Optimiser) -> torch.optim.Optimizer:
    """Return AdamW with two rates, heads and trunk; biases, norms and embeddings do not decay.

    What needs no gradient takes no part.
    """
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.dim() > 1 and "embeddings" not in name
        # A branch's layers are trained like the trunk's.
        is_head = name.startswith("heads.") and ".transformer." not in name
        groups.setdefault((is_head, decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": chosen.head_rate if is_head else chosen.trunk_rate,
                "weight_decay": chosen.weight_decay if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ],
        fused=True,
    )


def clip(network: Network, longest: float) -> None:
    """Shorten the gradient where it is longer than `longest` (and only then: it costs a pass)."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
    if norm > longest:
        for gradient in gradients:
            gradient.mul_(longest / norm)
