"""All weights of a pack under the names that a checkpoint folder has: trunk, heads, and their own layers."""

import json
from typing import Any

import numpy as np

from worker.classify.pack import CONFIG, GRAPH, Pack
from worker.classify.token_head import TokenHead
from worker.convert.architecture import TENSORS, Architecture, read_architecture
from worker.export.graph import Floats, GraphWeights, head_weights, layer_weights, trunk_weights


def pack_tensors(pack: Pack) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return a verified pack's configuration and its tensors: `distilbert.…` and `heads.NAME.…`.

    Weights that the graph rounds come back rounded; what else it rounds has no place in a checkpoint.

    Raises:
        ExportError: the graph was not written by this project.
        CheckpointError: the configuration is of another architecture.
    """
    path = pack.path / CONFIG
    config: dict[str, Any] = json.loads(path.read_bytes())
    sizes = read_architecture(config, path)
    graph = GraphWeights(pack.path / GRAPH)
    tensors = trunk_weights(graph, sizes.n_layers, sizes.head_dim)
    for head in pack.outputs:
        own = (
            _token_head(graph, head, sizes) if isinstance(head, TokenHead) else head_weights(graph, head.name)
        )
        tensors |= {f"{TENSORS}{head.name}.{part}": values for part, values in own.items()}
    return config, tensors


def _token_head(graph: GraphWeights, head: TokenHead, sizes: Architecture) -> dict[str, Floats]:
    """Return a token head's tensors: the graph multiplies each depth by its own columns of the weight."""
    prefix = f"{TENSORS}{head.name}."
    tensors: dict[str, Floats] = {}
    for number in range(head.branch.layers if head.branch is not None else 0):
        layer = layer_weights(graph, f"{prefix}transformer.layer.{number}", sizes.head_dim)
        tensors |= {name.removeprefix(prefix): values for name, values in layer.items()}
    part = "pre_classifier" if f"{head.name}.pre_classifier.0.weight" in graph else "classifier"
    columns = [
        graph.linear(f"{head.name}.{part}.{number}", _smoothed(head, layer))
        for number, layer in enumerate(head.layers)
    ]
    tensors[f"{part}.weight"] = np.concatenate(columns, axis=1)
    tensors[f"{part}.bias"] = graph.get(f"{head.name}.{part}.0.bias").astype(np.float32)
    return tensors | head_weights(graph, head.name)


def _smoothed(head: TokenHead, layer: int) -> str:
    """Return the name of the constants by which what `layer` gave is divided before a token head reads it."""
    if head.branch is None or layer <= head.branch.after:
        return f"distilbert.transformer.layer.{layer}.input.smooth"
    own = layer - head.branch.after
    place = f"transformer.layer.{own}.input" if own < head.branch.layers else "output"
    return f"{TENSORS}{head.name}.{place}.smooth"
