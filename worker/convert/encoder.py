"""DistilBERT with classification heads as an ONNX graph (Sanh et al. 2019, arXiv:1910.01108).

What the graph does that an exporter's does not: it prepares a layer's input once for queries, keys and
values; it builds the mask once, and adds it only where there is padding; it runs all heads in one pass; and
in the last layer it computes queries, feed-forward and norms for the first token alone, since no head reads
another there. Three steps of the attention are folded into weights, exactly: the 1/√width of the scores into
the queries; the keys' bias, which adds the same to all of a row's scores, into nothing; the values' bias,
which every mixture keeps whole, into the output's bias.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from worker.classify.session import IDS, LENGTHS
from worker.convert.architecture import ACTIVATIONS, Architecture, CheckpointHeads
from worker.convert.heads import HeadWriter
from worker.convert.nodes import INT32, ORT_DOMAIN, Graph
from worker.convert.products import Linear, Products, Ready, bias_of, trained
from worker.convert.weights import Weights

EPSILON = 1e-12
"""DistilBERT's, in every LayerNorm; its configuration does not carry it."""

MASKED = -1e9
"""Added to the score of a padding token: its share after softmax is 0 exactly."""

LEAST: Mapping[str, float] = {"none": -0.17, "tanh": -0.171, "relu": 0.0}
"""The least value of each activation function, rounded down."""


@dataclass(frozen=True, slots=True)
class _Mask:
    """What keeps padding out of the attention: values to add to scores, and whether any row is padded."""

    values: str
    needed: str


class Encoder:
    """Writes one checkpoint into one graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = Graph()
        self._states: list[Ready] = []
        """What each layer reads: at 0 the embeddings, at n what the nth layer gave."""

    def build(self, heads: CheckpointHeads) -> onnx.ModelProto:
        """Write the whole graph: `ids` (batch, longest) and `lengths` (batch) in, logits out, a head each.

        For a token head there are two outputs, as `TokenHead` describes them.

        Raises:
            CheckpointError: a tensor is missing or has another shape than the configuration says.
        """
        graph, last = self._graph, self._sizes.n_layers - 1
        ids = graph.input(IDS, ["batch", "longest"])
        lengths = graph.input(LENGTHS, ["batch"])
        longest = graph.add("Shape", ids, start=1, end=2)
        mask = self._mask(lengths, longest)
        rows = self._embeddings(ids, longest)
        for layer in range(last):
            rows = self._layer(f"distilbert.transformer.layer.{layer}", rows, longest, mask)
        first = self._last_layer(f"distilbert.transformer.layer.{last}", rows, longest, mask)
        writer = HeadWriter(self._sizes, self._weights, self._products, graph)
        writer.write(heads, first, self._states, longest)
        return graph.model("distilbert")

    def _mask(self, lengths: str, longest: str) -> _Mask:
        """Write the mask, (batch, 1, 1, longest): 0 for a token, MASKED for padding."""
        graph = self._graph
        zero, one = (graph.constant_once(f"int32_{n}", np.asarray(n, np.int32)) for n in (0, 1))
        end = graph.add("Cast", graph.add("Squeeze", longest), to=INT32)
        positions = graph.add("Range", zero, end, one)
        real = graph.add("Less", positions, graph.add("Reshape", lengths, graph.ints(-1, 1, 1, 1)))
        return _Mask(
            values=graph.add("Where", real, graph.number(0.0), graph.number(MASKED)),
            needed=graph.add("Less", graph.add("ReduceMin", lengths, keepdims=0), end),
        )

    def _embeddings(self, ids: str, longest: str) -> str:
        """Return (batch · longest, dim): word plus position, normalised."""
        graph, sizes, prefix = self._graph, self._sizes, "distilbert.embeddings"
        name = f"{prefix}.word_embeddings.weight"
        words = self._products.table(graph, name, self._weights.get(name, sizes.vocab_size, sizes.dim), ids)
        name = f"{prefix}.position_embeddings.weight"
        table = graph.constant(name, self._weights.get(name, sizes.max_position_embeddings, sizes.dim))
        positions = graph.add("Slice", table, graph.ints(0), longest, graph.ints(0))
        rows = graph.add("Reshape", graph.add("Add", words, positions), graph.ints(-1, sizes.dim))
        return self._norm(f"{prefix}.LayerNorm", rows)

    def _layer(self, prefix: str, rows: str, longest: str, mask: _Mask) -> str:
        """Return the rows (batch · longest, dim) after one layer."""
        query, key, value, out = self._attention(prefix)
        ready = self._ready(f"{prefix}.input", rows, query, key, value)
        self._states.append(ready)
        queries, keys, values = (
            self._by_head(self._products.product(self._graph, f"{prefix}.{name}", ready, linear), longest)
            for name, linear in (("query", query), ("key", key), ("value", value))
        )
        return self._after_attention(prefix, rows, self._attend(queries, keys, values, mask), out)

    def _last_layer(self, prefix: str, rows: str, longest: str, mask: _Mask) -> str:
        """Return the first token's row (batch, dim) after the last layer."""
        graph, sizes, products = self._graph, self._sizes, self._products
        query, key, value, out = self._attention(prefix)
        ready = self._ready(f"{prefix}.input", rows, query, key, value)
        self._states.append(ready)
        keys, values = (
            self._by_head(products.product(graph, f"{prefix}.{name}", ready, linear), longest)
            for name, linear in (("key", key), ("value", value))
        )
        firsts = Ready(
            self._first(ready.values, longest), ready.step, ready.zero_point, None, ready.column_scale
        )
        asked = products.product(graph, f"{prefix}.query", firsts, query)
        query_row = graph.add("Reshape", asked, graph.ints(-1, sizes.n_heads, 1, sizes.head_dim))
        # Twice the same row: onnxruntime multiplies a single one by another routine, whose order of adding
        # depends on the padding, and a text alone would get other last digits than in company.
        both = self._attend(graph.add("Concat", query_row, query_row, axis=2), keys, values, mask)
        index = graph.constant_once("first_token", np.asarray(0, np.int64))
        pairs = graph.add("Reshape", both, graph.ints(-1, 2, sizes.attention_dim))
        context = graph.add("Gather", pairs, index, axis=1)
        return self._after_attention(prefix, self._first(rows, longest), context, out)

    def _attention(self, prefix: str) -> tuple[Linear, Linear, Linear, Linear]:
        """Return queries, keys, values and output, with what can be folded folded."""
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

    def _ready(self, name: str, rows: str, *readers: Linear) -> Ready:
        """Make a LayerNorm's output ready for the products that read it."""
        return self._products.normed(
            self._graph, name, rows, np.concatenate([reader.weight for reader in readers])
        )

    def _by_head(self, rows: str, longest: str) -> str:
        """Turn (batch · longest, attention_dim) into (batch, heads, longest, head_dim)."""
        graph, sizes = self._graph, self._sizes
        by_head = graph.ints(sizes.n_heads, sizes.head_dim)
        split = graph.add("Concat", graph.ints(-1), longest, by_head, axis=0)
        return graph.add("Transpose", graph.add("Reshape", rows, split), perm=[0, 2, 1, 3])

    def _first(self, rows: str, longest: str) -> str:
        """Take the first token's row of each text: (batch · longest, dim) to (batch, dim)."""
        graph = self._graph
        shape = graph.add("Concat", graph.ints(-1), longest, graph.ints(self._sizes.dim), axis=0)
        index = graph.constant_once("first_token", np.asarray(0, np.int64))
        return graph.add("Gather", graph.add("Reshape", rows, shape), index, axis=1)

    def _attend(self, queries: str, keys: str, values: str, mask: _Mask) -> str:
        """Return the context (rows, attention_dim); what comes in is (batch, heads, tokens, head_dim)."""
        graph = self._graph
        scores = graph.add("FusedMatMul", queries, keys, domain=ORT_DOMAIN, transB=1)
        # The scores are the largest values of all where texts are long, and a pass over them is dear.
        shares = graph.choose(
            mask.needed,
            lambda: graph.add("Softmax", graph.add("Add", scores, mask.values), axis=-1),
            lambda: graph.add("Softmax", scores, axis=-1),
        )
        context = graph.add("Transpose", graph.add("MatMul", shares, values), perm=[0, 2, 1, 3])
        return graph.add("Reshape", context, graph.ints(-1, self._sizes.attention_dim))

    def _after_attention(self, prefix: str, rows: str, context: str, out: Linear) -> str:
        """Return the rows after the attention's own projection, the feed-forward part and both norms."""
        graph, sizes, products = self._graph, self._sizes, self._products
        mixed = products.mixed(graph, context, sizes.attention_dim)
        projected = products.product(graph, f"{prefix}.out", mixed, out)
        rows = self._norm(f"{prefix}.sa_layer_norm", graph.add("Add", projected, rows))
        wide = self._trained(f"{prefix}.ffn.lin1", sizes.hidden_dim, sizes.dim)
        narrow = self._trained(f"{prefix}.ffn.lin2", sizes.dim, sizes.hidden_dim)
        inner = products.product(graph, f"{prefix}.lin1", self._ready(f"{prefix}.middle", rows, wide), wide)
        kind = ACTIVATIONS[self._sizes.activation]
        inner = graph.add("Relu", inner) if kind == "relu" else graph.add("Gelu", inner, approximate=kind)
        activated = products.activated(graph, inner, sizes.hidden_dim, LEAST[kind])
        outer = products.product(graph, f"{prefix}.lin2", activated, narrow)
        return self._norm(f"{prefix}.output_layer_norm", graph.add("Add", outer, rows))

    def _trained(self, name: str, outputs: int, inputs: int) -> Linear:
        return trained(self._weights, name, outputs, inputs)

    def _norm(self, name: str, rows: str) -> str:
        graph, dim = self._graph, self._sizes.dim
        weight = graph.constant(f"{name}.weight", self._weights.get(f"{name}.weight", dim))
        bias = graph.constant(f"{name}.bias", self._weights.get(f"{name}.bias", dim))
        return graph.add("LayerNormalization", rows, weight, bias, axis=-1, epsilon=EPSILON)
