"""The heads of a checkpoint as nodes of the graph: on a text's first token, or on tokens at several depths.

A token head runs in the same pass as the text heads, for the texts alone that its gate lets through: what the
layers gave is there for every token anyway, and only those texts' rows are gathered for its product. It reads
what the next layer reads, in the form that is made ready for that: in int8 nothing is rounded a second time.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worker.classify.read_heads import SINGLE
from worker.classify.token_head import ROWS, Gate, TokenHead
from worker.convert.architecture import Architecture, CheckpointHead, CheckpointHeads
from worker.convert.layers import Mask, State
from worker.convert.nodes import INT64, Graph
from worker.convert.products import Linear, Products, bias_of, trained
from worker.convert.token_heads import TokenHeadWriter
from worker.convert.weights import Weights


class HeadWriter:
    """Writes the heads of one checkpoint into a graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products, graph: Graph) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = graph
        self._tokens = TokenHeadWriter(sizes, weights, products, graph)

    def write(
        self, heads: CheckpointHeads, first: str, states: Sequence[State], longest: str, mask: Mask
    ) -> None:
        """Write all heads and declare their outputs.

        `first` is the first token's row of each text after the last layer, (batch, dim). `states[n]` is what
        the nth layer gave for every token, 0 being the embeddings.

        Raises:
            CheckpointError: a tensor is missing or has another shape than the configuration says.
        """
        logits = {entry.head.name: self._text_head(entry, first) for entry in heads.texts}
        for entry in heads.texts:
            self._graph.output(entry.head.name, logits[entry.head.name], ["batch", len(entry.head.labels)])
        for head in heads.tokens:
            read = self._read(head, heads.texts, logits, first)
            marks = self._tokens.write(head, read, states, longest, mask)
            self._graph.output(head.name + ROWS, read, [f"{head.name} texts"], INT64)
            self._graph.output(head.name, marks, [f"{head.name} texts", "longest"])

    def _text_head(self, entry: CheckpointHead, first: str) -> str:
        """Return the logits (batch, labels) of a head, in float32: it reads one row a text."""
        dim, labels, name = self._sizes.dim, len(entry.head.labels), entry.head.name
        values = first
        if f"{entry.prefix}pre_classifier.weight" in self._weights:
            hidden = trained(self._weights, f"{entry.prefix}pre_classifier", dim, dim)
            values = self._graph.add("Relu", self._gemm(f"{name}.pre_classifier", values, hidden))
        return self._gemm(
            f"{name}.classifier", values, trained(self._weights, f"{entry.prefix}classifier", labels, dim)
        )

    def _read(
        self, head: TokenHead, texts: Sequence[CheckpointHead], logits: Mapping[str, str], first: str
    ) -> str:
        """Return the numbers of the texts that a token head reads, (read), in their order."""
        graph = self._graph
        if head.gate is None:
            count = graph.add("Squeeze", graph.add("Shape", first, start=0, end=1))
            zero, one = (graph.constant_once(f"int64_{n}", np.asarray(n, np.int64)) for n in (0, 1))
            return graph.add("Range", zero, count, one)
        gate = head.gate
        entry = next(entry for entry in texts if entry.head.name == gate.head)
        scores = self._scores(entry, logits[gate.head], gate)
        return graph.add("Reshape", graph.add("NonZero", scores), graph.ints(-1))

    def _scores(self, entry: CheckpointHead, logits: str, gate: Gate) -> str:
        """Return whether each text's score of the gate's label reaches its threshold, (batch)."""
        graph, head = self._graph, entry.head
        cooled = graph.add("Div", logits, graph.number(head.temperature)) if head.temperature != 1 else logits
        scores = (
            graph.add("Softmax", cooled, axis=-1)
            if head.problem_type == SINGLE
            else graph.add("Sigmoid", cooled)
        )
        column = graph.constant_once(
            f"int64_{head.labels.index(gate.label)}", np.asarray(head.labels.index(gate.label), np.int64)
        )
        return graph.add(
            "GreaterOrEqual", graph.add("Gather", scores, column, axis=1), graph.number(gate.threshold)
        )

    def _gemm(self, name: str, rows: str, linear: Linear) -> str:
        graph = self._graph
        weight = graph.constant(f"{name}.weight", linear.weight)
        return graph.add("Gemm", rows, weight, graph.constant(f"{name}.bias", bias_of(linear)), transB=1)
