"""DistilBERT with classification heads as an ONNX graph (Sanh et al. 2019, arXiv:1910.01108).

The graph does some things that an exporter's does not: it prepares a layer's input once for queries, keys and
values; it builds the mask once, and adds it only if there is padding; it runs all heads in one pass; and in
the last layer it computes queries, feed-forward and norms only for the first token, since no head reads
another one there.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx

from worker.heads import Head
from worker.lab.convert.architecture import RELATIVE, Architecture, buckets
from worker.lab.convert.heads import HeadWriter
from worker.lab.convert.layers import LayerWriter, Mask, State
from worker.lab.convert.nodes import INT32, Graph
from worker.lab.convert.products import Products, Ready
from worker.lab.convert.weights import Weights
from worker.model.session import IDS, LENGTHS

MASKED = -1e9
"""Added to the score of a padding token, so that it is exactly 0 after softmax."""


class Encoder:
    """Writes one checkpoint into one graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = Graph()
        self._layers = LayerWriter(sizes, weights, products, self._graph)

    def build(self, heads: Sequence[Head]) -> onnx.ModelProto:
        """Write the whole graph, from `ids` (batch, longest) and `lengths` (batch) to each head's logits.

        A token head has two outputs, described in `worker.lab.convert.heads`.

        Raises:
            CheckpointError: a tensor is missing or has another shape than the configuration says.
        """
        graph, names = self._graph, [f"distilbert.transformer.layer.{n}" for n in range(self._sizes.n_layers)]
        ids = graph.input(IDS, ["batch", "longest"])
        lengths = graph.input(LENGTHS, ["batch"])
        longest = graph.add("Shape", ids, start=1, end=2)
        mask = self._mask(lengths, longest)
        states = [self._layers.state(names[0], self._embeddings(ids, longest))]
        for layer, above in pairwise(names):
            rows = self._layers.full(layer, states[-1], longest, mask)
            states.append(self._layers.state(above, rows))
        first = self._last_layer(names[-1], states[-1], longest, mask)
        writer = HeadWriter(self._sizes, self._weights, self._products, graph)
        writer.write(heads, first, states, longest, mask)
        return graph.model("distilbert")

    def _mask(self, lengths: str, longest: str) -> Mask:
        """Write the mask, (batch, 1, 1, longest): 0 for a token, MASKED for padding."""
        graph = self._graph
        zero, one = (graph.constant_once(f"int32_{n}", np.asarray(n, np.int32)) for n in (0, 1))
        end = graph.add("Cast", graph.add("Squeeze", longest), to=INT32)
        positions = graph.add("Range", zero, end, one)
        real = graph.add("Less", positions, graph.add("Reshape", lengths, graph.ints(-1, 1, 1, 1)))
        return Mask(
            values=graph.add("Where", real, graph.number(0.0), graph.number(MASKED)),
            needed=graph.add("Less", graph.add("ReduceMin", lengths, keepdims=0), end),
            distances=self._distances(positions) if self._sizes.relative_attention_num_buckets else "",
        )

    def _distances(self, positions: str) -> str:
        """Write the values (1, heads, longest, longest) for the distances of tokens at these positions."""
        graph, sizes = self._graph, self._sizes
        count, longest = sizes.relative_attention_num_buckets, sizes.max_position_embeddings
        table = graph.constant(RELATIVE, self._weights.get(RELATIVE, count, sizes.n_heads))
        by_distance = graph.constant("distances", buckets(count, longest))
        readers, read = (graph.add("Unsqueeze", positions, graph.ints(axis)) for axis in (1, 0))
        nearest = graph.constant("nearest", np.asarray(longest - 1, np.int32))
        places = graph.add("Add", graph.add("Sub", read, readers), nearest)
        values = graph.add("Gather", table, graph.add("Gather", by_distance, places))
        return graph.add("Unsqueeze", graph.add("Transpose", values, perm=[2, 0, 1]), graph.ints(0))

    def _embeddings(self, ids: str, longest: str) -> str:
        """Return (batch · longest, dim): word plus position, normalised."""
        graph, sizes, prefix = self._graph, self._sizes, "distilbert.embeddings"
        name = f"{prefix}.word_embeddings.weight"
        words = self._products.table(graph, name, self._weights.get(name, sizes.vocab_size, sizes.dim), ids)
        name = f"{prefix}.position_embeddings.weight"
        table = graph.constant(name, self._weights.get(name, sizes.max_position_embeddings, sizes.dim))
        positions = graph.add("Slice", table, graph.ints(0), longest, graph.ints(0))
        rows = graph.add("Reshape", graph.add("Add", words, positions), graph.ints(-1, sizes.dim))
        return self._layers.norm(f"{prefix}.LayerNorm", rows)

    def _last_layer(self, prefix: str, state: State, longest: str, mask: Mask) -> str:
        """Return the first token's row (batch, dim) after the last layer."""
        graph, sizes, products, layers = self._graph, self._sizes, self._products, self._layers
        query, key, value, out = layers.attention(prefix)
        ready = state.ready
        keys, values = (
            layers.by_head(products.product(graph, f"{prefix}.{name}", ready, linear), longest)
            for name, linear in (("key", key), ("value", value))
        )
        firsts = Ready(
            self._first(ready.values, longest), ready.step, ready.zero_point, None, ready.column_scale
        )
        asked = products.product(graph, f"{prefix}.query", firsts, query)
        query_row = graph.add("Reshape", asked, graph.ints(-1, sizes.n_heads, 1, sizes.head_dim))
        if mask.distances:  # those of the first token
            row = graph.add("Slice", mask.distances, graph.ints(0), graph.ints(1), graph.ints(2))
            mask = replace(mask, distances=row)
        # The same row twice: for a single row onnxruntime uses another routine, whose order of additions
        # depends on the padding, so a text on its own would differ in the last digits.
        both = layers.attend(graph.add("Concat", query_row, query_row, axis=2), keys, values, mask)
        index = graph.constant_once("first_token", np.asarray(0, np.int64))
        pairs = graph.add("Reshape", both, graph.ints(-1, 2, sizes.attention_dim))
        context = graph.add("Gather", pairs, index, axis=1)
        return layers.after_attention(prefix, self._first(state.rows, longest), context, out)

    def _first(self, rows: str, longest: str) -> str:
        """Take the first token's row of each text: (batch · longest, dim) to (batch, dim)."""
        graph = self._graph
        shape = graph.add("Concat", graph.ints(-1), longest, graph.ints(self._sizes.dim), axis=0)
        index = graph.constant_once("first_token", np.asarray(0, np.int64))
        return graph.add("Gather", graph.add("Reshape", rows, shape), index, axis=1)
