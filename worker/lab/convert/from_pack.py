"""Reading the weights from a pack's graph, under transformers' names: the conversion in reverse.

int8 weights are returned as the graph uses them: rounded, times their step, and with the smoothing constants
(by which the graph divides activations) folded back in. The rounding of activations cannot be stored in a
checkpoint, so the exported model has the pack's rounded weights but exact products.

Two biases are lost, without effect: the keys' bias shifts all scores of a row equally, and the values' bias
is part of the output's. Both are returned as zeros.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from worker.errors import ExportError
from worker.heads import Head
from worker.lab.convert.architecture import RELATIVE, TENSORS, Architecture, read_architecture
from worker.model.pack import CONFIG, GRAPH, Pack

Floats = NDArray[np.float32]

_EMBEDDINGS = "distilbert.embeddings"


class GraphWeights:
    """The constants of one graph, by name."""

    def __init__(self, path: Path) -> None:
        """Read the graph at `path`. Raises ExportError if it is not a graph."""
        try:
            tensors = onnx.load(path).graph.initializer
        except Exception as error:  # protobuf's errors share no base class but Exception
            raise ExportError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        self._path = path
        self._tensors = {tensor.name: tensor for tensor in tensors}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def get(self, name: str) -> NDArray[Any]:
        """Return a constant unchanged. Raises ExportError if it is missing."""
        if name not in self._tensors:
            raise ExportError(f"{self._path} has no constant {name}: it was not written by this converter")
        return np.asarray(numpy_helper.to_array(self._tensors[name]))

    def rows(self, name: str) -> Floats:
        """Return a table in float32, also if it is int8 with one step for each row."""
        values = self.get(name)
        return _float(values * self.get(f"{name}.steps") if values.dtype == np.int8 else values)

    def linear(self, name: str, smooth: str = "") -> Floats:
        """Return the weights (outputs, inputs) of a product; `smooth` names the constants before it."""
        values = self.get(f"{name}.weight").T
        if values.dtype != np.int8:
            return _float(values)
        steps = self.get(f"{name}.steps")
        exact = values.astype(np.float64) * steps[:, None]
        return _float(exact * self.get(smooth) if smooth else exact)


def encoder_weights(graph: GraphWeights, layers: int, head_width: int) -> dict[str, Floats]:
    """Return the encoder's tensors under transformers' names.

    Args:
        graph: the pack's constants.
        layers: how many transformer layers it has.
        head_width: features of an attention head; the graph's queries are divided by its root.

    Raises:
        ExportError: a constant is missing.
    """
    found: dict[str, Floats] = {
        f"{_EMBEDDINGS}.word_embeddings.weight": graph.rows(f"{_EMBEDDINGS}.word_embeddings.weight"),
        f"{_EMBEDDINGS}.position_embeddings.weight": _float(
            graph.get(f"{_EMBEDDINGS}.position_embeddings.weight")
        ),
        **_norm(graph, f"{_EMBEDDINGS}.LayerNorm"),
    }
    for layer in range(layers):
        found |= layer_weights(graph, f"distilbert.transformer.layer.{layer}", head_width)
    return found


def head_weights(graph: GraphWeights, name: str) -> dict[str, Floats]:
    """Return a head's tensors: `pre_classifier` where it has one, and `classifier`."""
    return {
        f"{part}.{kind}": _float(graph.get(f"{name}.{part}.{kind}"))
        for part in ("pre_classifier", "classifier")
        if f"{name}.{part}.weight" in graph
        for kind in ("weight", "bias")
    }


def layer_weights(graph: GraphWeights, prefix: str, head_width: int) -> dict[str, Floats]:
    """Return one transformer layer's tensors, under names that begin with `prefix`."""
    root = np.float32(np.sqrt(head_width))
    before, between = f"{prefix}.input.smooth", f"{prefix}.middle.smooth"
    query = graph.linear(f"{prefix}.query", before) * root
    bias = _float(graph.get(f"{prefix}.query.bias")) * root
    attention = f"{prefix}.attention"
    zeros = np.zeros_like(bias)
    return {
        f"{attention}.q_lin.weight": _float(query),
        f"{attention}.q_lin.bias": _float(bias),
        f"{attention}.k_lin.weight": graph.linear(f"{prefix}.key", before),
        f"{attention}.k_lin.bias": zeros,
        f"{attention}.v_lin.weight": graph.linear(f"{prefix}.value", before),
        f"{attention}.v_lin.bias": zeros.copy(),
        f"{attention}.out_lin.weight": graph.linear(f"{prefix}.out"),
        f"{attention}.out_lin.bias": _float(graph.get(f"{prefix}.out.bias")),
        f"{prefix}.ffn.lin1.weight": graph.linear(f"{prefix}.lin1", between),
        f"{prefix}.ffn.lin1.bias": _float(graph.get(f"{prefix}.lin1.bias")),
        f"{prefix}.ffn.lin2.weight": graph.linear(f"{prefix}.lin2"),
        f"{prefix}.ffn.lin2.bias": _float(graph.get(f"{prefix}.lin2.bias")),
        **_norm(graph, f"{prefix}.sa_layer_norm"),
        **_norm(graph, f"{prefix}.output_layer_norm"),
    }


def _norm(graph: GraphWeights, name: str) -> dict[str, Floats]:
    return {f"{name}.{kind}": _float(graph.get(f"{name}.{kind}")) for kind in ("weight", "bias")}


def _float(values: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(values, np.float32)


def fill_heads(tensors: dict[str, Floats], dim: int) -> None:
    """Widen a pruned attention to the encoder's width, as transformers requires.

    The added heads attend evenly to values of zero, so they change nothing.
    """
    for name, values in tensors.items():
        if ".attention." not in name or not name.endswith(("_lin.weight", "_lin.bias")):
            continue
        if "out_lin" in name:
            if values.ndim == 2:
                tensors[name] = _float(np.pad(values, ((0, 0), (0, dim - values.shape[1]))))
        else:
            missing = dim - len(values)
            tensors[name] = _float(np.pad(values, ((0, missing), *[(0, 0)] * (values.ndim - 1))))


def check_shapes(tensors: Mapping[str, Floats], config: Mapping[str, Any], labels: int) -> None:
    """Compare every tensor with the shape that transformers expects.

    Raises:
        ExportError: one has another shape, as in a pack whose layers were pruned to different widths.
    """
    dim, wide = config["dim"], config["hidden_dim"]
    shapes = {
        "word_embeddings.weight": (config["vocab_size"], dim),
        "position_embeddings.weight": (config["max_position_embeddings"], dim),
        "ffn.lin1.weight": (wide, dim),
        "ffn.lin1.bias": (wide,),
        "ffn.lin2.weight": (dim, wide),
        "pre_classifier.weight": (dim, dim),
        "classifier.weight": (labels, dim),
        "classifier.bias": (labels,),
        **{f"{part}_lin.weight": (dim, dim) for part in ("q", "k", "v", "out")},
    }
    for name, values in tensors.items():
        # `pre_classifier.weight` ends like `classifier.weight`: the longest end decides.
        ends = [end for end in shapes if name == end or name.endswith(f".{end}")]
        wanted = shapes[max(ends, key=len)] if ends else (dim,)
        if values.shape != wanted:
            raise ExportError(
                f"{name} has shape {values.shape}, but transformers expects {wanted}: "
                "it cannot express layers of different widths"
            )


def pack_tensors(pack: Pack) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return a verified pack's configuration and its tensors: `distilbert.…` and `heads.NAME.…`.

    Weights that the graph rounds are returned rounded; its rounding of activations is lost.

    Raises:
        ExportError: the graph was not written by this project.
        CheckpointError: the configuration has another architecture.
    """
    config = dict(pack.config)
    sizes = read_architecture(config, pack.path / CONFIG)
    graph = GraphWeights(pack.path / GRAPH)
    tensors = encoder_weights(graph, sizes.n_layers, sizes.head_dim)
    if sizes.relative_attention_num_buckets:
        tensors[RELATIVE] = _float(graph.get(RELATIVE))
    for head in pack.outputs:
        own = _token_head(graph, head, sizes) if head.by_token else head_weights(graph, head.name)
        tensors |= {f"{TENSORS}{head.name}.{part}": values for part, values in own.items()}
    return config, tensors


def _token_head(graph: GraphWeights, head: Head, sizes: Architecture) -> dict[str, Floats]:
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


def _smoothed(head: Head, layer: int) -> str:
    """Return the name of the constants by which what `layer` gave is divided before a token head reads it."""
    if head.branch is None or layer <= head.branch.after:
        return f"distilbert.transformer.layer.{layer}.input.smooth"
    own = layer - head.branch.after
    place = f"transformer.layer.{own}.input" if own < head.branch.layers else "output"
    return f"{TENSORS}{head.name}.{place}.smooth"
