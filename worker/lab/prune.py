"""What each attention head and feed-forward column is worth: how much the loss hangs on it.

First-order Taylor importance: a factor of 1 is put on each head's output and each column; the gradient of a
text's loss by such a factor is, to first order, what the loss would change by if it became 0. Its magnitude,
summed over texts, is the importance (Michel et al. 2019, arXiv:1905.10650, equation 2; Molchanov et al. 2019,
arXiv:1906.10771). Texts need no labels: the model's own decisions serve. Its own probabilities would not,
for at them the loss is least and its gradient 0.

Fewer attention heads and feed-forward columns, equally many in every layer: arrays cut, nothing trained.

Michel et al. 2019 (arXiv:1905.10650) for heads, Molchanov et al. 2019 (arXiv:1906.10771) for the measure of
importance, which `importance` works out.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.errors import TrainingError
from worker.heads import Branch
from worker.lab.checkpoint import Checkpoint, Tensors, layer_prefix
from worker.lab.convert.architecture import branch_sizes

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much each part matters, larger is more: heads (layers, heads) and columns (layers, hidden_dim)."""

    heads: Floats
    columns: Floats


def prune(
    checkpoint: Checkpoint, importance: Importance, *, heads: int | None = None, hidden: int | None = None
) -> Checkpoint:
    """Return the model with its most important `heads` and `hidden` columns a layer; None keeps all.

    What stays keeps its order, its width and its weights; a token head's own layers are left alone. Raises
    TrainingError where there are not as many.
    """
    sizes = checkpoint.sizes
    for wanted, there, what in ((heads, sizes.n_heads, "heads"), (hidden, sizes.hidden_dim, "columns")):
        if wanted is not None and not 1 <= wanted <= there:
            raise TrainingError(f"cannot keep {wanted} {what} of {there}")
    tensors = dict(checkpoint.tensors)
    for layer in range(sizes.n_layers):
        prefix = layer_prefix(layer)
        if heads is not None:
            _cut_heads(tensors, prefix, _largest(importance.heads[layer], heads), sizes.head_dim)
        if hidden is not None:
            _cut_columns(tensors, prefix, _largest(importance.columns[layer], hidden))
    changes: dict[str, int] = {}
    if heads is not None:
        changes |= {"n_heads": heads, "head_dim": sizes.head_dim}
    if hidden is not None:
        changes["hidden_dim"] = hidden
    config = {**checkpoint.config, **changes, "heads": _with_own_widths(checkpoint)}
    if config.get("head_dim") == config["dim"] / config["n_heads"]:
        config.pop("head_dim")
    return replace(checkpoint, tensors=tensors, config=config)


def _with_own_widths(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the table of heads, in which a branch says how wide it is: no longer as the trunk."""
    sizes, heads = checkpoint.sizes, {}
    for name, entry in checkpoint.config["heads"].items():
        heads[name] = entry
        if entry.get("branch"):
            own = branch_sizes(sizes, Branch(**entry["branch"]))
            widths = {"n_heads": own.n_heads, "hidden_dim": own.hidden_dim}
            heads[name] = {**entry, "branch": {**entry["branch"], **widths}}
    return heads


def _largest(values: Floats, count: int) -> list[int]:
    """Return the places of the largest values, rising; of equal ones the first."""
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())


def _cut_heads(tensors: Tensors, prefix: str, kept: list[int], width: int) -> None:
    rows = [head * width + place for head in kept for place in range(width)]
    for part in ("q_lin", "k_lin", "v_lin"):
        for kind in ("weight", "bias"):
            name = f"{prefix}attention.{part}.{kind}"
            tensors[name] = tensors[name][rows]
    name = f"{prefix}attention.out_lin.weight"
    tensors[name] = np.ascontiguousarray(tensors[name][:, rows])


def _cut_columns(tensors: Tensors, prefix: str, kept: list[int]) -> None:
    for kind in ("weight", "bias"):
        name = f"{prefix}ffn.lin1.{kind}"
        tensors[name] = tensors[name][kept]
    name = f"{prefix}ffn.lin2.weight"
    tensors[name] = np.ascontiguousarray(tensors[name][:, kept])
