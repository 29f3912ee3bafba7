"""DistilBERT with classification heads as an ONNX graph (Sanh et al. 2019, arXiv:1910.01108).

What the graph does that an exporter's does not: queries, keys and values in one product; the mask built once;
all heads in one pass; and in the last layer queries, feed-forward and norms for the first token alone, since
no head reads another.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from worker.classify.session import IDS, LENGTHS
from worker.convert.architecture import ACTIVATIONS, Architecture, CheckpointHead
from worker.convert.nodes import ORT_DOMAIN, Graph
from worker.convert.products import Products
from worker.convert.weights import Floats, Weights

EPSILON = 1e-12
"""DistilBERT's, in every LayerNorm; its configuration does not carry it."""

MASKED = -1e9
"""Added to the score of a padding token: its share after softmax is 0 exactly."""


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Floats
    bias: Floats


class Encoder:
    """Writes one checkpoint into one graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = Graph()

    def build(self, heads: tuple[CheckpointHead, ...]) -> onnx.ModelProto:
        """Write the whole graph: `ids` (batch, longest) and `lengths` (batch) in, one array of logits a head out.

        Raises:
            CheckpointError: a tensor is missing or has another shape than the configuration says.
        """
        graph, dim = self._graph, self._sizes.dim
        ids = graph.input(IDS, ["batch", "longest"])
        lengths = graph.input(LENGTHS, ["batch"])
        longest = graph.add("Shape", ids, start=1, end=2)
        mask = self._mask(lengths, longest)
        rows = self._embeddings(ids, longest)
        for layer in range(self._sizes.n_layers - 1):
            rows = self._layer(layer, rows, longest, mask)
        first = self._last_layer(self._sizes.n_layers - 1, rows, longest, mask)
        for head in heads:
            graph.output(head.head.name, self._head(head, first, dim), ["batch", len(head.head.labels)])
        return graph.model("distilbert")

    def _mask(self, lengths: str, longest: str) -> str:
        """Return (batch, 1, 1, longest): 0 for a token, MASKED for padding."""
        graph = self._graph
        zero, one = (graph.constant_once(f"int32_{n}", np.asarray(n, np.int32)) for n in (0, 1))
        end = graph.add("Cast", graph.add("Squeeze", longest), to=onnx.TensorProto.INT32)
        positions = graph.add("Range", zero, end, one)
        padding = graph.add("Less", positions, graph.add("Reshape", lengths, graph.ints(-1, 1, 1, 1)))
        return str(graph.add("Where", padding, graph.number(0.0), graph.number(MASKED)))

    def _embeddings(self, ids: str, longest: str) -> str:
        """Return (batch · longest, dim): word plus position, normalised."""
        graph, sizes = self._graph, self._sizes
        name = "distilbert.embeddings.word_embeddings.weight"
        words = self._products.table(graph, name, self._weights.get(name, sizes.vocab_size, sizes.dim), ids)
        name = "distilbert.embeddings.position_embeddings.weight"
        table = graph.constant(name, self._weights.get(name, sizes.max_position_embeddings, sizes.dim))
        positions = graph.add("Slice", table, graph.ints(0), longest, graph.ints(0))
        rows = graph.add("Reshape", graph.add("Add", words, positions), graph.ints(-1, sizes.dim))
        return self._norm("distilbert.embeddings.LayerNorm", rows)

    def _layer(self, index: int, rows: str, longest: str, mask: str) -> str:
        """Return the rows (batch · longest, dim) after one layer."""
        graph, sizes = self._graph, self._sizes
        prefix = f"distilbert.transformer.layer.{index}"
        query, key, value = (
            self._linear(f"{prefix}.attention.{part}_lin", sizes.dim, sizes.dim) for part in "qkv"
        )
        fused = _stack(_scaled(query, sizes), key, value)
        product = self._products.product(
            graph, f"{prefix}.qkv", self._products.prepare(graph, rows), fused.weight, fused.bias
        )
        shape = graph.add(
            "Concat",
            graph.ints(-1),
            longest,
            graph.ints(3, sizes.n_heads, sizes.dim // sizes.n_heads),
            axis=0,
        )
        parts = graph.add("Transpose", graph.add("Reshape", product, shape), perm=[2, 0, 3, 1, 4])
        queries, keys, values = graph.add("Split", parts, outputs=3, axis=0, num_outputs=3)
        squeezed = [graph.add("Squeeze", part, graph.ints(0)) for part in (queries, keys, values)]
        context = self._attend(squeezed[0], squeezed[1], squeezed[2], mask)
        return self._after_attention(prefix, rows, context)

    def _last_layer(self, index: int, rows: str, longest: str, mask: str) -> str:
        """Return the first token's row (batch, dim) after the last layer."""
        graph, sizes = self._graph, self._sizes
        width = sizes.dim // sizes.n_heads
        prefix = f"distilbert.transformer.layer.{index}"
        query, key, value = (
            self._linear(f"{prefix}.attention.{part}_lin", sizes.dim, sizes.dim) for part in "qkv"
        )
        fused = _stack(key, value)
        product = self._products.product(
            graph, f"{prefix}.kv", self._products.prepare(graph, rows), fused.weight, fused.bias
        )
        shape = graph.add("Concat", graph.ints(-1), longest, graph.ints(2, sizes.n_heads, width), axis=0)
        parts = graph.add("Transpose", graph.add("Reshape", product, shape), perm=[2, 0, 3, 1, 4])
        keys, values = graph.add("Split", parts, outputs=2, axis=0, num_outputs=2)
        shape = graph.add("Concat", graph.ints(-1), longest, graph.ints(sizes.dim), axis=0)
        first = graph.add(
            "Gather",
            graph.add("Reshape", rows, shape),
            graph.constant_once("first", np.asarray(0, np.int64)),
            axis=1,
        )
        scaled = _scaled(query, sizes)
        asked = self._products.product(
            graph, f"{prefix}.q", self._products.prepare(graph, first), scaled.weight, scaled.bias
        )
        queries = graph.add("Reshape", asked, graph.ints(-1, sizes.n_heads, 1, width))
        keys, values = (graph.add("Squeeze", part, graph.ints(0)) for part in (keys, values))
        return self._after_attention(prefix, first, self._attend(queries, keys, values, mask))

    def _attend(self, queries: str, keys: str, values: str, mask: str) -> str:
        """Return the context (rows, dim) of queries, keys and values (batch, heads, tokens, width)."""
        graph = self._graph
        scores = graph.add("FusedMatMul", queries, keys, domain=ORT_DOMAIN, transB=1)
        shares = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
        context = graph.add("Transpose", graph.add("MatMul", shares, values), perm=[0, 2, 1, 3])
        return str(graph.add("Reshape", context, graph.ints(-1, self._sizes.dim)))

    def _after_attention(self, prefix: str, rows: str, context: str) -> str:
        """Return the rows after the attention's own projection, the feed-forward part and both norms."""
        graph, sizes, products = self._graph, self._sizes, self._products
        out = self._linear(f"{prefix}.attention.out_lin", sizes.dim, sizes.dim)
        projected = products.product(
            graph, f"{prefix}.out", products.prepare(graph, context), out.weight, out.bias
        )
        rows = self._norm(f"{prefix}.sa_layer_norm", graph.add("Add", projected, rows))
        wide = self._linear(f"{prefix}.ffn.lin1", sizes.hidden_dim, sizes.dim)
        inner = self._activate(
            products.product(graph, f"{prefix}.lin1", products.prepare(graph, rows), wide.weight, wide.bias)
        )
        narrow = self._linear(f"{prefix}.ffn.lin2", sizes.dim, sizes.hidden_dim)
        outer = products.product(
            graph, f"{prefix}.lin2", products.prepare_one_sided(graph, inner), narrow.weight, narrow.bias
        )
        return self._norm(f"{prefix}.output_layer_norm", graph.add("Add", outer, rows))

    def _head(self, head: CheckpointHead, first: str, dim: int) -> str:
        """Return the logits (batch, labels) of one head, in float32: it reads one row a text."""
        graph, labels = self._graph, len(head.head.labels)
        values = first
        if f"{head.prefix}pre_classifier.weight" in self._weights:
            hidden = self._linear(f"{head.prefix}pre_classifier", dim, dim)
            values = graph.add(
                "Relu", self._float_product(f"{head.head.name}.pre_classifier", values, hidden)
            )
        return self._float_product(
            f"{head.head.name}.classifier", values, self._linear(f"{head.prefix}classifier", labels, dim)
        )

    def _float_product(self, name: str, rows: str, linear: _Linear) -> str:
        weight = self._graph.constant(f"{name}.weight", linear.weight)
        return str(
            self._graph.add("Gemm", rows, weight, self._graph.constant(f"{name}.bias", linear.bias), transB=1)
        )

    def _linear(self, name: str, outputs: int, inputs: int) -> _Linear:
        return _Linear(
            self._weights.get(f"{name}.weight", outputs, inputs), self._weights.get(f"{name}.bias", outputs)
        )

    def _norm(self, name: str, rows: str) -> str:
        dim = self._sizes.dim
        weight = self._graph.constant(f"{name}.weight", self._weights.get(f"{name}.weight", dim))
        bias = self._graph.constant(f"{name}.bias", self._weights.get(f"{name}.bias", dim))
        return str(self._graph.add("LayerNormalization", rows, weight, bias, axis=-1, epsilon=EPSILON))

    def _activate(self, rows: str) -> str:
        kind = ACTIVATIONS[self._sizes.activation]
        if kind == "relu":
            return str(self._graph.add("Relu", rows))
        return str(self._graph.add("Gelu", rows, approximate=kind))


def _stack(*parts: _Linear) -> _Linear:
    return _Linear(
        np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts])
    )


def _scaled(query: _Linear, sizes: Architecture) -> _Linear:
    """Fold the attention's 1/√width into the queries: a product with a power of the head's width, once for ever."""
    factor = np.float32(1 / np.sqrt(sizes.dim // sizes.n_heads))
    return _Linear(query.weight * factor, query.bias * factor)
