"""One transformer layer of DistilBERT as nodes of a graph: the encoder's, or a token head's own.

Three steps of the attention are folded into weights without changing the result: the factor 1/√width of the
scores goes into the queries; the keys' bias is dropped, since it adds the same to all scores of a row; the
values' bias goes into the output's bias, since attention weights add up to 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worker.lab.convert.architecture import ACTIVATIONS, Architecture
from worker.lab.convert.nodes import ORT_DOMAIN, Graph
from worker.lab.convert.products import Linear, Products, Ready, bias_of, trained
from worker.lab.convert.weights import Weights

LEAST: Mapping[str, float] = {"none": -0.17, "tanh": -0.171, "relu": 0.0}
"""The least value of each activation function, rounded down."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The attention mask: values to add to scores, and whether any row is padded."""

    values: str
    """(texts, 1, 1, longest)."""
    needed: str
    distances: str = ""
    """For an encoder that comes from an MPNet: values for the distance of two tokens, added to their scores,
    (1, heads, longest, longest)."""


@dataclass(frozen=True, slots=True)
class State:
    """The input of a layer: rows (texts · longest, dim), and the same rows made ready for a product."""

    rows: str
    ready: Ready


class LayerWriter:
    """Writes layers of one width into a graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products, graph: Graph) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = graph

    def state(self, prefix: str, rows: str) -> State:
        """Make a LayerNorm's rows ready for the layer `prefix`, which reads them."""
        query, key, value, _ = self.attention(prefix)
        return State(rows, self.ready(f"{prefix}.input", rows, query, key, value))

    def full(self, prefix: str, state: State, longest: str, mask: Mask) -> str:
        """Return the rows (texts · longest, dim) after one layer."""
        query, key, value, out = self.attention(prefix)
        queries, keys, values = (
            self.by_head(
                self._products.product(self._graph, f"{prefix}.{name}", state.ready, linear), longest
            )
            for name, linear in (("query", query), ("key", key), ("value", value))
        )
        return self.after_attention(prefix, state.rows, self.attend(queries, keys, values, mask), out)

    def attention(self, prefix: str) -> tuple[Linear, Linear, Linear, Linear]:
        """Return the maps for queries, keys, values and output, with scale and biases folded in."""
        dim, wide = self._sizes.dim, self._sizes.attention_dim
        query, key, value = (self._trained(f"{prefix}.attention.{part}_lin", wide, dim) for part in "qkv")
        out = self._trained(f"{prefix}.attention.out_lin", dim, wide)
        factor = np.float32(1 / np.sqrt(self._sizes.head_dim))
        return (
            Linear(query.weight * factor, bias_of(query) * factor),
            Linear(key.weight, None),
            Linear(value.weight, None),
            Linear(out.weight, bias_of(out) + out.weight @ bias_of(value)),
        )

    def ready(self, name: str, rows: str, *readers: Linear) -> Ready:
        """Make a LayerNorm's output ready for the products that read it."""
        return self._products.normed(
            self._graph, name, rows, np.concatenate([reader.weight for reader in readers])
        )

    def by_head(self, rows: str, longest: str) -> str:
        """Turn (batch · longest, attention_dim) into (batch, heads, longest, head_dim)."""
        graph, sizes = self._graph, self._sizes
        by_head = graph.ints(sizes.n_heads, sizes.head_dim)
        split = graph.add("Concat", graph.ints(-1), longest, by_head, axis=0)
        return graph.add("Transpose", graph.add("Reshape", rows, split), perm=[0, 2, 1, 3])

    def attend(self, queries: str, keys: str, values: str, mask: Mask) -> str:
        """Return the context (rows, attention_dim) of inputs that are (batch, heads, tokens, head_dim)."""
        graph = self._graph
        scores = graph.add("FusedMatMul", queries, keys, domain=ORT_DOMAIN, transB=1)
        if mask.distances:
            scores = graph.add("Add", scores, mask.distances)
        # For long texts the scores are the largest tensor, so a pass over them is expensive.
        shares = graph.choose(
            mask.needed,
            lambda: graph.add("Softmax", graph.add("Add", scores, mask.values), axis=-1),
            lambda: graph.add("Softmax", scores, axis=-1),
        )
        context = graph.add("Transpose", graph.add("MatMul", shares, values), perm=[0, 2, 1, 3])
        return graph.add("Reshape", context, graph.ints(-1, self._sizes.attention_dim))

    def after_attention(self, prefix: str, rows: str, context: str, out: Linear) -> str:
        """Return the rows after the attention's own projection, the feed-forward part and both norms."""
        graph, sizes, products = self._graph, self._sizes, self._products
        mixed = products.mixed(graph, context, sizes.attention_dim)
        projected = products.product(graph, f"{prefix}.out", mixed, out)
        rows = self.norm(f"{prefix}.sa_layer_norm", graph.add("Add", projected, rows))
        wide = self._trained(f"{prefix}.ffn.lin1", sizes.hidden_dim, sizes.dim)
        narrow = self._trained(f"{prefix}.ffn.lin2", sizes.dim, sizes.hidden_dim)
        inner = products.product(graph, f"{prefix}.lin1", self.ready(f"{prefix}.middle", rows, wide), wide)
        kind = ACTIVATIONS[self._sizes.activation]
        inner = graph.add("Relu", inner) if kind == "relu" else graph.add("Gelu", inner, approximate=kind)
        activated = products.activated(graph, inner, sizes.hidden_dim, LEAST[kind])
        outer = products.product(graph, f"{prefix}.lin2", activated, narrow)
        return self.norm(f"{prefix}.output_layer_norm", graph.add("Add", outer, rows))

    def norm(self, name: str, rows: str) -> str:
        """Return the rows after the LayerNorm `name`."""
        graph, dim = self._graph, self._sizes.dim
        weight = graph.constant(f"{name}.weight", self._weights.get(f"{name}.weight", dim))
        bias = graph.constant(f"{name}.bias", self._weights.get(f"{name}.bias", dim))
        return graph.add(
            "LayerNormalization", rows, weight, bias, axis=-1, epsilon=self._sizes.layer_norm_eps
        )

    def _trained(self, name: str, outputs: int, inputs: int) -> Linear:
        return trained(self._weights, name, outputs, inputs)
